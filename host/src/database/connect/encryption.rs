//! How connections are encrypted and what was verified of the server. Logged once for each kind of connection, when the
//! first one of it is made.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use super::tls::{Mode, Tls};
use super::verifier::Checked;

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    Tls(TlsVersion, Checked),
    /// The data leaves this process but not this machine.
    UnixSocket,
    Loopback,
    /// Anyone on the network path can read and change the data.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsVersion {
    V12,
    V13,
}

/// The kinds of connection that were logged already.
#[derive(Debug, Default)]
pub(super) struct Logged {
    ways: Mutex<Vec<Encryption>>,
}

impl Logged {
    /// Logs how a connection is encrypted, if it is the first of its kind.
    pub(super) fn note(&self, database: &dyn Display, tls: &Tls, encryption: Encryption) {
        let mut logged = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.contains(&encryption) {
            return;
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
                    Mode::Disable => "sslmode=disable; anyone on the network path can read and change the data",
                    _ => {
                        "TLS is not available; anyone on the network path can read and change the data. Turn TLS on \
                         at the server and set sslmode=verify-full, or sslmode=disable if the network is trusted"
                    }
                };
                tracing::warn!(%database, why, "connections to the database are not encrypted");
                return;
            }
        };
        tracing::info!(%database, encrypted, verified, "connected to the database");
    }
}
