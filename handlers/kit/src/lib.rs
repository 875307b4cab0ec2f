//! The library for authors of Galo handlers: the types of the contract, a strict reader of JSON bodies, rows by column
//! name, responses, and the macro that turns two functions into a component.
//!
//! It does no input or output and knows nothing of any application. A handler that uses only this crate imports no
//! function.
//!
//! A whole handler:
//!
//! ```
//! #![cfg_attr(all(target_family = "wasm", not(test)), no_std)]
//!
//! use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows};
//! use serde::Serialize;
//!
//! struct Stock;
//!
//! #[derive(Serialize)]
//! struct Body {
//!     stock: i64,
//! }
//!
//! impl Handler for Stock {
//!     fn prepare(request: &Request) -> Plan {
//!         match request.decimal("id") {
//!             Some(id) => Plan::call("stock", [id.into()], ""),
//!             None => Response::error(404, "item not found").into(),
//!         }
//!     }
//!
//!     fn respond(_carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
//!         let stock = rows.first()?.integer("stock")?;
//!         Ok(Response::json(200, &Body { stock }))
//!     }
//! }
//!
//! galo_kit::export!(Stock);
//! ```

#![no_std]

#[doc(hidden)]
pub extern crate alloc;

#[doc(hidden)]
pub mod arena;
#[doc(hidden)]
#[rustfmt::skip]
pub mod bindings;
mod bearer;
mod carry;
mod cookie;
mod date;
mod decimal;
mod decode;
mod error;
mod etag;
mod export;
pub mod guide;
pub mod json;
mod key;
mod page;
#[doc(hidden)]
pub mod panic;
mod plan;
mod rejection;
mod request;
mod response;
mod rows;
pub mod test;
mod timestamp;
mod typed;

pub use bindings::galo::handler::types::{
    Call, DatabaseError, Field, Level, Line, Outcome, Plan, Request, Response, Rows, Value,
};
pub use carry::{from_carry, to_carry};
pub use cookie::{Cookie, SameSite};
pub use date::{Date, NotADate};
pub use decimal::{Decimal, NotADecimal};
pub use key::MalformedKey;
pub use page::{Keyset, Page};
pub use rejection::{Part, Rejection};
pub use rows::{Row, UnexpectedRows};
pub use serde_json::value::RawValue;
pub use timestamp::{NotATimestamp, Timestamp};
pub use uuid::Uuid;

/// A handler: two pure functions.
///
/// Each runs on a fresh instance: nothing is remembered from one to the other except `carry`.
pub trait Handler {
    /// Validates a request and decides: reply at once, or make one call of one stored procedure.
    fn prepare(request: &Request) -> Plan;

    /// Builds the response from what the procedure returned.
    ///
    /// # Errors
    /// When the rows are not those that the handler expects. The component panics with the error, and the host answers
    /// 500.
    fn respond(carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows>;

    /// Answers an error that the procedure raised. Nothing of the call is recorded.
    ///
    /// `None`, the default, leaves it to the host, which answers by SQLSTATE: 22xxx is 400, 42501 is 403, 23503,
    /// 23505 and 23P01 are 409, 23502 and 23514 are 422, `PT404` is 404, any other is 500.
    ///
    /// An error that may pass, such as a deadlock, or that leaves open whether something was recorded, such as a lost
    /// connection, does not come here: the host answers it with 503.
    ///
    /// ```
    /// use galo_kit::{DatabaseError, Response, test};
    ///
    /// fn failed(_carry: &[u8], error: &DatabaseError) -> Option<Response> {
    ///     match error.sqlstate.as_str() {
    ///         // RAISE SQLSTATE 'SH001' in the procedure.
    ///         "SH001" => Some(Response::error(409, "sold out")),
    ///         _ => None,
    ///     }
    /// }
    ///
    /// test::assert_error(&failed(b"", &test::error("SH001", None)).unwrap(), 409, "sold out");
    /// assert!(failed(b"", &test::error("23505", Some("items_name_key"))).is_none());
    /// ```
    fn failed(carry: &[u8], error: &DatabaseError) -> Option<Response> {
        let _ = (carry, error);
        None
    }
}

/// What the component's `respond` does; called by what `export!` emits.
#[doc(hidden)]
pub fn answered<H: Handler>(carry: &[u8], outcome: &Outcome) -> Option<Response> {
    match outcome {
        Outcome::Rows(rows) => match H::respond(carry, rows) {
            Ok(response) => Some(response),
            Err(unexpected) => panic::refuse(unexpected),
        },
        Outcome::Error(error) => H::failed(carry, error),
    }
}
