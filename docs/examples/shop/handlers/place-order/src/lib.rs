//! `POST /orders`: places an order.
//!
//! It reads what an order is; whether there is enough in stock is decided in SQL.

#![cfg_attr(all(target_family = "wasm", not(test)), no_std)]

extern crate alloc;

use alloc::{format, string::String};

use galo_kit::{DatabaseError, Handler, Plan, Request, Response, Rows, UnexpectedRows};
use serde::Deserialize;

/// The handler.
pub struct PlaceOrder;

/// The body.
#[derive(Deserialize)]
struct Order {
    product: i64,
    quantity: u32,
    code: Option<String>,
}

/// `config` in galo.toml.
#[derive(Deserialize)]
struct Config {
    quantity_max: u32,
    bulk_code: String,
}

impl Handler for PlaceOrder {
    fn prepare(request: &Request) -> Plan {
        plan(request).into()
    }

    fn respond(_carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
        let order = rows.first()?;
        Ok(Response::json(201, &order).with_location(&format!("/orders/{}", order.integer("id")?)))
    }

    fn failed(_carry: &[u8], error: &DatabaseError) -> Option<Response> {
        error.violates("orders_key_key").then(|| Response::error(409, "another order has this key"))
    }
}

fn plan(request: &Request) -> Result<Plan, Response> {
    let key = request.key().map_err(|_| Response::error(400, "malformed Idempotency-Key"))?;
    let (order, config): (Order, Config) = (request.json()?, request.config()?);
    let most = if order.code == Some(config.bulk_code) { u32::MAX } else { config.quantity_max };
    let arguments = [order.product.into(), order.quantity.into(), most.into(), key.into()];
    Ok(Plan::call("place_order", arguments, ""))
}

galo_kit::export!(PlaceOrder);

#[cfg(test)]
mod tests;
