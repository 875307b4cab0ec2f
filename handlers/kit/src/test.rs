//! For the tests of a handler: requests and rows in one line, and assertions that show the actual value.
//!
//! It is not part of a component: a handler calls nothing here, so the linker drops it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::{Call, Field, Plan, Request, Response, Rows, Value};

/// A GET of this path with these parameters of the route.
pub fn get(path: &str, parameters: &[(&str, &str)]) -> Request {
    request("GET", path, parameters, "")
}

/// A POST of this body.
pub fn post(path: &str, parameters: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Request {
    request("POST", path, parameters, body)
}

/// A request without query and headers.
pub fn request(method: &str, path: &str, parameters: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Request {
    Request {
        method: method.to_string(),
        path: path.to_string(),
        parameters: fields(parameters),
        query: None,
        headers: Vec::new(),
        body: body.into(),
        route: String::new(),
        id: String::new(),
        now: 0,
        config: Vec::new(),
        claims: None,
    }
}

/// Names and values.
pub fn fields(pairs: &[(&str, &str)]) -> Vec<Field> {
    pairs.iter().map(|(name, value)| Field { name: name.to_string(), value: value.to_string() }).collect()
}

/// The rows that a procedure returned: the names of the columns, then row after row.
pub fn rows<const COLUMNS: usize>(columns: [&str; COLUMNS], rows: impl IntoIterator<Item = [Value; COLUMNS]>) -> Rows {
    Rows {
        columns: columns.iter().map(|name| name.to_string()).collect(),
        values: rows.into_iter().flatten().collect(),
    }
}

/// The response that `prepare` decided to send at once.
#[track_caller]
pub fn reply(plan: Plan) -> Response {
    match plan {
        Plan::Reply(response) => response,
        Plan::Call(call) => panic!("expected a reply, got {call:?}"),
    }
}

/// The call that `prepare` planned.
#[track_caller]
pub fn call(plan: Plan) -> Call {
    match plan {
        Plan::Call(call) => call,
        Plan::Reply(response) => panic!("expected a call, got {} {}", response.status, text(&response)),
    }
}

/// The body as text.
#[track_caller]
pub fn text(response: &Response) -> &str {
    match str::from_utf8(&response.body) {
        Ok(text) => text,
        Err(error) => panic!("the body is not UTF-8: {error}"),
    }
}

/// Asserts that a response is JSON with this status and exactly this text.
#[track_caller]
pub fn assert_json(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status, text(response)), (status, body));
    assert_eq!(response.headers, fields(&[("content-type", "application/json")]));
}

/// Asserts that a response is the error reply with this status and text.
#[track_caller]
pub fn assert_error(response: &Response, status: u16, error: &str) {
    let expected = Response::error(status, error);
    assert_json(response, status, text(&expected));
}
