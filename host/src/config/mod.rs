//! The settings of a node, parsed once at the start. All mistakes are reported together, never replaced by defaults.
//! No other module below `cli` reads the environment.
//!
//! `cli` creates the settings. `database` parses the address of the database.

mod needles;
mod period;
mod recording;
mod sampler;
mod secret;
mod secrets;
mod sources;
mod traces;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub use self::period::Period;
pub use self::recording::{Readers, Recording};
pub use self::sampler::Sampler;
pub use self::secret::{Secret, Token};
pub use self::secrets::Secrets;
pub use self::sources::{Missing, Sources, Variables};
pub use self::traces::{Compression, TlsFiles, Traces};
use crate::limits::{self, ClientTimeouts, CompileLimits};

/// Everything `serve` needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of the manifest and the components.
    pub handlers: PathBuf,
    /// Where requests are answered.
    pub listen: Address,
    /// The kind of proxy in front, if the operator sets it.
    pub proxy: Option<Proxy>,
    /// The admin address.
    pub admin: Address,
    /// The token for the admin address. Required if the address is reachable from other machines.
    pub admin_token: Option<Token>,
    /// Where compiled components are kept.
    pub cache: CacheFolder,
    /// The path of this program, which compiles components in child processes.
    pub galo: PathBuf,
    /// The limits for compiling one component.
    pub compile: CompileLimits,
    /// Where the node keeps its state across restarts.
    pub state: StateFolder,
    /// Database connections, opened at the start and kept.
    pub pool_connections: usize,
    /// Whether nothing is called: one connection is opened, and as many lanes are accepted as any node may have.
    pub is_check: bool,
    /// The maximum age of a database connection.
    pub connection_age_max: Duration,
    /// Open client connections.
    pub connections_max: usize,
    /// The maximum of requests in flight. Further ones are answered with 503.
    pub in_flight_max: usize,
    /// Which requests have a line of the log.
    pub access_log: AccessLog,
    /// What is recorded of requests.
    pub recording: Recording,
    /// Who may read what is recorded.
    pub readers: Readers,
    /// Where traces go, if they are exported.
    pub traces: Option<Arc<Traces>>,
    /// The name of the node, in Postgres and in traces.
    pub node: String,
    /// Connections that the kernel queues until they are accepted.
    pub backlog: usize,
    /// Where the secrets of the manifest come from.
    pub sources: Sources,
    /// How long to wait for a client.
    pub client_timeouts: ClientTimeouts,
    /// The time from the signal to end until the drain. The node is not ready, but serves as before.
    pub linger: Duration,
    /// The file of the public keys of which one must have signed what serves.
    pub trust: Option<PathBuf>,
    /// Whether responses name the generation that answered.
    pub generation_header: bool,
}

impl Settings {
    /// Settings with every limit at its default.
    pub fn new(handlers: PathBuf, listen: Address, admin: Address) -> Self {
        Self {
            handlers,
            listen,
            proxy: None,
            admin,
            admin_token: None,
            cache: CacheFolder::None,
            galo: PathBuf::from(OWN_PROGRAM),
            compile: CompileLimits::default(),
            state: StateFolder::Unwanted,
            pool_connections: limits::POOL_CONNECTIONS_DEFAULT,
            is_check: false,
            connection_age_max: limits::CONNECTION_AGE_MAX,
            connections_max: limits::CONNECTIONS_MAX_DEFAULT,
            in_flight_max: limits::IN_FLIGHT_MAX_DEFAULT,
            access_log: AccessLog::Off,
            recording: Recording::OFF,
            readers: Readers::Guarded,
            traces: None,
            node: "node".to_owned(),
            backlog: limits::BACKLOG_DEFAULT,
            sources: Sources::default(),
            client_timeouts: ClientTimeouts::default(),
            linger: Duration::ZERO,
            trust: None,
            generation_header: false,
        }
    }

    /// The kind of proxy in front of the node. A unix socket counts as trusted, because the operator controls access.
    pub fn proxy_in_front(&self) -> Proxy {
        self.proxy.unwrap_or(match self.listen {
            Address::Unix(_) => Proxy::Trusted,
            Address::Tcp(_) => Proxy::Unknown,
        })
    }
}

/// The kind of proxy in front of a node, which decides whether `Galo-Try` is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// Any client may have sent `Galo-Try`, so it is removed.
    Unknown,
    /// A proxy of the operator, which removes `Galo-Try` from clients and sets it where it may repeat a request.
    Trusted,
}

/// The running program, even if its file was replaced by another version. The same version must compile and run.
pub const OWN_PROGRAM: &str = "/proc/self/exe";

/// Where compiled components are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheFolder {
    /// Nowhere. They are compiled at every start.
    None,
    /// Here, if it can be used; a node without a home folder starts all the same.
    Preferred(PathBuf),
    /// Here, as it was asked for; a folder that cannot be used is a mistake.
    Required(PathBuf),
}

