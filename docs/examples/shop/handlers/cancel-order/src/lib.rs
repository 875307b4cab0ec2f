//! `DELETE /orders/{id}`: cancels an order.
//!
//! The host has verified the token; what its scope permits is decided here.

#![cfg_attr(all(target_family = "wasm", not(test)), no_std)]

extern crate alloc;

use alloc::string::String;

use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows};
use serde::Deserialize;

/// The handler.
pub struct CancelOrder;

/// What it reads of the token. A token without a scope permits nothing.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    scope: String,
}

impl Handler for CancelOrder {
    fn prepare(request: &Request) -> Plan {
        plan(request).into()
    }

    fn respond(_carry: &[u8], _rows: &Rows) -> Result<Response, UnexpectedRows> {
        Ok(Response::empty(204))
    }
}

fn plan(request: &Request) -> Result<Plan, Response> {
    let claims: Claims = request.claims()?;
    if !claims.scope.split(' ').any(|scope| scope == "orders:cancel") {
        return Err(Response::error(403, "the token lacks the scope orders:cancel"));
    }
    let id = request.decimal("id").ok_or_else(|| Response::error(404, "no such order"))?;
    Ok(Plan::call("cancel_order", [id.into()], ""))
}

galo_kit::export!(CancelOrder);

#[cfg(test)]
mod tests;
