//! The admin address of a node: `/live`, `/ready`, `/handlers`, `/metrics`, the commands it accepts (those of `deploy`
//! and of `candidates`), and for people a page (`page`), whose data are also JSON (`api`). `gate` decides who may ask.
//! It answers before the node is assembled: a starting node is live, not ready.

mod api;
mod body;
mod candidates;
mod console;
mod deploy;
mod explain;
mod gate;
mod out;
mod page;
mod recording;
mod records;
mod show;

use std::sync::{Arc, OnceLock};

use http::header::{ACCEPT, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};

use self::api::denied::Denied;
use self::body::Fields;
pub use self::console::Console;
pub use self::explain::{Explained, Found, Looked, Standing};
pub use self::gate::{Components, Denial, Gate};
use self::out::{denied, json, only, text, typed, with};
use crate::drain::Drain;
use crate::failure::Failure;
use crate::metrics::{Format, Metrics};
use crate::node::Node;
use crate::supervise::Supervisor;
use crate::wire::{self, Incoming, Messages, Outgoing};
use crate::{limits, log};

/// What the admin address needs.
pub struct Admin {
    /// Who may ask.
    pub gate: Gate,
    /// The node, once it is assembled.
    pub node: OnceLock<Arc<Node>>,
    /// The node's counters.
    pub metrics: Arc<Metrics>,
    /// A node that drains, or lingers before, is not ready.
    pub drain: Drain,
    /// A node that has lost a task is not live.
    pub supervisor: Supervisor,
    /// What the page needs.
    pub console: Console,
}

impl Admin {
    /// Answers a request. `checked` is the listener's verdict on its head.
    pub async fn answer(self: Arc<Self>, incoming: Incoming, checked: Result<(), Failure>) -> Outgoing {
        let (head, is_api) = (incoming.method() == Method::HEAD, incoming.uri().path().starts_with("/api/"));
        let mut outgoing = match checked {
            Ok(()) => self.gated(incoming).await,
            Err(failure) => wire::failed(&failure, Messages::plain()),
        };
        if is_api {
            outgoing = out::as_json(outgoing);
        }
        if head {
            wire::headed(&mut outgoing);
        }
        outgoing
    }

    async fn gated(self: &Arc<Self>, incoming: Incoming) -> Outgoing {
        let is_page = page::is(incoming.uri().path());
        match self.gate.pass(&incoming) {
            Ok(()) if deploy::is_command(incoming.uri().path()) => {
                deploy::answer(&self.gate, self.node.get(), incoming).await
            }
            Ok(()) if candidates::has(incoming.uri().path()) => {
                candidates::answer(&self.gate, self.node.get(), incoming).await
            }
            Ok(()) if incoming.uri().path() == explain::PATH => explain::answer(self, &incoming).await,
            Ok(()) if is_page => page::private(page::answer(self, incoming).await),
            Ok(()) if api::has(incoming.uri().path()) => page::private(api::answer(self, incoming).await),
            Ok(()) => self.routed(&incoming),
            Err(Denial::Foreign(reason)) => text(StatusCode::FORBIDDEN, format!("{reason}\n")),
            Err(Denial::Unauthorized) => {
                let refused = text(StatusCode::UNAUTHORIZED, "the token is missing or wrong\n");
                let mut refused = with(refused, WWW_AUTHENTICATE, "Bearer");
                if is_page {
                    // A browser asks its user for the token, as the password of any user.
                    refused.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"galo\""));
                }
                refused
            }
        }
    }

    fn routed(&self, incoming: &Incoming) -> Outgoing {
        let (method, path) = (incoming.method(), incoming.uri().path());
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match path {
            "/live" | "/ready" | "/handlers" | "/metrics" | "/api/records" | "/api/audit" if !reads => {
                only(method, "GET, HEAD, OPTIONS")
            }
            "*" if method == Method::OPTIONS => only(method, "GET, HEAD, POST, OPTIONS"),
            "/live" => match self.supervisor.death() {
                None => text(StatusCode::OK, "live\n"),
                Some(death) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{death}\n")),
            },
            "/ready" => match self.unready() {
                None => text(StatusCode::OK, self.ready()),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            "/handlers" => json(&api::handlers(self)),
            "/api/records" => records::answer(self, incoming.uri().query().unwrap_or_default()),
            "/api/audit" => {
                let answered = self.audit(incoming.uri().query().unwrap_or_default());
                answered.unwrap_or_else(|why| denied(&why))
            }
            recording::PATH => recording::answer(self, incoming),
            "/metrics" => {
                self.node.get().into_iter().for_each(|node| node.database.count());
                self.metrics.counted_elsewhere(log::dropped(), self.supervisor.restarts());
                let format = wanted(incoming);
                typed(StatusCode::OK, format.content_type(), self.metrics.text(format))
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "/live /ready /handlers /metrics /api/audit /api/records /api/explain /api/recording, the page /, and \
                 /api/openapi.json with all of /api/. POST /handlers/NAME/rollback, /handlers/NAME/deploy, \
                 /handlers/NAME/shadow and /candidates/DIGEST/accept\n",
            ),
        }
    }

    /// The answer of a node that is ready, with what it lacks.
    fn ready(&self) -> String {
        let Some(node) = self.node.get() else { return "ready\n".to_owned() };
        let lacks = [node.database.shortage(), node.database.missing_shards()];
        let lacks: Vec<_> = lacks.into_iter().flatten().collect();
        if lacks.is_empty() { "ready\n".to_owned() } else { format!("ready, with {}\n", lacks.join("; ")) }
    }

    /// Why the node is not ready, if it is not.
    fn unready(&self) -> Option<&'static str> {
        match self.node.get() {
            _ if self.drain.has_begun() => Some("draining\n"),
            _ if self.drain.lingers() => Some("lingering\n"),
            None => Some("starting\n"),
            Some(node) if !node.database.is_ready() => Some("database unavailable\n"),
            Some(_) => None,
        }
    }

    /// The last entries of the audit log, as lines of JSON: `last=N`.
    fn audit(&self, query: &str) -> Result<Outgoing, Denied> {
        let query = Fields::of_query(query);
        query.only(&["last"])?;
        let last = query.number("last")?.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
        let mut lines = String::new();
        for entry in self.started()?.registry.audit.last(last.unwrap_or(limits::AUDIT_ENTRIES_MAX)) {
            if let Ok(line) = serde_json::to_string(&entry) {
                lines.extend([&line, "\n"]);
            }
        }
        Ok(typed(StatusCode::OK, "application/jsonl", lines))
    }
}

/// The format of the metrics: OpenMetrics for a client that accepts it, as Prometheus does; otherwise the classic one.
fn wanted(incoming: &Incoming) -> Format {
    let accepted = incoming.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    match accepted.into_iter().any(|value| value.contains("application/openmetrics-text")) {
        true => Format::OpenMetrics,
        false => Format::Classic,
    }
}
