//! What an operator does with a candidate: accepts what it decides otherwise (`POST /candidates/DIGEST/accept`), or
//! runs it beside the live requests (`POST /handlers/NAME/shadow?every=N&seconds=N` with the component as its body;
//! `DELETE` ends it). Who asks and why is in the body of the first, and in the query (`who`, `why`) of the others.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::Semaphore;

use super::body::{Fields, unnamed};
use super::deploy::{Denial, body, parsed};
use super::gate::Gate;
use super::out::{json, only, text};
use super::show;
use crate::gate::{Busy, Unaccepted};
use crate::limits;
use crate::node::Node;
use crate::registry::{Event, Subject, Who};
use crate::report::{Acceptance, Reason};
use crate::wire::{Incoming, Outgoing};

/// Components are taken one at a time: each is held in memory whole.
static UPLOAD: Semaphore = Semaphore::const_new(1);

/// Whether a path is one of these.
pub(super) fn has(path: &str) -> bool {
    accepted(path).or_else(|| shadowed(path)).is_some()
}

/// Answers a request for one of these.
pub(super) async fn answer(gate: &Gate, node: Option<&Arc<Node>>, incoming: Incoming) -> Outgoing {
    let (method, path) = (incoming.method().clone(), incoming.uri().path().to_owned());
    if let (&Method::POST, Err(why)) = (&method, gate.may_operate()) {
        return text(StatusCode::FORBIDDEN, format!("{why}\n"));
    }
    let Some(node) = node else { return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n") };
    match (accepted(&path), shadowed(&path)) {
        (Some(prefix), _) if method == Method::POST => match reason(incoming).await {
            Ok(asked) => accept(node, prefix, &asked),
            Err((status, message)) => text(status, message + "\n"),
        },
        (Some(_), _) => only(&method, "POST, OPTIONS"),
        (None, Some(name)) if method == Method::POST => order(node, name, incoming).await,
        (None, Some(name)) if method == Method::DELETE => stop(node, name, reason_of(&incoming)),
        (None, _) => only(&method, "POST, DELETE, OPTIONS"),
    }
}

fn accepted(path: &str) -> Option<&str> {
    path.strip_prefix("/candidates/")?.strip_suffix("/accept")
}

fn shadowed(path: &str) -> Option<&str> {
    path.strip_prefix("/handlers/")?.strip_suffix("/shadow")
}

/// Who asks and why, in a body that may be empty.
async fn reason(incoming: Incoming) -> Result<Reason, Denial> {
    let body = body(incoming).await?;
    if body.is_empty() { Ok(unnamed()) } else { parsed(&body) }
}

fn reason_of(incoming: &Incoming) -> Reason {
    Fields::of_query(incoming.uri().query().unwrap_or_default()).reason()
}

/// A shadow that is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    every: usize,
    span: Duration,
    signature: Option<String>,
}

/// `every=N&seconds=N`, both with defaults, and `signature=BASE64` (URL-safe), the signature of the component.
fn asked(query: &str) -> Result<Asked, String> {
    let given = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str, default: u64, most: u64| match given(name).map_or(Ok(default), str::parse) {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("`{name}` is a whole number from 1 to {most}\n")),
    };
    let every = number("every", limits::SHADOW_EVERY_DEFAULT as u64, limits::RECORD_EVERY_MAX as u64)?;
    let seconds = number("seconds", limits::SHADOW_DEFAULT.as_secs(), limits::SHADOW_CEILING.as_secs())?;
    let signature = given("signature").map(|text| BASE64_URL_SAFE_NO_PAD.decode(text).map(String::from_utf8));
    let signature = match signature {
        None => None,
        Some(Ok(Ok(text))) => Some(text),
        Some(_) => return Err("`signature` is the text of a signature in URL-safe base64 without padding\n".to_owned()),
    };
    let every = usize::try_from(every).unwrap_or(limits::RECORD_EVERY_MAX);
    Ok(Asked { every, span: Duration::from_secs(seconds), signature })
}

