//! Where the database is: a parsed Postgres URL, with what the host itself asks of every connection.
//!
//! Parsed by `cli`, used by `open`, which connects to it. No text made here holds a part of a password.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};

use crate::config::Secret;
use crate::limits;

/// A database to connect to: one, or several hosts of which one is the right one.
#[derive(Clone)]
pub struct Target {
    /// Everything but where it is.
    pub(super) config: Config,
    pub(super) hosts: Vec<Place>,
    /// What the URL asks of a session (`target_session_attrs`).
    pub(super) wanted: Wanted,
    /// Whether the URL's order of hosts is of no meaning (`load_balance_hosts`).
    pub(super) balanced: bool,
    /// For one connection to one address (`connect_timeout`).
    pub(super) connect_timeout: Duration,
}

/// One host of a URL.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) host: Host,
    /// Where it is, if the URL says so (`hostaddr`).
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
}

/// What is asked of a database beside that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Anything,
    /// A primary: what is called may write.
    Writable,
    ReadOnly,
}

impl Target {
    /// Parses a Postgres URL or a `key=value` connection string.
    ///
    /// # Errors
    /// What is wrong with it, in words; never a part of the URL that may belong to a password.
    pub fn parse(url: &Secret) -> Result<Self, String> {
        refuse_ambiguous(url.expose())?;
        let parsed: Config = url.expose().parse().map_err(|error| unreadable(url, &error))?;
        if parsed.get_user().is_none() {
            return Err("it names no user".to_owned());
        }
        if parsed.get_ssl_mode() == SslMode::Require {
            return Err("sslmode=require: connections with TLS are not supported".to_owned());
        }
        Ok(Self {
            hosts: places(&parsed)?,
            wanted: match parsed.get_target_session_attrs() {
                TargetSessionAttrs::ReadWrite => Wanted::Writable,
                TargetSessionAttrs::ReadOnly => Wanted::ReadOnly,
                _ => Wanted::Anything,
            },
            balanced: parsed.get_load_balance_hosts() == LoadBalanceHosts::Random,
            connect_timeout: connect_timeout(&parsed)?,
            config: without_place(&parsed),
        })
    }

    /// The same database, entered by another role with the same password, if there is one.
    pub fn of_role(&self, role: &str) -> Self {
        let mut target = self.clone();
        let database = target.config.get_dbname().or(target.config.get_user()).unwrap_or_default().to_owned();
        target.config.user(role).dbname(database);
        target
    }

    /// Another database of the same cluster, by the same role.
    pub(super) fn database(&self, name: &str) -> Self {
        let mut target = self.clone();
        target.config.dbname(name);
        target
    }

    /// The configuration of a connection to one of the hosts, at this address if it is known.
    pub(super) fn at(&self, place: &Place, address: Option<IpAddr>) -> Config {
        let mut config = self.config.clone();
        match &place.host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(folder) => config.host_path(folder),
        };
        if let Some(address) = address {
            config.hostaddr(address);
        }
        config.port(place.port);
        config
    }
}

/// Refuses a URL of which a part of the password would be taken for the host or the database: an `@` that is not
/// escaped ends the password, whatever its author meant.
fn refuse_ambiguous(url: &str) -> Result<(), String> {
    let Some((_, rest)) = url.split_once("://") else { return Ok(()) };
    let Some((credentials, place)) = rest.split_once('@') else { return Ok(()) };
    if credentials.contains(['/', '?', '#']) || place.contains('@') {
        return Err("its user or password has an `@`, `/`, `?` or `#` that is not escaped; \
                    write %40 for `@`, %2F for `/`, %3F for `?` and %23 for `#`, also behind the host"
            .to_owned());
    }
    Ok(())
}

/// Why a URL was not read. The parser names what it does not know, which may be a part of a password.
fn unreadable(url: &Secret, error: &tokio_postgres::Error) -> String {
    if url.expose().contains('@') || url.expose().contains("password") {
        return "it is neither a URL nor pairs of key=value; escape special characters of the password: as %XX in a \
                URL, in single quotes in a pair"
            .to_owned();
    }
    chain(error)
}

/// The hosts of a URL, each with its port.
fn places(parsed: &Config) -> Result<Vec<Place>, String> {
    let (hosts, addresses, ports) = (parsed.get_hosts(), parsed.get_hostaddrs(), parsed.get_ports());
    if hosts.is_empty() {
        return Err("it names no host".to_owned());
    }
    if !addresses.is_empty() && addresses.len() != hosts.len() {
        return Err(format!("it has {} hosts and {} addresses of hosts", hosts.len(), addresses.len()));
    }
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err(format!("it has {} hosts and {} ports; give one, or one for each host", hosts.len(), ports.len()));
    }
    let place = |(index, host): (usize, &Host)| Place {
        host: host.clone(),
        address: addresses.get(index).copied(),
        port: ports.get(index).or(ports.first()).copied().unwrap_or(5432),
    };
    Ok(hosts.iter().enumerate().map(place).collect())
}

