//! Where the database is: a parsed Postgres URL, with what the host itself asks of every connection.
//!
//! Parsed by `cli`, used by `pool`, `schema` and `structure`.

use std::fmt;

use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls};

use crate::config::Secret;
use crate::limits;

/// A database to connect to.
#[derive(Clone)]
pub struct Target {
    config: Config,
}

impl Target {
    /// Parses a Postgres URL or a `key=value` connection string.
    ///
    /// # Errors
    /// What is wrong with it, in words; never the URL itself, which may hold a password.
    pub fn parse(url: &Secret) -> Result<Self, String> {
        let mut config: Config = url.expose().parse().map_err(|error: tokio_postgres::Error| chain(&error))?;
        if config.get_hosts().is_empty() {
            return Err("it names no host".to_owned());
        }
        if config.get_user().is_none() {
            return Err("it names no user".to_owned());
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err("sslmode=require: connections with TLS are not supported".to_owned());
        }
        config
            .application_name("galo")
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .tcp_user_timeout(limits::CALL_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(limits::IDLE_TIMEOUT);
        Ok(Self { config })
    }

    /// The same database, with every connection acting as another role.
    pub fn acting_as(&self, role: &str) -> Self {
        let mut target = self.clone();
        target.add_options(&format!("-c role={role}"));
        target
    }

    /// Another database of the same cluster, by the same role.
    pub(super) fn database(&self, name: &str) -> Self {
        let mut target = self.clone();
        target.config.dbname(name);
        target
    }

    /// For connections that serve: Postgres itself ends what takes too long.
    pub(super) fn serving(&self) -> Config {
        let mut target = self.clone();
        let ms = limits::STATEMENT_TIMEOUT.as_millis();
        target.add_options(&format!("-c statement_timeout={ms} -c idle_in_transaction_session_timeout={ms}"));
        target.config
    }

    /// For connections that carry out batches: a locked or slow row must not hold up the calls of others.
    pub(super) fn serving_batches(&self) -> Config {
        let mut target = Self { config: self.serving() };
        let (lock, statement) = (limits::BATCH_LOCK_TIMEOUT.as_millis(), limits::BATCH_STATEMENT_TIMEOUT.as_millis());
        target.add_options(&format!("-c lock_timeout={lock} -c statement_timeout={statement}"));
        target.config.application_name("galo batches");
        target.config
    }

    /// One connection outside the pool. Its task ends with the client.
    ///
    /// # Errors
    /// When the database does not take it, or does not answer.
    pub(super) async fn connect(&self) -> Result<tokio_postgres::Client, Unreachable> {
        // The config's own timeout ends with the socket's connect; the start-up exchange has none.
        let connected = timeout(limits::DATABASE_ANSWER_TIMEOUT, self.config.connect(NoTls)).await;
        let (client, connection) = connected.map_err(|_| Unreachable::Silent)?.map_err(Unreachable::Refused)?;
        // The client sees the error of a connection that breaks; nobody waits for this task.
        tokio::spawn(connection);
        Ok(client)
    }

    fn add_options(&mut self, more: &str) {
        let options = match self.config.get_options() {
            Some(options) => format!("{options} {more}"),
            None => more.to_owned(),
        };
        self.config.options(options);
    }
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    /// The socket, or Postgres, refused it.
    #[error("{}", chain(.0))]
    Refused(tokio_postgres::Error),
    /// Nothing answered.
    #[error("no answer within {} s", limits::DATABASE_ANSWER_TIMEOUT.as_secs())]
    Silent,
}

impl Unreachable {
    /// What Postgres said, if it was Postgres.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Refused(error) => error.code(),
            Self::Silent => None,
        }
    }
}

/// Host, port and database; no password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let port = self.config.get_ports().get(index).or(self.config.get_ports().first()).unwrap_or(&5432);
            match host {
                Host::Tcp(name) => write!(f, "{name}:{port}")?,
                Host::Unix(path) => write!(f, "{}:{port}", path.display())?,
            }
        }
        write!(f, "/{}", self.config.get_dbname().or(self.config.get_user()).unwrap_or_default())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
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

    #[test]
    fn a_target_shows_no_password() {
        let target = Target::parse(&Secret::new("postgres://galo:hunter2@db:5433/rinha")).unwrap();
        assert_eq!(target.to_string(), "db:5433/rinha");
        assert!(!format!("{target:?}").contains("hunter2"));
    }

    #[test]
    fn a_url_that_cannot_work_is_refused() {
        for url in ["", "nonsense", "postgres:///x", "postgres://h/x", "postgres://u@h/x?sslmode=require"] {
            assert!(Target::parse(&Secret::new(url)).is_err(), "{url}");
        }
    }

    #[test]
    fn options_of_the_url_are_kept() {
        let target = Target::parse(&Secret::new("host=h user=u options='-c a=b'")).unwrap().acting_as("galo");
        assert_eq!(target.config.get_options(), Some("-c a=b -c role=galo"));
    }
}
