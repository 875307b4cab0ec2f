//! Where the database is and how to connect to it: a connection string that was parsed and checked, with the settings
//! that the host applies to every connection.
//!
//! No message contains a part of a password.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host};

use super::credentials::{Credentials, Source};
use super::encryption::Logged;
use super::parameters::{Defaults, Parameters};
use super::session::Application;
use super::tls::Tls;
use crate::config::Secret;
use crate::limits;

/// A database to connect to, on one host, or on one of several.
#[derive(Clone)]
pub struct Target {
    /// All settings except the host and the credentials.
    pub(super) config: Config,
    pub(super) hosts: Vec<Place>,
    pub(super) dbname: String,
    /// The kind of database that the URL asks for (`target_session_attrs`).
    pub(in crate::database) wanted: Wanted,
    /// Whether to start with a random host (`load_balance_hosts`).
    pub(super) balanced: bool,
    /// The timeout of one connection to one address (`connect_timeout`).
    pub(super) connect_timeout: Duration,
    pub(super) sockets: Sockets,
    pub(super) tls: Arc<Tls>,
    pub(super) credentials: Arc<Credentials>,
    /// The role that connects instead of the user of the credentials.
    pub(super) role: Option<String>,
    /// What connections are called.
    pub(super) application: Application,
    /// What was logged about connections. Shared with the targets derived from this one.
    pub(super) logged: Arc<Logged>,
}

/// A database as spans name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The name of the database.
    pub namespace: String,
    /// The name or the address of its host, or the folder of its socket.
    pub address: String,
    /// The port, if it is not on a socket.
    pub port: Option<u16>,
}

/// One host of a URL.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) host: Host,
    /// Its address, if the URL gives one (`hostaddr`).
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
}

/// The kind of database that is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::database) enum Wanted {
    Anything,
    /// A primary, because calls may write.
    Writable,
    ReadOnly,
}

/// How long TCP waits for a server that does not answer.
#[derive(Clone)]
pub(super) struct Sockets {
    pub(super) user_timeout: Option<Duration>,
    pub(super) keepalive: Option<TcpKeepalive>,
}

impl Target {
    /// Reads a Postgres URL or a `key=value` connection string, and nothing else.
    ///
    /// # Errors
    /// A description of the mistake, without any part of the URL that may belong to a password.
    pub fn parse(url: &Secret) -> Result<Self, String> {
        Self::read(&Source::Text(url.clone()), &Defaults::default())
    }

    /// Reads a connection string, with these defaults for what it leaves out.
    ///
    /// # Errors
    /// As [`Target::parse`], and mistakes in the files it names.
    pub fn read(source: &Source, defaults: &Defaults) -> Result<Self, String> {
        let parameters = Parameters::new(source.read()?.expose(), defaults)?;
        let credentials = Credentials::new(&parameters, source, defaults)?;
        let dbname = parameters.get("dbname").map_or_else(|| credentials.user(), str::to_owned);
        Ok(Self {
            hosts: places(&parameters)?,
            dbname,
            wanted: wanted(&parameters)?,
            balanced: parameters.choice("load_balance_hosts", &[("disable", false), ("random", true)])? == Some(true),
            connect_timeout: connect_timeout(&parameters)?,
            sockets: sockets(&parameters)?,
            tls: Arc::new(Tls::new(&parameters)?),
            config: config(&parameters)?,
            application: Application::new(
                parameters.get("application_name").or(parameters.get("fallback_application_name")),
            ),
            credentials: Arc::new(credentials),
            role: None,
            logged: Arc::default(),
        })
    }

    /// The same database for another role, with the same password, if there is one.
    pub fn of_role(&self, role: &str) -> Self {
        Self { role: Some(role.to_owned()), ..self.clone() }
    }

    /// The same database for a node, whose connections are called `galo/NODE` unless the operator names them.
    #[must_use]
    pub fn of_node(&self, node: &str) -> Self {
        Self { application: self.application.of_node(node), ..self.clone() }
    }

    /// The database as the spans of its calls name it: of several hosts the first.
    pub fn peer(&self) -> Peer {
        let (address, port) = match self.hosts.first() {
            Some(Place { host: Host::Tcp(name), port, .. }) => (name.clone(), Some(*port)),
            Some(Place { host: Host::Unix(folder), .. }) => (folder.display().to_string(), None),
            None => (String::new(), None),
        };
        Peer { namespace: self.dbname.clone(), address, port }
    }

    /// The name of the database.
    pub(in crate::database) fn name(&self) -> &str {
        &self.dbname
    }

    /// Another database of the same cluster, for the same role.
    pub(in crate::database) fn database(&self, name: &str) -> Self {
        Self { dbname: name.to_owned(), ..self.clone() }
    }
}

