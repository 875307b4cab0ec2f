//! What a node tells about itself, on an address of its own: `/live`, `/ready`, `/handlers`, `/metrics`; and the one
//! thing it lets itself be told, a rollback. Who may ask is `gate`'s to say. Run by `serve` from the first moment,
//! before there is a registry: a node that starts is live, not ready.

mod gate;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

pub use self::gate::{Denial, Gate};
use crate::drain::Drain;
use crate::metrics::Metrics;
use crate::registry::Handler;
use crate::report::{HandlerReport, ManifestReport, NodeReport, State};
use crate::request::Node;
use crate::wire::{Incoming, Outgoing};

/// What the admin address shows.
pub struct Admin {
    /// Who may ask.
    pub gate: Gate,
    /// The node, once it is assembled.
    pub node: OnceLock<Arc<Node>>,
    /// The node's counters.
    pub metrics: Arc<Metrics>,
    /// A node that drains is not ready.
    pub drain: Drain,
}

impl Admin {
    /// Answers a request of the admin address.
    pub fn answer(&self, incoming: &Incoming) -> Outgoing {
        match self.gate.pass(incoming) {
            Ok(()) => self.routed(incoming.method(), incoming.uri().path()),
            Err(Denial::Foreign(reason)) => text(StatusCode::FORBIDDEN, format!("{reason}\n")),
            Err(Denial::Unauthorized) => {
                let refused = text(StatusCode::UNAUTHORIZED, "the token is missing or wrong\n");
                with(refused, WWW_AUTHENTICATE, "Bearer")
            }
        }
    }

    fn routed(&self, method: &Method, path: &str) -> Outgoing {
        let rollback = path.strip_prefix("/handlers/").and_then(|rest| rest.strip_suffix("/rollback"));
        match (path, rollback) {
            (_, Some(_)) if method != Method::POST => only("POST"),
            (_, Some(name)) => self.rollback(name),
            ("/live" | "/ready" | "/handlers" | "/metrics", None) if method != Method::GET => only("GET"),
            ("/live", None) => text(StatusCode::OK, "live\n"),
            ("/ready", None) => match self.unready() {
                None => text(StatusCode::OK, "ready\n"),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            ("/handlers", None) => self.handlers(),
            ("/metrics", None) => {
                typed(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", self.metrics.text())
            }
            _ => text(StatusCode::NOT_FOUND, "/live /ready /handlers /metrics, and POST /handlers/NAME/rollback\n"),
        }
    }

    /// Why the node is not ready, if it is not.
    fn unready(&self) -> Option<&'static str> {
        match self.node.get() {
            _ if self.drain.has_begun() => Some("draining\n"),
            None => Some("starting\n"),
            Some(node) if !node.database.is_ready() => Some("the database is away\n"),
            Some(_) => None,
        }
    }

    fn handlers(&self) -> Outgoing {
        let handlers = self.served().iter().map(|handler| report(handler)).collect();
        let report = NodeReport { manifest: ManifestReport::default(), handlers };
        match serde_json::to_string_pretty(&report) {
            Ok(json) => typed(StatusCode::OK, "application/json", json + "\n"),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    /// Brings the previous generation of a handler back.
    fn rollback(&self, name: &str) -> Outgoing {
        if self.served().iter().any(|handler| handler.name == name) {
            text(StatusCode::CONFLICT, format!("{name} has no previous generation\n"))
        } else {
            text(StatusCode::NOT_FOUND, format!("no handler {name}\n"))
        }
    }

    /// The node's handlers; none while it starts.
    fn served(&self) -> &[Arc<Handler>] {
        self.node.get().map(|node| node.registry.handlers.as_slice()).unwrap_or_default()
    }
}

fn report(handler: &Handler) -> HandlerReport {
    let generation = handler.current();
    HandlerReport {
        name: handler.name.clone(),
        route: handler.route.to_string(),
        generation: generation.number,
        sha256: generation.component.digest.to_string(),
        state: State::Live,
        since: None,
        calls: handler.metrics.answers(),
        faults: handler.metrics.faults(),
        previous: None,
        rolled_back: None,
        refused: None,
    }
}

fn only(method: &'static str) -> Outgoing {
    with(text(StatusCode::METHOD_NOT_ALLOWED, format!("only {method}\n")), ALLOW, method)
}

fn with(mut outgoing: Outgoing, name: http::HeaderName, value: &'static str) -> Outgoing {
    outgoing.headers_mut().insert(name, HeaderValue::from_static(value));
    outgoing
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Outgoing {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Outgoing {
    let mut outgoing = Response::new(Full::new(body.into()));
    *outgoing.status_mut() = status;
    with(outgoing, CONTENT_TYPE, content_type)
}
