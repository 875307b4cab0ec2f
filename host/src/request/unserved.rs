//! The answers to requests that no handler has answered: to OPTIONS, and to failures. A body that is not needed is
//! discarded, or its connection is closed.

use http::request::Parts;
use http::{HeaderValue, Method};

use crate::cors::{self, Cors};
use crate::failure::Failure;
use crate::node::Node;
use crate::wire::{self, Body, Outgoing};

/// Answers a request that no handler serves: OPTIONS with the allowed methods, anything else with the failure.
pub(super) async fn unrouted(
    node: &Node,
    head: &Parts,
    body: Body,
    cors: Option<&Cors>,
    failure: &Failure,
) -> Outgoing {
    let allow = match failure {
        // The methods of a manifest are tokens, so they are valid in a header value.
        Failure::MethodNotAllowed { allow } if head.method == Method::OPTIONS => HeaderValue::from_str(allow).ok(),
        _ => None,
    };
    let outgoing = match allow {
        Some(allow) => {
            let mut outgoing = wire::options(&allow);
            if let Some(cors) = cors.filter(|_| cors::is_preflight(head)) {
                cors.preflight(&head.headers, &allow, outgoing.headers_mut());
            }
            outgoing
        }
        None => {
            node.metrics.unrouted(failure.status());
            failed(node, failure)
        }
    };
    unread(head, body, outgoing).await
}

/// The answer to a failure, with the messages of the current manifest.
pub(super) fn failed(node: &Node, failure: &Failure) -> Outgoing {
    wire::failed(failure, &node.registry.table().messages)
}

/// Completes an answer to a request whose body is not needed: discards the body, or closes the connection.
pub(super) async fn unread(head: &Parts, body: Body, mut outgoing: Outgoing) -> Outgoing {
    if !wire::discard(head, body).await {
        wire::close(&mut outgoing);
    }
    outgoing
}