/// The hosts, each with its address and its port.
fn places(parameters: &Parameters) -> Result<Vec<Place>, String> {
    let list = |keyword| parameters.get(keyword).map(|text| text.split(',').collect::<Vec<_>>()).unwrap_or_default();
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = hosts.len().max(addresses.len());
    if count == 0 {
        return Err("it names no host, and neither does PGHOST".to_owned());
    }
    if !addresses.is_empty() && !hosts.is_empty() && addresses.len() != hosts.len() {
        return Err(format!("it has {} hosts and {} addresses of hosts", hosts.len(), addresses.len()));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(format!("it has {count} hosts and {} ports; give one, or one for each host", ports.len()));
    }
    let place = |index: usize| {
        let nothing_else = |text: &&str| !text.is_empty();
        let address = addresses
            .get(index)
            .copied()
            .filter(nothing_else)
            .map(|text| text.parse().map_err(|_| parameters.mistake("hostaddr", "it is not an IP address")));
        let address: Option<IpAddr> = address.transpose()?;
        let host = match (hosts.get(index).copied().filter(nothing_else), address) {
            (Some(folder), _) if folder.starts_with('/') => Host::Unix(PathBuf::from(folder)),
            (Some(name), _) => Host::Tcp(name.to_owned()),
            (None, Some(address)) => Host::Tcp(address.to_string()),
            (None, None) => return Err(parameters.mistake("host", "one of the hosts has no name")),
        };
        let port = match ports.get(index).or(ports.first()).copied().filter(nothing_else) {
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None => Some(5432),
        };
        let port = port.ok_or_else(|| parameters.mistake("port", "it is not a number from 1 to 65535"))?;
        Ok(Place { host, address, port })
    };
    (0..count).map(place).collect()
}

fn wanted(parameters: &Parameters) -> Result<Wanted, String> {
    let choices = &[
        ("any", Ok(Wanted::Anything)),
        ("read-write", Ok(Wanted::Writable)),
        ("read-only", Ok(Wanted::ReadOnly)),
        ("primary", Err("primary is not honoured: write read-write")),
        ("standby", Err("standby is not honoured: write read-only")),
        ("prefer-standby", Err("prefer-standby is not honoured: write any, or read-only")),
    ];
    let chosen = parameters.choice("target_session_attrs", choices)?.unwrap_or(Ok(Wanted::Anything));
    chosen.map_err(|instead| parameters.mistake("target_session_attrs", instead))
}

fn connect_timeout(parameters: &Parameters) -> Result<Duration, String> {
    let most = limits::CONNECT_TIMEOUT_CEILING;
    match parameters.number("connect_timeout")? {
        None | Some(0) => Ok(limits::CONNECT_TIMEOUT_DEFAULT),
        Some(given) if u64::from(given) <= most.as_secs() => Ok(Duration::from_secs(u64::from(given))),
        Some(_) => Err(parameters.mistake("connect_timeout", format_args!("it is more than {} s", most.as_secs()))),
    }
}

fn sockets(parameters: &Parameters) -> Result<Sockets, String> {
    let seconds = |keyword| parameters.number(keyword).map(|found| found.filter(|found| *found > 0).map(u64::from));
    let user_timeout = match parameters.number("tcp_user_timeout")? {
        // 0 means the default of the system.
        Some(0) => None,
        Some(given) => Some(Duration::from_millis(u64::from(given))),
        None => Some(limits::CALL_TIMEOUT),
    };
    let idle = seconds("keepalives_idle")?.map_or(limits::IDLE_TIMEOUT_DEFAULT, Duration::from_secs);
    let mut keepalive = TcpKeepalive::new().with_time(idle);
    if let Some(interval) = seconds("keepalives_interval")? {
        keepalive = keepalive.with_interval(Duration::from_secs(interval));
    }
    if let Some(count) = parameters.number("keepalives_count")?.filter(|count| *count > 0) {
        keepalive = keepalive.with_retries(count);
    }
    let keeps = parameters.number("keepalives")? != Some(0);
    Ok(Sockets { user_timeout, keepalive: keeps.then_some(keepalive) })
}

/// The settings that every connection starts with.
fn config(parameters: &Parameters) -> Result<Config, String> {
    let choices = &[
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ];
    let channel_binding = parameters.choice("channel_binding", choices)?.unwrap_or(ChannelBinding::Prefer);
    let mut config = Config::new();
    if let Some(options) = parameters.get("options") {
        config.options(options);
    }
    config.channel_binding(channel_binding);
    Ok(config)
}

/// Hosts, ports and database; no password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.hosts.iter().enumerate() {
            write!(f, "{}{place}", if index == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", self.dbname)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl Place {
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.host, Host::Tcp(_))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(name) => write!(f, "{name}:{}", self.port),
            Host::Unix(folder) => write!(f, "{}:{}", folder.display(), self.port),
        }
    }
}

