//! `GET /products`: the first row of `products`, as JSON.
//!
//! It reads nothing from the request; the procedure decides the answer.

#![cfg_attr(all(target_family = "wasm", not(test)), no_std)]

use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows};

/// The handler.
pub struct Products;

impl Handler for Products {
    fn prepare(_request: &Request) -> Plan {
        Plan::call("products", [], "")
    }

    fn respond(_carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
        Ok(Response::json(200, &rows.objects()))
    }
}

galo_kit::export!(Products);

#[cfg(test)]
mod tests;
