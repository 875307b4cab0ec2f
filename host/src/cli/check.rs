//! `galo check DIR`: verifies the handlers of a folder, their manifest and the database as a node does that starts.

use std::path::PathBuf;

use clap::Args;
use galo::config::{Address, Settings};
use galo::database::Target;
use galo::guest::Engine;
use galo::metrics::Metrics;
use galo::{log, serve};

#[derive(Args)]
pub(super) struct CheckArgs {
    /// The folder of galo.toml and the components
    #[arg(env = "GALO_HANDLERS", value_name = "DIR")]
    handlers: PathBuf,
    /// The database whose procedures are granted: a Postgres URL
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(super) database_url: Option<String>,
}

impl CheckArgs {
    /// Loads everything a node would serve with, and shows it.
    pub(super) async fn run(self, target: &Target) -> anyhow::Result<()> {
        let nowhere = Address::Unix(PathBuf::new());
        // Nothing is kept: a check proves that the components compile, not that they once did.
        let settings = Settings { pool_connections: 1, ..Settings::new(self.handlers, nowhere.clone(), nowhere) };
        let serve::Loaded { table, database, .. } =
            serve::load(&settings, target, &Engine::start()?, &Metrics::new()).await?;
        for handler in &table.handlers {
            let procedures: Vec<_> = handler.procedures.iter().map(|procedure| procedure.to_string()).collect();
            let (name, route) = (&handler.entry.name, handler.entry.route.to_string());
            log::print(format_args!("{name:<20} {route:<40} {}", procedures.join(", ")));
        }
        log::print(format_args!("{} handlers verified", table.handlers.len()));
        if let Some(missing) = database.missing_timeouts() {
            log::print(format_args!(
                "The connections go through a pooler, and the role lacks timeouts. Run as its administrator:\n    {}",
                missing.replace("; ", ";\n    ")
            ));
        }
        Ok(())
    }
}
