//! How long a node waits for its clients, and how many the kernel queues before it accepts them.

use clap::Args;
use galo::config::Mistakes;
use galo::limits::{self, ClientTimeouts};

#[derive(Args)]
pub(super) struct ClientArgs {
    /// Seconds until a connection without a request is closed
    ///
    /// It must be longer than the proxy in front keeps idle connections: nginx and AWS application load balancers keep
    /// them for 60 s, Google's load balancers for 600 s, so use 620 behind those.
    #[arg(long, env = "GALO_IDLE_TIMEOUT", value_name = "SECONDS", default_value_t = limits::IDLE_TIMEOUT_DEFAULT.as_secs().to_string())]
    idle_timeout: String,
    /// Seconds from the first byte of a request to the end of its headers
    #[arg(long, env = "GALO_HEAD_TIMEOUT", value_name = "SECONDS", default_value_t = limits::HEAD_TIMEOUT_DEFAULT.as_secs().to_string())]
    head_timeout: String,
    /// Seconds from the end of the headers to the end of the body
    #[arg(long, env = "GALO_BODY_TIMEOUT", value_name = "SECONDS", default_value_t = limits::BODY_TIMEOUT_DEFAULT.as_secs().to_string())]
    body_timeout: String,
    /// Connections that the kernel queues until they are accepted
    ///
    /// The kernel caps it at net.core.somaxconn.
    #[arg(long, env = "GALO_BACKLOG", value_name = "N", default_value_t = limits::BACKLOG_DEFAULT.to_string())]
    backlog: String,
}

impl ClientArgs {
    /// The timeouts and the backlog; mistakes are noted.
    pub(super) fn parse(&self, mistakes: &mut Mistakes) -> Option<(ClientTimeouts, usize)> {
        let most = limits::CLIENT_TIMEOUT_SECONDS_CEILING;
        let idle =
            mistakes.parse_seconds("--idle-timeout", &self.idle_timeout, 1, limits::IDLE_TIMEOUT_SECONDS_CEILING);
        let head = mistakes.parse_seconds("--head-timeout", &self.head_timeout, 1, most);
        let body = mistakes.parse_seconds("--body-timeout", &self.body_timeout, 1, most);
        let backlog = mistakes.parse_within("--backlog", &self.backlog, 1, limits::BACKLOG_CEILING);
        if head > idle {
            mistakes
                .note("--head-timeout", "must not be longer than --idle-timeout, which closes the connection first");
        }
        Some((ClientTimeouts { idle: idle?, head: head?, body: body? }, backlog?))
    }
}
