//! What nothing behind nginx can pass: an upstream that reads a request and answers at once, with as many bytes as a
//! node would.

use std::path::Path;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;

use super::{Outgoing, json, listen};

const BALANCE: &str = r#"{"limite":100000,"saldo":-9098}"#;
const HEAD: &str =
    r#"{"saldo":{"total":-9098,"data_extrato":"2024-01-17T02:34:41.217753Z","limite":100000},"ultimas_transacoes":["#;
const TRANSACAO: &str =
    r#"{"valor":5000,"tipo":"c","descricao":"descricao1","realizada_em":"2024-01-17T02:34:38.543030Z"}"#;

/// Serves until it is dropped.
pub async fn serve(socket: &Path) -> anyhow::Result<()> {
    let extrato = Bytes::from(format!("{HEAD}{}]}}", [TRANSACAO; 10].join(",")));
    listen(socket, move |incoming| answer(incoming, extrato.clone())).await
}

async fn answer(incoming: super::Incoming, extrato: Bytes) -> Outgoing {
    if incoming.method() == Method::GET {
        return json(StatusCode::OK, extrato);
    }
    match incoming.into_body().collect().await {
        Ok(_) => json(StatusCode::OK, BALANCE),
        Err(_) => json(StatusCode::BAD_REQUEST, "{}"),
    }
}
