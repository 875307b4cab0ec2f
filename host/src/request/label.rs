//! The header that names the generation that answered, for a node that is configured to send it.

use std::sync::Arc;

use http::HeaderName;

use crate::node::Node;
use crate::registry::Generation;
use crate::wire::Outgoing;

/// Names the generation that answered, and its component.
const GALO_GENERATION: HeaderName = HeaderName::from_static("galo-generation");

/// Adds the header that names the generation that answered, if the node is configured to.
pub(super) fn marked(node: &Node, mut outgoing: Outgoing, by: Option<&Arc<Generation>>) -> Outgoing {
    if let Some(by) = by.filter(|_| node.generation_header) {
        outgoing.headers_mut().insert(GALO_GENERATION, by.label.clone());
    }
    outgoing
}
