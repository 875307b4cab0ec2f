//! `POST /clientes/{id}/transacoes`: one credit or debit.
//!
//! It decides whether the request is well formed; whether the balance allows it is decided in SQL only.

#![cfg_attr(all(target_family = "wasm", not(test)), no_std)]

mod rules;

use galo_kit::{Handler, Plan, Request, Response, Rows, UnexpectedRows};

/// The handler.
pub struct Transacoes;

impl Handler for Transacoes {
    fn prepare(request: &Request) -> Plan {
        // The procedures take an integer: no client can have a greater number.
        let Some(cliente_id) = request.decimal("id").and_then(|id| i32::try_from(id).ok()) else {
            return rules::cliente_inexistente().into();
        };
        // A malformed key is refused whatever the body is: the client relies on it.
        let Ok(chave) = request.key() else {
            return rules::chave_malformada().into();
        };
        match rules::transacao(&request.body) {
            Ok(transacao) => Plan::call(
                "realizar_transacao",
                [
                    cliente_id.into(),
                    transacao.valor.into(),
                    transacao.tipo.into(),
                    transacao.descricao.into_owned().into(),
                    chave.into(),
                ],
                "",
            ),
            // A bad body for a client that does not exist is a 404, and only the database knows the clients.
            Err(rejection) => Plan::call("cliente_existe", [cliente_id.into()], rejection.text()),
        }
    }

    fn respond(carry: &[u8], rows: &Rows) -> Result<Response, UnexpectedRows> {
        let row = rows.first()?;
        match str::from_utf8(carry) {
            Ok("") | Err(_) => rules::resultado(row),
            Ok(rejection) => rules::rejeicao(rejection, row),
        }
    }
}

galo_kit::export!(Transacoes);

#[cfg(test)]
mod tests;
