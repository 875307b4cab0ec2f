//! For the tests of a handler: requests, rows and errors in one line, and assertions that show the actual value.
//!
//! It is not part of a component: a handler calls nothing here, so the linker drops it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::{Call, DatabaseError, Field, Plan, Request, Response, Rows, Timestamp, Value};

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

impl Request {
    /// The same request with this query string.
    pub fn with_query(mut self, query: &str) -> Self {
        self.query = Some(query.to_string());
        self
    }

    /// The same request with this header, whose name is lower case, added.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.extend(fields(&[(name, value)]));
        self
    }

    /// The same request with this config of the manifest: texts as they are, everything else as JSON.
    pub fn with_config(mut self, config: &[(&str, &str)]) -> Self {
        self.config = fields(config);
        self
    }

    /// The same request with a verified token of these claims, a JSON object.
    pub fn with_claims(mut self, claims: &str) -> Self {
        self.claims = Some(claims.to_string());
        self
    }

    /// The same request by this route of the manifest, `GET /orders/{id}`.
    pub fn with_route(mut self, route: &str) -> Self {
        self.route = route.to_string();
        self
    }

    /// The same request, admitted at this moment of RFC 3339.
    #[track_caller]
    pub fn at(mut self, now: &str) -> Self {
        match now.parse::<Timestamp>() {
            Ok(now) => self.now = now.micros(),
            Err(error) => panic!("{now}: {error}"),
        }
        self
    }
}

/// An error that a procedure raised: `23505` with the constraint `items_name_key`, `P0001` with none.
///
/// ```
/// use galo_kit::{DatabaseError, Handler, Plan, Request, Response, Rows, UnexpectedRows, test};
///
/// struct SignUp;
///
/// impl Handler for SignUp {
///     fn prepare(_request: &Request) -> Plan {
///         Plan::call("sign_up", [], "")
///     }
///
///     fn respond(_carry: &[u8], _rows: &Rows) -> Result<Response, UnexpectedRows> {
///         Ok(Response::empty(204))
///     }
///
///     fn failed(_carry: &[u8], error: &DatabaseError) -> Option<Response> {
///         error.violates("users_name_key").then(|| Response::error(409, "this name is taken"))
///     }
/// }
///
/// let response = SignUp::failed(b"", &test::error("23505", Some("users_name_key"))).unwrap();
/// test::assert_error(&response, 409, "this name is taken");
/// assert!(SignUp::failed(b"", &test::error("P0001", None)).is_none());
/// ```
pub fn error(sqlstate: &str, constraint: Option<&str>) -> DatabaseError {
    DatabaseError {
        sqlstate: sqlstate.to_string(),
        message: "an error of a test".to_string(),
        detail: None,
        constraint: constraint.map(str::to_string),
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