/// Where a node keeps its state across restarts. Each node has a separate folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateFolder {
    /// Nowhere, by intention: for a check or a development node.
    Unwanted,
    /// Nowhere, because this user has no folder for it.
    Missing,
    /// Here, if it can be used.
    Preferred(PathBuf),
    /// Here, as it was asked for; a folder that cannot be used is a mistake.
    Required(PathBuf),
}

/// Which requests have a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// No request.
    Off,
    /// Those that were answered with a status of 400 or more, or whose client left before its answer.
    Errors,
    /// All requests.
    All,
}

impl FromStr for AccessLog {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "errors" => Ok(Self::Errors),
            "all" => Ok(Self::All),
            _ => Err(format!("`{text}` is neither `off` nor `errors` nor `all`")),
        }
    }
}

/// An address to listen on: `host:port` or `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// `sun_path` has 108 bytes with its NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;

impl Address {
    /// Whether it is reachable only from this machine.
    pub fn is_local(&self) -> bool {
        match self {
            // `::ffff:127.0.0.1` is the same address as 127.0.0.1.
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                0 => Err("`unix:` needs a path behind it".to_owned()),
                1..=UNIX_PATH_BYTES_MAX => Ok(Self::Unix(PathBuf::from(path))),
                n => Err(format!("a socket path has at most {UNIX_PATH_BYTES_MAX} bytes, this one has {n}")),
            };
        }
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        let url = if text.contains("://") { ", but a URL" } else { "" };
        numeric
            .parse()
            .map(Self::Tcp)
            .map_err(|_| format!("`{text}` is neither `host:port` (host a number or `localhost`) nor `unix:PATH`{url}"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// All mistakes of the configuration.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    /// Notes a mistake, with the name of its option.
    pub fn note(&mut self, option: &str, mistake: impl fmt::Display) {
        self.0.push(format!("{option}: {mistake}"));
    }

    /// Parses a setting, or notes the mistake.
    pub fn parse<T: FromStr<Err: fmt::Display>>(&mut self, option: &str, text: &str) -> Option<T> {
        text.parse().map_err(|error| self.note(option, error)).ok()
    }

    /// Parses a whole number within bounds, or notes the mistake.
    pub fn parse_within(&mut self, option: &str, text: &str, least: usize, most: usize) -> Option<usize> {
        match text.parse::<usize>() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                self.note(option, format!("`{text}` is not a whole number from {least} to {most}"));
                None
            }
        }
    }

    /// Parses a whole number of seconds within bounds, or notes the mistake.
    pub fn parse_seconds(&mut self, option: &str, text: &str, least: usize, most: usize) -> Option<Duration> {
        self.parse_within(option, text, least, most).map(|seconds| Duration::from_secs(seconds as u64))
    }

    /// `Ok` when there are no mistakes.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} mistake{}", self.0.len(), if self.0.len() == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port_or_a_socket_path() {
        for (text, shown) in [
            ("127.0.0.1:9999", "127.0.0.1:9999"),
            ("localhost:80", "127.0.0.1:80"),
            ("[::1]:0", "[::1]:0"),
            ("unix:/run/galo.sock", "unix:/run/galo.sock"),
        ] {
            assert_eq!(text.parse::<Address>().map(|a| a.to_string()), Ok(shown.to_owned()));
        }
        for text in ["", "9999", "127.0.0.1", "127.0.0.1:99999", "example:80", "unix:"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        assert!(format!("unix:/{}", "x".repeat(107)).parse::<Address>().is_err());
    }

    #[test]
    fn a_proxy_is_trusted_when_the_operator_says_so_or_lets_it_in() {
        let trusted = |listen: &str, proxy| {
            let listen = listen.parse::<Address>().unwrap();
            Settings { proxy, ..Settings::new(PathBuf::new(), listen.clone(), listen) }.proxy_in_front()
        };
        assert_eq!(trusted("unix:/x", None), Proxy::Trusted);
        assert_eq!(trusted("127.0.0.1:1", None), Proxy::Unknown);
        assert_eq!(trusted("unix:/x", Some(Proxy::Unknown)), Proxy::Unknown);
        assert_eq!(trusted("0.0.0.0:1", Some(Proxy::Trusted)), Proxy::Trusted);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let mut mistakes = Mistakes::default();
        assert_eq!(mistakes.parse::<Address>("--listen", "nowhere"), None);
        assert_eq!(mistakes.parse_within("--pool-connections", "0", 1, 90), None);
        assert_eq!(mistakes.parse_within("--in-flight-max", "7", 1, 90), Some(7));
        let text = mistakes.into_result().unwrap_err().to_string();
        assert!(text.starts_with("the configuration has 2 mistakes\n  --listen: `nowhere`"), "{text}");
        assert!(text.contains("--pool-connections: `0` is not a whole number from 1 to 90"), "{text}");
    }

    #[test]
    fn an_address_is_local_when_only_this_machine_reaches_it() {
        for (text, local) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("unix:/x", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.is_local()), Ok(local), "{text}");
        }
    }
}
