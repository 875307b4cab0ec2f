//! `POST /orders`: places an order.
//!
//! It decides whether the request is an order; whether there is enough in stock is decided in SQL.

#![cfg_attr(all(target_family = "wasm", not(test)), no_std)]

use galo_kit::json::{self, Member};
use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows};

/// The handler.
pub struct PlaceOrder;

impl Handler for PlaceOrder {
    fn prepare(request: &Request) -> Plan {
        let Ok(key) = request.key() else {
            return Response::error(400, "malformed Idempotency-Key").into();
        };
        match json::object(&request.body, ["product", "quantity"]) {
            Ok([Member::Integer(product), Member::Integer(quantity @ 1..=100)]) => {
                let arguments = [product.into(), quantity.into(), key.into()];
                Plan::call("place_order", arguments, "")
            }
            _ => Response::error(422, "an order has a product and a quantity of 1 to 100").into(),
        }
    }

    fn respond(_carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
        Ok(Response::json(201, &rows.first()?))
    }
}

galo_kit::export!(PlaceOrder);

#[cfg(test)]
mod tests;
