//! A form for each route: what a request to it may look like, from the examples of its handler.

use http::Method;
use serde::Serialize;

use crate::admin::Admin;
use crate::example::{self, Filled};
use crate::manifest::Claims;
use crate::registry::Handler;

/// One route.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct RouteForm {
    pub(in crate::admin) handler: String,
    /// As the manifest writes it: `POST /orders/{id}`.
    pub(in crate::admin) route: String,
    pub(in crate::admin) method: String,
    /// The headers that its handler may see.
    pub(in crate::admin) headers: Vec<String>,
    /// The media type that a body must have.
    pub(in crate::admin) content_type: Option<String>,
    /// Whether a request needs a token.
    pub(in crate::admin) token: bool,
    /// Requests, each with the name of its example. The last one has no name: it follows from the route alone.
    pub(in crate::admin) requests: Vec<Filled>,
}

/// The first routes, in the order of the manifest. The examples of further ones are not read.
pub(in crate::admin) fn first(admin: &Admin, most: usize) -> Vec<RouteForm> {
    let Some(node) = admin.node.get() else { return Vec::new() };
    node.registry.table().handlers.iter().flat_map(|handler| of(handler)).take(most).collect()
}

fn of(handler: &Handler) -> Vec<RouteForm> {
    let entry = &handler.entry;
    // What cannot be read is reported where it is verified.
    let examples = example::read(entry).unwrap_or_default();
    let mut filled: Vec<_> = examples.iter().filter_map(|example| example.filled(entry)).collect();
    filled.sort_by_key(|filled| !filled.calls);
    let forms = entry.routes.iter().map(|route| {
        let text = route.to_string();
        let content_type = entry.content_type.as_ref().map(ToString::to_string);
        let has_body = !matches!(*route.method(), Method::GET | Method::HEAD | Method::DELETE);
        let typed = content_type.clone().filter(|_| has_body).map(|its| ("content-type".to_owned(), its));
        let mut requests: Vec<_> = filled.iter().filter(|filled| filled.route == text).cloned().collect();
        let path = route.example(route.method()).unwrap_or_default();
        requests.push(Filled { route: text.clone(), method: route.method().to_string(), path, ..Filled::default() });
        for request in &mut requests {
            let named = request.headers.iter().any(|(name, _)| name == "content-type");
            request.headers.extend(typed.clone().filter(|_| !named));
        }
        RouteForm {
            handler: entry.name.clone(),
            method: route.method().to_string(),
            headers: entry.headers.iter().map(ToString::to_string).collect(),
            content_type,
            token: entry.claims == Claims::Required,
            requests,
            route: text,
        }
    });
    forms.collect()
}
