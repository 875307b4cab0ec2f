//! The request of an example as a node would pass it to the handler. What a node fills in itself has a fixed value,
//! unless the example sets it: an example means the same on every machine, and shows no secret.

use std::sync::Arc;

use http::Method;

use super::json;
use crate::contract::{Field, Request};
use crate::manifest::{Claims, ConfigValue, Entry, Text};
use crate::route::{Route, Routes};

/// The id of an example's request.
const ID: &str = "example";

/// What stands for a secret of the manifest.
const SECRET: &str = "secret";

/// The request of an example.
///
/// # Errors
/// Why no node would pass it to this handler.
pub(super) fn request(example: &json::Request, entry: &Entry) -> Result<Request, String> {
    let (route, method, parameters) = found(example, entry)?;
    let request = example.to_contract(&method, parameters, &entry.headers)?;
    Ok(Request {
        route: route.to_string().into(),
        id: example.id.clone().unwrap_or_else(|| ID.to_owned()),
        now: example.now.map_or(0, |now| now.as_microsecond()),
        config: config(example, entry)?,
        claims: claims(example, entry)?,
        ..request
    })
}

/// The route that a node finds for the example. Its method is that of the route where it names none.
fn found<'a>(example: &json::Request, entry: &'a Entry) -> Result<(&'a Route, Method, Vec<Field>), String> {
    let path = example.path();
    let routes = Routes::new(entry.routes.iter().map(|route| (route.clone(), route)))
        .map_err(|_| "two routes of the handler match the same paths".to_owned())?;
    let named = match &example.route {
        None => None,
        Some(text) => {
            let named = entry.routes.iter().find(|route| route.to_string() == *text);
            Some(named.ok_or_else(|| format!("the handler has no route `{text}`: {}", entry.routes_shown()))?)
        }
    };
    let methods = match example.method()? {
        Some(method) => vec![method],
        None => {
            named.map_or_else(|| &entry.routes[..], std::slice::from_ref).iter().map(|r| r.method().clone()).collect()
        }
    };
    let found = methods.into_iter().find_map(|method| Some((routes.find(&method, path).ok()?, method)));
    let Some(((route, parameters), method)) = found else {
        return Err(format!("the request `{path}` is not for a route of the handler: {}", entry.routes_shown()));
    };
    match named.filter(|named| *named != *route) {
        Some(named) => Err(format!("the request `{method} {path}` is for the route `{route}`, not for `{named}`")),
        None => Ok((*route, method, parameters)),
    }
}

/// The values of the manifest, those of the example instead, and no secret.
fn config(example: &json::Request, entry: &Entry) -> Result<Arc<[Field]>, String> {
    if let Some(name) = example.config.keys().find(|name| !entry.config.iter().any(|value| value.name == **name)) {
        return Err(format!("`config`: the manifest has no `{name}`; add it to the handler's `config`"));
    }
    let fields = entry.config.iter().map(|ConfigValue { name, value }| {
        let value = match (example.config.get(name), value) {
            (Some(serde_json::Value::String(text)), _) => text.clone(),
            (Some(json), _) => json.to_string(),
            (None, Text::Plain(text)) => text.clone(),
            (None, Text::Secret(_)) => SECRET.to_owned(),
        };
        Field { name: name.clone(), value }
    });
    Ok(fields.collect())
}

fn claims(example: &json::Request, entry: &Entry) -> Result<Option<String>, String> {
    let text = |claims| serde_json::to_string(claims).map_err(|error| error.to_string());
    match (&example.claims, entry.claims) {
        (Some(_), Claims::Never) => {
            Err("`claims`: the handler gets none; add claims = \"required\" or \"optional\" to the manifest".to_owned())
        }
        (Some(claims), _) => text(claims).map(Some),
        (None, Claims::Required) => Ok(Some("{}".to_owned())),
        (None, _) => Ok(None),
    }
}
