//! The options of a node, which `serve` and `dev` share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use galo::config::{
    AccessLog, Address, CacheFolder, Mistakes, Proxy, Recording, Settings, Sources, StateFolder, Traces,
};
use galo::guest::Digest;
use galo::limits;

use super::access::AccessArgs;
use super::clients::ClientArgs;
use super::database::DatabaseArgs;
use super::variables;

#[derive(Args)]
pub(super) struct NodeArgs {
    /// Address for requests: `host:port` or `unix:PATH`
    #[arg(long, env = "GALO_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9999")]
    listen: String,
    /// Trust the Galo-Try header of a proxy in front [default: true on a unix socket, else false]
    ///
    /// Set it only if nobody but that proxy can connect, and if it removes the header from what clients send.
    #[arg(long, env = "GALO_PROXY", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    proxy: Option<bool>,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    pub(super) database: DatabaseArgs,
    /// Folder for compiled components [default: galo/components in the user's cache folder]
    #[arg(long, env = "GALO_CACHE", value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Database connections for calls
    ///
    /// A node opens further ones: one for each batch form (at most 4) or, where the manifest states `lanes`, one for
    /// each of them (at most N in all), one for probes and one for the catalogue.
    #[arg(long, env = "GALO_POOL_CONNECTIONS", value_name = "N", default_value_t = limits::POOL_CONNECTIONS_DEFAULT.to_string())]
    pool_connections: String,
    /// Client connections that may be open at the same time
    ///
    /// When that many are open, a new one replaces the connection that has been idle for longest. A connection whose
    /// request is being served is never closed for a new one.
    #[arg(long, env = "GALO_CONNECTIONS_MAX", value_name = "N", default_value_t = limits::CONNECTIONS_MAX_DEFAULT.to_string())]
    connections_max: String,
    /// Requests in flight at once; more are answered with 503
    #[arg(long, env = "GALO_IN_FLIGHT_MAX", value_name = "N", default_value_t = limits::IN_FLIGHT_MAX_DEFAULT.to_string())]
    in_flight_max: String,
    /// Which requests to log: `off`, `errors` or `all` [default: off; `galo dev`: all]
    ///
    /// `errors` are the requests that are answered with a status of 400 or higher.
    #[arg(long, env = "GALO_ACCESS_LOG", value_name = "WHICH")]
    access_log: Option<String>,
    /// Record one request in N, and every fault, 5xx and slow one; 0 records nothing [default: 0; `galo dev`: 1]
    ///
    /// It overrides `every` in the manifest's [record]. Records hold what clients sent: they are read at the admin
    /// address, with its token or over its unix socket.
    #[arg(long, env = "GALO_RECORD", value_name = "N")]
    record: Option<String>,
    /// Name of this node, which Postgres and traces show [default: the name of the machine]
    ///
    /// Connections to Postgres are called `galo/NAME` (`application_name`), unless the connection string names them.
    #[arg(long, env = "GALO_NODE", value_name = "NAME")]
    node: Option<String>,
    #[command(flatten)]
    clients: ClientArgs,
    /// Worker threads [default: one per available core, CPU quotas included]
    #[arg(long, env = "GALO_WORKERS", value_name = "N")]
    workers: Option<String>,
}

/// The default folder for a node's state: one for each pair of a handlers folder and an address, so that two nodes of
/// one folder have two. Only one node can listen on an address.
pub(super) fn state_folder(handlers: &Path, listen: &Address) -> StateFolder {
    let Some(folder) = dirs::state_dir().or_else(dirs::data_local_dir) else { return StateFolder::Missing };
    let handlers = std::path::absolute(handlers).unwrap_or_else(|_| handlers.to_owned());
    let digest = Digest::of(format!("{}\n{listen}", handlers.display()).as_bytes()).to_string();
    StateFolder::Preferred(folder.join("galo").join("nodes").join(&digest[..16]))
}

/// What holds where no option says otherwise.
pub(super) struct Defaults {
    pub(super) access_log: AccessLog,
    pub(super) recording: Recording,
}

impl NodeArgs {
    /// The settings and the number of workers; mistakes are noted.
    pub(super) fn parse(
        &self,
        handlers: PathBuf,
        defaults: Defaults,
        mistakes: &mut Mistakes,
    ) -> Option<(Settings, Option<usize>)> {
        let listen = mistakes.parse("--listen", &self.listen);
        let access = self.access.parse_for_node(mistakes);
        let pool =
            mistakes.parse_within("--pool-connections", &self.pool_connections, 1, limits::POOL_CONNECTIONS_CEILING);
        let connections_max =
            mistakes.parse_within("--connections-max", &self.connections_max, 1, limits::CONNECTIONS_CEILING);
        let in_flight_max = mistakes.parse_within("--in-flight-max", &self.in_flight_max, 1, limits::IN_FLIGHT_CEILING);
        let access_log = match &self.access_log {
            Some(which) => mistakes.parse("--access-log", which),
            None => Some(defaults.access_log),
        };
        let recording = match &self.record {
            Some(every) => {
                let every = mistakes.parse_within("--record", every, 0, limits::RECORD_EVERY_MAX);
                every.map(|every| defaults.recording.asked(every))
            }
            None => Some(defaults.recording),
        };
        let node = self.name(mistakes);
        let variables = variables::snapshot();
        let traces = Traces::read(&variables, mistakes);
        let clients = self.clients.parse(mistakes);
        let workers = match &self.workers {
            Some(workers) => Some(mistakes.parse_within("--workers", workers, 1, limits::WORKERS_MAX)?),
            None => None,
        };
        let (access, (client_timeouts, backlog)) = (access?, clients?);
        let settings = Settings {
            proxy: self.proxy.map(|is_there| if is_there { Proxy::Trusted } else { Proxy::Unknown }),
            admin_token: access.token,
            cache: match (&self.cache, default_cache()) {
                (Some(folder), _) => CacheFolder::Required(folder.clone()),
                (None, Some(folder)) => CacheFolder::Preferred(folder),
                (None, None) => CacheFolder::None,
            },
            pool_connections: pool?,
            connections_max: connections_max?,
            in_flight_max: in_flight_max?,
            access_log: access_log?,
            recording: recording?,
            traces: traces.map(Arc::new),
            node: node?,
            sources: Sources { variables, ..Sources::default() },
            client_timeouts,
            backlog,
            ..Settings::new(handlers, listen?, access.admin)
        };
        Some((settings, workers))
    }

    /// The name of the node.
    fn name(&self, mistakes: &mut Mistakes) -> Option<String> {
        let most = limits::NODE_NAME_BYTES_MAX;
        let is_visible = |name: &str| name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\'');
        match &self.node {
            Some(name) if (1..=most).contains(&name.len()) && is_visible(name) => Some(name.clone()),
            Some(name) => {
                let rule = format!("use 1 to {most} visible ASCII characters, without spaces and quotes");
                mistakes.note("--node", format!("invalid name `{name}`: {rule}"));
                None
            }
            None => {
                let machine = nix::sys::utsname::uname().ok();
                let name = machine.as_ref().and_then(|machine| machine.nodename().to_str());
                let name: String = name.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(most).collect();
                Some(if name.is_empty() { "node".to_owned() } else { name.replace('\'', "") })
            }
        }
    }
}

/// The default folder for compiled components.
pub(super) fn default_cache() -> Option<PathBuf> {
    dirs::cache_dir().map(|folder| folder.join("galo").join("components"))
}
