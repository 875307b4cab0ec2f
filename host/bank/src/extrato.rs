//! An extrato, as a client reads it.

use serde::Deserialize;

/// An extrato as it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Extrato {
    /// The balance.
    pub saldo: Saldo,
    /// Newest first, ten at most.
    pub ultimas_transacoes: Vec<Ultima>,
}

/// The balance in an extrato.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Saldo {
    /// In cents.
    pub total: i64,
    /// In cents, not negative.
    pub limite: i64,
}

/// A transaction in an extrato.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ultima {
    /// In cents.
    pub valor: i64,
    /// "c" or "d".
    pub tipo: String,
    /// As it was sent.
    pub descricao: String,
    /// RFC 3339 with microseconds, in UTC.
    pub realizada_em: String,
}
