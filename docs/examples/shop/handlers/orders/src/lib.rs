//! `GET /orders`, a page of the orders, and `GET /orders/{id}`, one of them.

#![cfg_attr(all(target_family = "wasm", not(test)), no_std)]

use galo_kit::{
    Handler, Keyset, Plan, Request, Response, Rows, UnexpectedRows, from_carry, to_carry,
};

/// The handler.
pub struct Orders;

impl Handler for Orders {
    fn prepare(request: &Request) -> Plan {
        plan(request).into()
    }

    fn respond(carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
        Ok(match from_carry::<Option<u32>>(carry) {
            Some(limit) => Response::json(200, &rows.page(limit, |row| row.integer("id"))?),
            None => rows.iter().next().map_or_else(not_found, |order| Response::json(200, &order)),
        })
    }
}

/// The carry is the limit of a page; there is none for one order.
fn plan(request: &Request) -> Result<Plan, Response> {
    match request.route.as_str() {
        "GET /orders" => {
            let page: Keyset<i64> = request.keyset(20, 100)?;
            let arguments = [page.after.into(), page.fetch().into()];
            Ok(Plan::call("orders_page", arguments, to_carry(&Some(page.limit))))
        }
        _ => {
            let id = request.decimal("id").ok_or_else(not_found)?;
            Ok(Plan::call("order_by_id", [id.into()], to_carry(&None::<u32>)))
        }
    }
}

fn not_found() -> Response {
    Response::error(404, "no such order")
}

galo_kit::export!(Orders);

#[cfg(test)]
mod tests;
