//! Which transactions are well formed, and the answer to each outcome.
//!
//! Limits, balances and used keys are checked by the procedure, not here.

extern crate alloc;

use alloc::borrow::Cow;

use galo_kit::json::{self, Malformed, Member};
use galo_kit::{Response, Row, UnexpectedRows};
use serde::Serialize;

/// 2^53 − 1: the greatest integer that every JSON reader, JavaScript's included, reads exactly.
const VALOR_MAX: i64 = (1 << 53) - 1;
/// In code points.
const DESCRICAO_CHARS_MAX: usize = 10;

/// A well-formed transaction.
#[derive(Debug, PartialEq)]
pub struct Transacao<'a> {
    /// In cents.
    pub valor: i64,
    /// "c" or "d".
    pub tipo: &'static str,
    /// As it was sent, spaces included.
    pub descricao: Cow<'a, str>,
}

/// Why a body is not a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    Body,
    Repeated,
    Valor,
    Tipo,
    Descricao,
}

impl Rejection {
    /// The text of the answer.
    pub fn text(self) -> &'static str {
        match self {
            Self::Body => "o corpo deve ser um objeto JSON",
            Self::Repeated => "cada campo deve aparecer uma só vez",
            Self::Valor => "valor deve ser um inteiro positivo de centavos",
            Self::Tipo => "tipo deve ser c ou d",
            Self::Descricao => "descricao deve ter de 1 a 10 caracteres",
        }
    }
}

impl From<Malformed> for Rejection {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::NotAnObject => Self::Body,
            Malformed::Repeated => Self::Repeated,
        }
    }
}

/// Reads a transaction.
pub fn transacao(body: &[u8]) -> Result<Transacao<'_>, Rejection> {
    let [valor, tipo, descricao] = json::object(body, ["valor", "tipo", "descricao"])?;
    Ok(Transacao { valor: cents(&valor)?, tipo: kind(&tipo)?, descricao: description(descricao)? })
}

fn cents(valor: &Member<'_>) -> Result<i64, Rejection> {
    match valor {
        Member::Integer(valor @ 1..=VALOR_MAX) => Ok(*valor),
        _ => Err(Rejection::Valor),
    }
}

fn kind(tipo: &Member<'_>) -> Result<&'static str, Rejection> {
    match tipo {
        Member::Text(tipo) if tipo == "c" => Ok("c"),
        Member::Text(tipo) if tipo == "d" => Ok("d"),
        _ => Err(Rejection::Tipo),
    }
}

fn description(descricao: Member<'_>) -> Result<Cow<'_, str>, Rejection> {
    let Member::Text(text) = descricao else { return Err(Rejection::Descricao) };
    // Postgres cannot store U+0000.
    let fits = (1..=DESCRICAO_CHARS_MAX).contains(&text.chars().count()) && !text.contains('\0');
    if fits { Ok(text) } else { Err(Rejection::Descricao) }
}

#[derive(Serialize)]
struct Balance {
    limite: i64,
    saldo: i64,
}

/// The answer to what `realizar_transacao` decided.
pub fn resultado(row: Row<'_>) -> Result<Response, UnexpectedRows> {
    match row.text("resultado")? {
        "ok" => Ok(Response::json(200, &Balance { limite: row.integer("limite")?, saldo: row.integer("saldo")? })),
        "limite_excedido" => Ok(Response::error(422, "a transação passaria do limite")),
        "saldo_fora_da_faixa" => Ok(Response::error(422, "o saldo sairia da faixa permitida")),
        "chave_reutilizada" => Ok(Response::error(422, "a chave de idempotência já foi usada em outra transação")),
        "cliente_inexistente" => Ok(cliente_inexistente()),
        other => Err(UnexpectedRows::Value { column: "resultado", found: other.into() }),
    }
}

/// The answer to a body that was rejected, once `cliente_existe` has returned whether the client exists.
pub fn rejeicao(text: &str, row: Row<'_>) -> Result<Response, UnexpectedRows> {
    Ok(if row.boolean("existe")? { Response::error(422, text) } else { cliente_inexistente() })
}

/// The answer when there is no such client.
pub fn cliente_inexistente() -> Response {
    Response::error(404, "cliente não encontrado")
}

/// The answer to a key that is not valid.
pub fn chave_malformada() -> Response {
    Response::error(400, "Idempotency-Key deve vir uma só vez, com 1 a 255 caracteres ASCII imprimíveis")
}
