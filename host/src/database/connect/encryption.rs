//! Whether connections are encrypted, and to whom: logged once for each way in which one was made, at the first.
//!
//! Made by `handshake`, logged for `target`.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use super::tls::{Mode, Tls};
use super::verifier::Checked;

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    Tls(TlsVersion, Checked),
    /// It leaves this process and not this machine.
    UnixSocket,
    Loopback,
    /// Whoever is on the way can read and change it.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsVersion {
    V12,
    V13,
}

/// What was logged already.
#[derive(Debug)]
pub(super) struct Logged {
    ways: Mutex<Vec<Encryption>>,
    /// Whether the connection string has a name for connections, which is not used.
    names_connections: bool,
}

impl Logged {
    pub(super) fn new(names_connections: bool) -> Self {
        Self { ways: Mutex::default(), names_connections }
    }

    /// Logs a way in which a connection was made, when it is the first of its kind.
    pub(super) fn note(&self, database: &dyn Display, tls: &Tls, encryption: Encryption) {
        let mut logged = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.contains(&encryption) {
            return;
        }
        if logged.is_empty() && self.names_connections {
            tracing::warn!("application_name is not honoured: connections are called `galo` and `galo batches`");
        }
        logged.push(encryption);
        let verified = match encryption {
            Encryption::Tls(_, Checked::AuthorityAndName) => format!("authority and name, by {}", tls.trusted()),
            Encryption::Tls(_, Checked::Authority) => format!("authority, by {}", tls.trusted()),
            _ => "no".to_owned(),
        };
        let encrypted = match encryption {
            Encryption::Tls(TlsVersion::V12, _) => "TLS 1.2",
            Encryption::Tls(TlsVersion::V13, _) => "TLS 1.3",
            Encryption::UnixSocket => "no, a unix socket",
            Encryption::Loopback => "no, this machine",
            Encryption::None => {
                let why = match tls.mode {
                    Mode::Disable => "sslmode=disable; whoever is on the way reads and changes what is sent",
                    _ => {
                        "TLS could not be had; whoever is on the way reads and changes what is sent. Turn TLS on at \
                         the server and write sslmode=verify-full, or sslmode=disable where nobody is"
                    }
                };
                tracing::warn!(%database, why, "connections to the database are not encrypted");
                return;
            }
        };
        tracing::info!(%database, encrypted, verified, "connected to the database");
    }
}
