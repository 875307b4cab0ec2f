//! Where the database is: the options of every command that connects. libpq's environment variables supply what the
//! connection string leaves out.

use std::path::PathBuf;

use clap::Args;
use galo::config::{Mistakes, Secret};
use galo::database::{Defaults, Source, Target, VARIABLES};

#[derive(Args)]
pub(super) struct DatabaseArgs {
    /// Database: a Postgres URL, or libpq's key=value pairs
    ///
    /// What it leaves out is taken from PGHOST, PGPASSWORD, PGSSLMODE, ... and ~/.pgpass.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// File with the database URL, such as a Docker secret
    ///
    /// User and password are read again for each new connection.
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
}

impl DatabaseArgs {
    /// The database that was given, if one was; mistakes are noted.
    pub(super) fn given(&self, mistakes: &mut Mistakes) -> Option<Target> {
        let source = self.source(mistakes)?;
        self.read(&source, &defaults(mistakes), mistakes)
    }

    /// The same as the variables that libpq's own programs read.
    pub(super) fn variables(&self, mistakes: &mut Mistakes) -> Option<Vec<(&'static str, Secret)>> {
        let source = self.source(mistakes)?;
        let variables = galo::database::variables(&source, &defaults(mistakes));
        variables.map_err(|error| mistakes.note(self.option(), error)).ok()
    }

    fn source(&self, mistakes: &mut Mistakes) -> Option<Source> {
        match (&self.database_url, &self.database_url_file) {
            (Some(_), Some(_)) => {
                mistakes.note("DATABASE_URL", "DATABASE_URL_FILE is set too; use only one of them");
                None
            }
            (Some(url), None) => Some(Source::Text(Secret::new(url))),
            (None, Some(file)) => Some(Source::File(file.clone())),
            (None, None) => None,
        }
    }

    /// The same, also if only libpq's variables are set.
    pub(super) fn required(&self, mistakes: &mut Mistakes) -> Option<Target> {
        if self.is_given() {
            return self.given(mistakes);
        }
        let defaults = defaults(mistakes);
        if !defaults.name_a_host() {
            mistakes.note(
                "DATABASE_URL",
                "not set, nor is --database-url, DATABASE_URL_FILE, or PGHOST with PGUSER; set one of them",
            );
            return None;
        }
        self.read(&Source::Text(Secret::new("")), &defaults, mistakes)
    }

    pub(super) fn is_given(&self) -> bool {
        self.database_url.is_some() || self.database_url_file.is_some()
    }

    fn read(&self, source: &Source, defaults: &Defaults, mistakes: &mut Mistakes) -> Option<Target> {
        Target::read(source, defaults).map_err(|error| mistakes.note(self.option(), error)).ok()
    }

    fn option(&self) -> &'static str {
        if self.database_url_file.is_some() { "DATABASE_URL_FILE" } else { "DATABASE_URL" }
    }
}

/// A database that another option gives; mistakes are noted with its name.
pub(super) fn read(option: &str, url: &str, mistakes: &mut Mistakes) -> Option<Target> {
    let defaults = defaults(mistakes);
    Target::read(&Source::Text(Secret::new(url)), &defaults).map_err(|error| mistakes.note(option, error)).ok()
}

/// libpq's variables, as they are set.
fn defaults(mistakes: &mut Mistakes) -> Defaults {
    let mut variables = Vec::new();
    for (name, _) in VARIABLES {
        match std::env::var_os(name).map(std::ffi::OsString::into_string) {
            None => {}
            Some(Ok(value)) => variables.push(((*name).to_owned(), value)),
            Some(Err(_)) => mistakes.note(name, "not valid UTF-8"),
        }
    }
    Defaults { variables, home: dirs::home_dir() }
}
