//! What a node tells about itself, on an address of its own: `/live`, `/ready`, `/handlers`, `/metrics`. It changes
//! nothing. Run by `serve` from the first moment, before there is a registry: a node that starts is live, not ready.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::drain::Drain;
use crate::metrics::Metrics;
use crate::request::Node;
use crate::wire::{Incoming, Outgoing};

/// What the admin address shows.
pub struct Admin {
    /// The node, once it is assembled.
    pub node: OnceLock<Arc<Node>>,
    /// The node's counters.
    pub metrics: Arc<Metrics>,
    /// A node that drains is not ready.
    pub drain: Drain,
}

/// One handler, as `/handlers` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    route: String,
    generation: u64,
    sha256: String,
    answers: u64,
    faults: u64,
}

impl Admin {
    /// Answers a request of the admin address.
    pub fn answer(&self, incoming: &Incoming) -> Outgoing {
        if incoming.method() != Method::GET {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return refused;
        }
        match incoming.uri().path() {
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" => match self.unready() {
                None => text(StatusCode::OK, "ready\n"),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            "/handlers" => self.handlers(),
            "/metrics" => {
                typed(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", self.metrics.text())
            }
            _ => text(StatusCode::NOT_FOUND, "/live /ready /handlers /metrics\n"),
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
        let table = self.node.get().map(|node| node.registry.table());
        let shown: Vec<_> = table
            .iter()
            .flat_map(|table| &table.handlers)
            .map(|handler| {
                let generation = Arc::clone(&handler.lineage().current);
                Shown {
                    name: &handler.entry.name,
                    route: handler.entry.route.to_string(),
                    generation: generation.number,
                    sha256: generation.component.compiled.digest.to_string(),
                    answers: generation.calls(),
                    faults: generation.faults(),
                }
            })
            .collect();
        match serde_json::to_string_pretty(&shown) {
            Ok(json) => typed(StatusCode::OK, "application/json", json + "\n"),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Outgoing {
    typed(status, "text/plain; charset=utf-8", body)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Outgoing {
    let mut outgoing = Response::new(Full::new(body.into()));
    *outgoing.status_mut() = status;
    outgoing.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    outgoing
}