/// Reads the component, and orders its shadow.
async fn order(node: &Node, name: &str, incoming: Incoming) -> Outgoing {
    let Asked { every, span, signature } = match asked(incoming.uri().query().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(wrong) => return text(StatusCode::BAD_REQUEST, wrong),
    };
    let by = reason_of(&incoming);
    let table = node.registry.table();
    let Some(handler) = table.handler(name) else { return unknown(name) };
    let Ok(_turn) = UPLOAD.try_acquire() else {
        return text(StatusCode::CONFLICT, "another component is being sent to this node; try again\n");
    };
    let most = usize::try_from(limits::COMPONENT_BYTES_MAX).unwrap_or(usize::MAX);
    let body = Limited::new(incoming.into_body(), most).collect();
    let bytes = match tokio::time::timeout(limits::UPLOAD_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes().to_vec(),
        Ok(Err(_)) => {
            let refused = format!("the component did not arrive whole, or has more than {most} bytes\n");
            return text(StatusCode::PAYLOAD_TOO_LARGE, refused);
        }
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the component did not arrive in time\n"),
    };
    let busy = match node.gates.shadows.order(name, (bytes, signature), (every, span), by) {
        Ok(()) => {
            let mut outgoing = json(&show::handler(handler, &node.gates));
            *outgoing.status_mut() = StatusCode::ACCEPTED;
            return outgoing;
        }
        Err(Busy::Handler) => format!("{name} has a shadow already\n"),
        Err(Busy::Node) => {
            format!("the node has {} shadows already; wait until one has ended\n", limits::SHADOWS_MAX)
        }
    };
    text(StatusCode::CONFLICT, busy)
}

/// Ends the shadow of a handler.
fn stop(node: &Node, name: &str, asked: Reason) -> Outgoing {
    let table = node.registry.table();
    let Some(handler) = table.handler(name) else { return unknown(name) };
    match node.gates.shadows.stop(name, asked) {
        Some(_) => json(&show::handler(handler, &node.gates)),
        None => text(StatusCode::CONFLICT, format!("{name} has no shadow\n")),
    }
}

/// Accepts what a candidate decides otherwise.
fn accept(node: &Node, prefix: &str, Reason { who, why }: &Reason) -> Outgoing {
    let well_formed = prefix.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !well_formed || prefix.len() < limits::ACCEPT_DIGITS_MIN {
        let least = limits::ACCEPT_DIGITS_MIN;
        return text(StatusCode::BAD_REQUEST, format!("a digest has at least {least} digits, 0 to 9 and a to f\n"));
    }
    let table = node.registry.table();
    let canaries = table.handlers.iter().flat_map(|handler| {
        let lineage = handler.lineage();
        let canary = lineage.canary.as_ref().map(|canary| canary.generation.component.compiled.digest);
        let back = lineage.rolled_back.as_ref().map(|back| back.digest);
        canary.into_iter().chain(back).map(|digest| (handler.entry.name.clone(), digest))
    });
    match node.gates.accept(prefix, &canaries.collect::<Vec<_>>()) {
        Ok((digest, handlers)) => {
            tracing::info!(sha256 = %digest, "{}: what it decides otherwise is accepted, as requested", handlers.join(", "));
            for name in &handlers {
                let subject = Subject { handler: Some(name), digest: Some(digest) };
                node.operated(subject, Event::Accepted, &Who::person(who), why);
            }
            json(&Acceptance { sha256: digest.to_string(), handlers })
        }
        Err(Unaccepted::Unknown) => {
            let unknown = format!(
                "no candidate with the digest {prefix}... decides otherwise on recorded requests or was a canary\n"
            );
            text(StatusCode::NOT_FOUND, unknown)
        }
        Err(Unaccepted::Ambiguous(found)) => {
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            text(StatusCode::CONFLICT, format!("{prefix} is the beginning of {}\n", found.join(", ")))
        }
    }
}

fn unknown(name: &str) -> Outgoing {
    text(StatusCode::NOT_FOUND, format!("no handler {name}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_has_a_sample_and_a_time() {
        let of = |query| asked(query).map(|Asked { every, span, signature }| (every, span.as_secs(), signature));
        let seconds = limits::SHADOW_DEFAULT.as_secs();
        assert_eq!(of(""), Ok((limits::SHADOW_EVERY_DEFAULT, seconds, None)));
        assert_eq!(of("seconds=60&every=3&signature=YQpi"), Ok((3, 60, Some("a\nb".to_owned()))));
        for (wrong, named) in
            [("every=0", "every"), ("every=x", "every"), ("seconds=86401", "seconds"), ("signature=?", "signature")]
        {
            assert!(asked(wrong).unwrap_err().starts_with(&format!("`{named}` is ")), "{wrong}");
        }
    }
}
