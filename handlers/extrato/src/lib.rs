//! `GET /clientes/{id}/extrato`: the balance and the last transactions of a client.
//!
//! It shows what the procedure returned; it computes nothing.

#![cfg_attr(all(target_family = "wasm", not(test)), no_std)]

mod render;

use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows};

/// The handler.
pub struct Extrato;

impl Handler for Extrato {
    fn prepare(request: &Request) -> Plan {
        // The procedure takes an integer: no client can have a greater number.
        match request.decimal("id").and_then(|id| i32::try_from(id).ok()) {
            Some(cliente_id) => Plan::call("extrato", [cliente_id.into()], ""),
            None => cliente_inexistente().into(),
        }
    }

    fn respond(_carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
        Ok(match render::extrato(rows)? {
            Some(extrato) => Response::json(200, &extrato),
            None => cliente_inexistente(),
        })
    }
}

fn cliente_inexistente() -> Response {
    Response::error(404, "cliente não encontrado")
}

galo_kit::export!(Extrato);

#[cfg(test)]
mod tests;