/// The text of an error with all its sources: tokio-postgres prints `db error` and has the message in the source.
pub(in crate::database) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::connect::tls::Mode;

    fn parse(url: &str) -> Result<Target, String> {
        Target::parse(&Secret::new(url))
    }

    #[test]
    fn a_target_shows_no_password() {
        let target = parse("postgres://galo:hunter2@db:5433/shop").unwrap();
        assert_eq!(target.to_string(), "db:5433/shop");
        assert!(!format!("{target:?}").contains("hunter2"));
    }

    #[test]
    fn several_hosts_are_shown_apart() {
        assert_eq!(parse("postgres://galo@a,b:5433/shop").unwrap().to_string(), "a:5432,b:5433/shop");
        assert_eq!(parse("host=a,/run/b port=7 user=galo").unwrap().to_string(), "a:7,/run/b:7/galo");
    }

    #[test]
    fn a_url_that_cannot_work_is_refused() {
        for url in [
            "",
            "nonsense",
            "postgres:///x",
            "postgres://h/x",
            "postgres://u@h/x?sslmode=allow",
            "postgres://u@h/x?sslmode=on",
            "postgres://u@h/x?sslmode=prefer&sslnegotiation=direct",
            "postgres://u@h/x?sslmode=require&sslrootcert=system",
            "postgres://u@h/x?ssl_max_protocol_version=TLSv1.1",
            "postgres://u@h/x?target_session_attrs=standby",
            "postgres://u@h:0/x",
            "postgres://u@h:a/x",
            "postgres://u@h,/x",
            "hostaddr=h user=u",
            "host=a,b,c port=1,2 user=u",
            "postgres://u@h/x?connect_timeout=3600",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_that_is_not_escaped_is_refused_and_not_shown() {
        for url in [
            "postgres://galo:hun@ter2/hunter2@db/shop",
            "postgres://galo:hun@ter2@db/shop",
            "postgres://galo:hun/ter2@db/shop",
            "postgres://galo:hun?ter2@db/shop",
            "postgres://db/shop?user=galo&password=hun@ter2",
            "postgres://galo:hun:ter2@db/shop",
            "postgres://galo:hun%ter2@db/shop",
            "postgres://galo:hunter2@db/shop?ter2",
            "postgres://galo:x@db:hunter2/shop",
            "host=db user=galo password=hun ter2=x",
            "host=db user=galo password=hun ter2",
            // Only a password, as a secret file may contain.
            "hunter2==",
            "ter2hun= x",
        ] {
            let told = parse(url).map(|target| target.to_string()).unwrap_err();
            assert!(!told.contains("hun") && !told.contains("ter2"), "{url}: {told}");
        }
        assert_eq!(parse("postgres://galo:hun%40ter%2F2@db/shop").unwrap().to_string(), "db:5432/shop");
        assert!(parse("postgres://galo:hun@ter2@db/shop").unwrap_err().contains("%40 for `@`"));
        // If there is no password, the unknown keyword is shown.
        assert!(parse("host=db user=galo sslmod=x").unwrap_err().contains("unknown keyword `sslmod`"));
    }

    #[test]
    fn the_urls_own_timeout_counts() {
        assert_eq!(parse("host=h user=u").unwrap().connect_timeout, limits::CONNECT_TIMEOUT_DEFAULT);
        assert_eq!(parse("host=h user=u connect_timeout=7").unwrap().connect_timeout, Duration::from_secs(7));
    }

    #[test]
    fn sslmode_has_libpqs_meaning() {
        let mode = |text: &str| parse(&format!("host=h user=u {text}")).map(|target| target.tls.mode);
        assert_eq!(mode(""), Ok(Mode::Prefer));
        for (word, meant) in [("disable", Mode::Disable), ("prefer", Mode::Prefer), ("require", Mode::Require)] {
            assert_eq!(mode(&format!("sslmode={word}")), Ok(meant));
        }
        for (word, told) in [
            ("sslmode=verify-full", "sslmode: there is nothing to verify the server's certificate with"),
            ("sslmode=verify-ca", "write sslrootcert=system"),
            ("sslmode=allow", "sslmode: allow is not honoured: write prefer"),
            ("sslmode=on", "sslmode: it is not one of disable, prefer, require, verify-ca, verify-full"),
            ("sslmode=verify-full sslrootcert=/none", "sslrootcert: /none: No such file"),
            ("sslmode=require sslrootcert=system", "sslmode: it is too weak for sslrootcert=system"),
            ("sslcert=/none", "sslcert: name the file of its private key with sslkey"),
        ] {
            let mistake = mode(word).unwrap_err();
            assert!(mistake.contains(told), "{word}: {mistake}");
        }
    }

    #[test]
    fn an_address_alone_is_a_host() {
        assert_eq!(parse("hostaddr=::1 user=u port=7").unwrap().to_string(), "::1:7/u");
        assert_eq!(parse("postgres://u@a:7,b/d").unwrap().to_string(), "a:7,b:5432/d");
    }

    #[test]
    fn another_role_enters_the_same_database() {
        let target = parse("host=h user=dono options='-c a=b'").unwrap().of_role("galo");
        assert_eq!((target.role.as_deref(), &*target.dbname), (Some("galo"), "dono"));
        assert_eq!(target.config.get_options(), Some("-c a=b"));
    }
}
