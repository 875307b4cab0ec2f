//! `GET /greetings/{id}`: a greeting, as the procedure `greeting` returns it.

#![cfg_attr(all(target_family = "wasm", not(test)), no_std)]

use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows};

/// The handler.
pub struct Greeting;

impl Handler for Greeting {
    fn prepare(request: &Request) -> Plan {
        // The range of an `integer` parameter; any other number has no greeting.
        match request.decimal("id").and_then(|id| i32::try_from(id).ok()) {
            Some(id) => Plan::call("greeting", [id.into()], ""),
            None => not_found().into(),
        }
    }

    fn respond(_carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
        Ok(rows.iter().next().map_or_else(not_found, |row| Response::json(200, &row)))
    }
}

fn not_found() -> Response {
    Response::error(404, "no such greeting")
}

galo_kit::export!(Greeting);

#[cfg(test)]
mod tests;