fn connect_timeout(parsed: &Config) -> Result<Duration, String> {
    let most = limits::CONNECT_TIMEOUT_CEILING;
    match parsed.get_connect_timeout() {
        None => Ok(limits::CONNECT_TIMEOUT_DEFAULT),
        Some(given) if *given <= most => Ok(*given),
        Some(given) => Err(format!("connect_timeout: {} s is more than {} s", given.as_secs(), most.as_secs())),
    }
}

/// A configuration without hosts: each connection is made to one of them.
fn without_place(parsed: &Config) -> Config {
    let mut config = Config::new();
    if let Some(user) = parsed.get_user() {
        config.user(user);
    }
    if let Some(password) = parsed.get_password() {
        config.password(password);
    }
    if let Some(name) = parsed.get_dbname() {
        config.dbname(name);
    }
    if let Some(options) = parsed.get_options() {
        config.options(options);
    }
    if let Some(interval) = parsed.get_keepalives_interval() {
        config.keepalives_interval(interval);
    }
    if let Some(retries) = parsed.get_keepalives_retries() {
        config.keepalives_retries(retries);
    }
    config
        .application_name("galo")
        .ssl_mode(parsed.get_ssl_mode())
        .channel_binding(parsed.get_channel_binding())
        .tcp_user_timeout(limits::CALL_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(limits::IDLE_TIMEOUT_DEFAULT);
    config
}

/// Hosts, ports and database; no password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.hosts.iter().enumerate() {
            write!(f, "{}{place}", if index == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", self.config.get_dbname().or(self.config.get_user()).unwrap_or_default())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
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

/// An error with everything behind it: tokio-postgres says `db error` and keeps the words in the source.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
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

    fn parse(url: &str) -> Result<Target, String> {
        Target::parse(&Secret::new(url))
    }

    #[test]
    fn a_target_shows_no_password() {
        let target = parse("postgres://galo:hunter2@db:5433/rinha").unwrap();
        assert_eq!(target.to_string(), "db:5433/rinha");
        assert!(!format!("{target:?}").contains("hunter2"));
    }

    #[test]
    fn several_hosts_are_shown_apart() {
        assert_eq!(parse("postgres://galo@a,b:5433/rinha").unwrap().to_string(), "a:5432,b:5433/rinha");
        assert_eq!(parse("host=a,/run/b port=7 user=galo").unwrap().to_string(), "a:7,/run/b:7/galo");
    }

    #[test]
    fn a_url_that_cannot_work_is_refused() {
        for url in [
            "",
            "nonsense",
            "postgres:///x",
            "postgres://h/x",
            "postgres://u@h/x?sslmode=require",
            "host=a,b,c port=1,2 user=u",
            "postgres://u@h/x?connect_timeout=3600",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_that_is_not_escaped_is_refused_and_not_shown() {
        for url in [
            "postgres://galo:hun@ter2/hunter2@db/rinha",
            "postgres://galo:hun@ter2@db/rinha",
            "postgres://galo:hun/ter2@db/rinha",
            "postgres://galo:hun?ter2@db/rinha",
            "postgres://db/rinha?user=galo&password=hun@ter2",
            "postgres://galo:hunter2@db/rinha?ter2",
            "postgres://galo:x@db:hunter2/rinha",
            "host=db user=galo password=hun ter2=x",
            "host=db user=galo password=hun ter2",
        ] {
            let told = parse(url).map(|target| target.to_string()).unwrap_err();
            assert!(!told.contains("hun") && !told.contains("ter2"), "{url}: {told}");
        }
        assert_eq!(parse("postgres://galo:hun%40ter%2F2@db/rinha").unwrap().to_string(), "db:5432/rinha");
        assert!(parse("postgres://galo:hun@ter2@db/rinha").unwrap_err().contains("%40 for `@`"));
        // Without a password the name of what is wrong is shown.
        assert!(parse("host=db user=galo sslmod=x").unwrap_err().contains("unknown option `sslmod`"));
    }

    #[test]
    fn the_urls_own_timeout_counts() {
        assert_eq!(parse("host=h user=u").unwrap().connect_timeout, limits::CONNECT_TIMEOUT_DEFAULT);
        assert_eq!(parse("host=h user=u connect_timeout=7").unwrap().connect_timeout, Duration::from_secs(7));
    }

    #[test]
    fn another_role_enters_the_same_database() {
        let target = parse("host=h user=dono options='-c a=b'").unwrap().of_role("galo");
        assert_eq!((target.config.get_user(), target.config.get_dbname()), (Some("galo"), Some("dono")));
        assert_eq!(target.config.get_options(), Some("-c a=b"));
    }
}
