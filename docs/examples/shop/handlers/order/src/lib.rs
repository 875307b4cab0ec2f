//! `GET /orders/{id}`: the first row of `order_by_id`, as JSON.
//!
//! A path parameter that is not an integer is answered with 404; everything else the procedure decides.

#![cfg_attr(all(target_family = "wasm", not(test)), no_std)]

use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows, Value};

/// The handler.
pub struct Order;

impl Handler for Order {
    fn prepare(request: &Request) -> Plan {
        match arguments(request) {
            Some(arguments) => Plan::call("order_by_id", arguments, ""),
            None => not_found().into(),
        }
    }

    fn respond(_carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
        Ok(rows.iter().next().map_or_else(not_found, |row| Response::json(200, &row)))
    }
}

/// The arguments of the procedure, in its order.
fn arguments(request: &Request) -> Option<[Value; 1]> {
    // The range of an `integer`. For a `bigint` parameter, pass the decimal itself.
    let integer = |name| i32::try_from(request.decimal(name)?).ok();
    Some([integer("id")?.into()])
}

fn not_found() -> Response {
    Response::error(404, "not found")
}

galo_kit::export!(Order);

#[cfg(test)]
mod tests;
