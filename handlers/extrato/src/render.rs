//! The JSON of an extrato, made from the rows of the procedure `extrato`.
//!
//! It keeps their order, newest first, and their number: the procedure decides both.

extern crate alloc;

use alloc::vec::Vec;

use galo_kit::{Row, Rows, Timestamp, UnexpectedRows};
use serde::Serialize;

/// The whole answer.
#[derive(Serialize)]
pub struct Extrato<'a> {
    saldo: Saldo,
    ultimas_transacoes: Vec<Transacao<'a>>,
}

#[derive(Serialize)]
struct Saldo {
    total: i64,
    data_extrato: Timestamp,
    limite: i64,
}

#[derive(Serialize)]
struct Transacao<'a> {
    valor: i64,
    tipo: &'a str,
    descricao: &'a str,
    realizada_em: Timestamp,
}

/// None without rows: there is no such client.
pub fn extrato(rows: &Rows) -> Result<Option<Extrato<'_>>, UnexpectedRows> {
    let Some(first) = rows.iter().next() else { return Ok(None) };
    // The balance is repeated in every row; a client without transactions has one row with nothing else in it.
    let ultimas_transacoes =
        if first.is_null("valor")? { Vec::new() } else { rows.iter().map(transacao).collect::<Result<_, _>>()? };
    Ok(Some(Extrato { saldo: saldo(first)?, ultimas_transacoes }))
}

fn saldo(row: Row<'_>) -> Result<Saldo, UnexpectedRows> {
    Ok(Saldo {
        total: row.integer("saldo")?,
        data_extrato: row.timestamp("data_extrato")?,
        limite: row.integer("limite")?,
    })
}

fn transacao(row: Row<'_>) -> Result<Transacao<'_>, UnexpectedRows> {
    Ok(Transacao {
        valor: row.integer("valor")?,
        tipo: row.text("tipo")?,
        descricao: row.text("descricao")?,
        realizada_em: row.timestamp("realizada_em")?,
    })
}
