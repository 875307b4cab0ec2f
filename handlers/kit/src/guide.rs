//! What a handler usually needs, and what to call. There is nothing to run here: every block is a documentation test.
//! In a project, `cargo doc -p galo-kit --open` shows it with its links.
//!
//! # The crate
//!
//! A component has no std: `#![cfg_attr(all(target_family = "wasm", not(test)), no_std)]` in the first line of a
//! handler leaves it out. What allocates is in the crate `alloc` then, which is part of Rust and has to be named once:
//!
//! ```
//! extern crate alloc;
//!
//! use alloc::collections::BTreeMap;
//! use alloc::format;
//! use alloc::string::String;
//! use alloc::vec::Vec;
//! # let _: (BTreeMap<u8, u8>, String, Vec<u8>) = (BTreeMap::new(), format!(""), Vec::new());
//! ```
//!
//! `Option`, `Result`, `str` and the like need no `use`, and a handler that names none of these needs no `alloc`. A
//! type that derives `Serialize` or `Deserialize` needs `serde.workspace = true` in the `Cargo.toml` of the handler.
//!
//! # Reading a request
//!
//! Every part of a request is read into a type of the handler's own, by serde's derive. The error is always
//! [`Rejection`](crate::Rejection), which `?` turns into the response:
//!
//! ```
//! use galo_kit::{Date, Decimal, Handler, Plan, Request, Response, Rows, UnexpectedRows, Uuid, Value};
//! use serde::Deserialize;
//!
//! struct AddItem;
//!
//! #[derive(Deserialize)]
//! struct Item {
//!     name: String,
//!     price: Decimal,
//!     #[serde(default)]
//!     tags: Vec<String>,
//!     available: Option<Date>,
//! }
//!
//! impl Handler for AddItem {
//!     fn prepare(request: &Request) -> Plan {
//!         plan(request).into()
//!     }
//!
//!     fn respond(_carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
//!         let row = rows.first()?;
//!         Ok(Response::json(201, &row).with_location(&format!("/items/{}", row.uuid("id")?)))
//!     }
//! }
//!
//! fn plan(request: &Request) -> Result<Plan, Response> {
//!     let shop: Uuid = request.parameter_as("shop")?;
//!     let Item { name, price, tags, available } = request.json()?;
//!     let arguments = [shop.into(), name.into(), price.into(), Value::json(&tags), available.into()];
//!     Ok(Plan::call("add_item", arguments, ""))
//! }
//! # use galo_kit::test;
//! # let body = r#"{"name":"pen","price":0.10,"tags":["red"]}"#;
//! # let shop = "8e03978e-40d5-43dd-bc93-6894a57f9324";
//! # let call = test::call(AddItem::prepare(&test::post("/shops/x/items", &[("shop", shop)], body)));
//! # assert_eq!(call.arguments[2..], ["0.10".into(), Value::Json("[\"red\"]".into()), Value::Null]);
//! # let rows = test::rows(["id"], [[shop.into()]]);
//! # assert_eq!(AddItem::respond(b"", &rows)?.headers[1].value, format!("/items/{shop}"));
//! # Ok::<(), UnexpectedRows>(())
//! ```
//!
//! | part | call | refused with |
//! |---|---|---|
//! | JSON body | [`request.json()`](crate::Request::json) | 400, 422 |
//! | form body | [`request.form()`](crate::Request::form) | 422 |
//! | query string | [`request.query()`](crate::Request::query) | 400 |
//! | `limit` and `after` of a list | [`request.keyset()`](crate::Request::keyset) | 400 |
//! | parameter of the route | [`request.parameter_as()`](crate::Request::parameter_as) | 404 |
//! | parameter that is an id, a number | [`request.decimal()`](crate::Request::decimal) | |
//! | header | [`request.header_as()`](crate::Request::header_as) | 400 |
//! | cookie | [`request.cookie()`](crate::Request::cookie) | |
//! | bearer token that the handler checks | [`request.bearer()`](crate::Request::bearer) | 401 |
//! | claims of a token that the host verified | [`request.claims()`](crate::Request::claims) | 401 |
//! | `config` of the manifest | [`request.config()`](crate::Request::config) | 500, the reason is logged |
//! | time | [`request.now()`](crate::Request::now) | |
//! | idempotency key | [`request.key()`](crate::Request::key) | 400 |
//!
//! A `config` that does not fit is refused before it serves, if an example of the handler reads it: the example gets
//! the 500 instead of what it expects.
//!
//! A rule that serde does not know is a `Rejection` of the handler's own:
//!
//! ```
//! use galo_kit::{Part, Rejection};
//!
//! fn checked(quantity: u32) -> Result<u32, Rejection> {
//!     match quantity {
//!         1..=99 => Ok(quantity),
//!         _ => Err(Rejection::new(Part::Body, "quantity", "an integer from 1 to 99")),
//!     }
//! }
//! # assert_eq!(checked(0).unwrap_err().to_string(), "body, quantity: expected an integer from 1 to 99");
//! ```
//!
//! # Several routes
//!
//! A handler with `routes` in the manifest decides by `request.route`, which is the route as the manifest writes it.
//! `respond` sees no request: what it must know is carried to it, as bytes here, or as a value by
//! [`to_carry`](crate::to_carry) and [`from_carry`](crate::from_carry).
//!
//! ```
//! use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows};
//!
//! struct Items;
//!
//! impl Handler for Items {
//!     fn prepare(request: &Request) -> Plan {
//!         plan(request).into()
//!     }
//!
//!     fn respond(carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
//!         Ok(match carry {
//!             b"list" => Response::json(200, &rows.objects()),
//!             _ => match rows.iter().next() {
//!                 Some(row) => Response::json(200, &row),
//!                 None => Response::error(404, "no such item"),
//!             },
//!         })
//!     }
//! }
//!
//! fn plan(request: &Request) -> Result<Plan, Response> {
//!     match request.route.as_str() {
//!         "GET /items" => Ok(Plan::call("items", [], "list")),
//!         "GET /items/{id}" => Ok(Plan::call("item_by_id", [request.parameter_as::<i64>("id")?.into()], "one")),
//!         other => unreachable!("no code for {other}"),
//!     }
//! }
//! # use galo_kit::test;
//! # let call = |route, parameters: &[_]| test::call(Items::prepare(&test::get("/", parameters).with_route(route)));
//! # let list = call("GET /items", &[]);
//! # assert_eq!(test::text(&Items::respond(&list.carry, &test::rows(["id"], []))?), "[]");
//! # let one = call("GET /items/{id}", &[("id", "7")]);
//! # assert_eq!((one.procedure.as_str(), one.arguments), ("item_by_id", vec![7.into()]));
//! # assert_eq!(Items::respond(&one.carry, &test::rows(["id"], []))?.status, 404);
//! # Ok::<(), UnexpectedRows>(())
//! ```
//!
//! # Who may do it
//!
//! The host answers 401 to a token that it does not accept. What a good token permits is decided by the handler from
//! its claims, or by the procedure, which gets the subject as an argument:
//!
//! ```
//! use galo_kit::{Plan, Request, Response};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Claims {
//!     sub: String,
//!     #[serde(default)]
//!     scope: String,
//! }
//!
//! fn plan(request: &Request) -> Result<Plan, Response> {
//!     let Claims { sub, scope } = request.claims()?;
//!     if !scope.split(' ').any(|scope| scope == "items:write") {
//!         return Err(Response::error(403, "the token does not permit this"));
//!     }
//!     Ok(Plan::call("add_item", [sub.into()], ""))
//! }
//! # use galo_kit::test;
//! # let status = |claims| test::reply(plan(&test::post("/items", &[], "").with_claims(claims)).into()).status;
//! # assert_eq!(status(r#"{"sub":"u-7","scope":"items:read"}"#), 403);
//! # assert_eq!(test::reply(plan(&test::post("/items", &[], "")).into()).status, 401);
//! # let good = test::post("/items", &[], "").with_claims(r#"{"sub":"u-7","scope":"items:read items:write"}"#);
//! # assert_eq!(test::call(plan(&good).into()).arguments, ["u-7".into()]);
//! ```
//!
//! # Two readers of JSON
//!
//! `request.json()` is what a handler uses. [`json::object`](crate::json::object) reads the members of one flat object
//! without a type, copies nothing and leaves every error to the handler: for a route that is called thousands of times
//! a second, or whose texts are not English. A component with it is about 40 KB smaller.
//!
//! # Answering
//!
//! ```
//! use galo_kit::{Cookie, Level, Response};
//!
//! let created = Response::json(201, &"pen").with_location("/items/7").with_header("cache-control", "no-store");
//! let deleted = Response::empty(204);
//! let moved = Response::redirect(303, "/orders/7");
//! let signed_in = Response::redirect(303, "/").with_cookie(&Cookie::new("session", "k-123"));
//! let cached = Response::json(200, &"pen").unless_matched("\"v6\", \"v7\"");
//! let logged = Response::error(409, "sold out").log(Level::Warning, "an item is out of stock");
//! # let statuses = [created.status, deleted.status, moved.status, signed_in.status, cached.status];
//! # assert_eq!(statuses, [201, 204, 303, 303, 200]);
//! # assert_eq!(logged.log.len(), 1);
//! ```
//!
//! [`rows.objects()`](crate::Rows::objects) and a [`Row`](crate::Row) are JSON as they are, with json columns as JSON.
//! [`rows.page()`](crate::Rows::page) is one page of a list. A row is read by column: `row.integer("stock")`, `text`,
//! `uuid`, `date`, `decimal`, `timestamp`, `json_as` and so on. [`to_carry`](crate::to_carry) passes a value from
//! `prepare` to `respond`.
//!
//! # When the procedure raises an error
//!
//! The host answers by SQLSTATE, unless the handler does ([`Handler::failed`](crate::Handler::failed)). An error that
//! may pass, or after which it is not known what was recorded, is always answered by the host, with 503:
//!
//! ```
//! use galo_kit::{DatabaseError, Response};
//! use serde::Serialize;
//!
//! #[derive(Serialize)]
//! struct Refusal {
//!     error: &'static str,
//!     message: &'static str,
//! }
//!
//! fn refusal(status: u16, error: &'static str, message: &'static str) -> Response {
//!     Response::json(status, &Refusal { error, message })
//! }
//!
//! fn failed(_carry: &[u8], error: &DatabaseError) -> Option<Response> {
//!     match (error.sqlstate.as_str(), error.constraint()) {
//!         (_, Some("items_name_key")) => Some(refusal(409, "duplicate", "there is an item of this name")),
//!         // RAISE SQLSTATE 'SH001' in the procedure.
//!         ("SH001", _) => Some(refusal(409, "sold_out", "the item is out of stock")),
//!         // Everything else is left to the host.
//!         _ => None,
//!     }
//! }
//! # use galo_kit::test;
//! # let answer = |sqlstate, constraint| failed(b"", &test::error(sqlstate, constraint));
//! # assert_eq!(answer("23505", Some("items_name_key")).unwrap().status, 409);
//! # let body = r#"{"error":"sold_out","message":"the item is out of stock"}"#;
//! # test::assert_json(&answer("SH001", None).unwrap(), 409, body);
//! # assert!(answer("23505", None).is_none());
//! ```
//!
//! # Testing
//!
//! A test calls the two functions. [`test`](crate::test) makes what they are given:
//!
//! ```
//! use galo_kit::test;
//!
//! let request = test::post("/items", &[], r#"{"name":"pen"}"#)
//!     .with_query("dry=true")
//!     .with_header("authorization", "Bearer k-123")
//!     .with_config(&[("currency", "EUR")])
//!     .with_claims(r#"{"sub":"u-7"}"#)
//!     .at("2024-02-29T12:00:00Z");
//! let rows = test::rows(["id", "name"], [[7.into(), "pen".into()]]);
//! let error = test::error("23505", Some("items_name_key"));
//! # assert_eq!((request.bearer(), rows.iter().len(), error.sqlstate.as_str()), (Ok("k-123"), 1, "23505"));
//! ```
