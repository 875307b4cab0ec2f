//! The same contract without Galo, as a Rust service is usually written: hyper, deadpool-postgres, serde_json, one
//! file. It calls the same procedures with the same keys, so that the database does equal work.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::{NoTls, Row};

use super::{Incoming, Outgoing, json, listen};

const POOL_CONNECTIONS: usize = 8;
const POOL_TIMEOUT: Duration = Duration::from_millis(800);
const BODY_BYTES_MAX: usize = 8 << 10;
const VALOR_MAX: i64 = (1 << 53) - 1;

const REALIZAR_TRANSACAO: &str = "SELECT resultado, limite, saldo FROM public.realizar_transacao($1, $2, $3, $4, $5)";
const EXTRATO: &str = "SELECT * FROM public.extrato($1)";
const CLIENTE_EXISTE: &str = "SELECT existe FROM public.cliente_existe($1)";

/// Serves until it is dropped; the pool is full before it listens.
pub async fn serve(socket: &Path, database_url: &str) -> anyhow::Result<()> {
    let config: tokio_postgres::Config = database_url.parse().context("the database's URL is malformed")?;
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let pool = Pool::builder(Manager::from_config(config, NoTls, manager))
        .max_size(POOL_CONNECTIONS)
        .wait_timeout(Some(POOL_TIMEOUT))
        .create_timeout(Some(POOL_TIMEOUT))
        .recycle_timeout(Some(POOL_TIMEOUT))
        .runtime(Runtime::Tokio1)
        .build()?;
    warm(&pool).await?;
    let pool = Arc::new(pool);
    listen(socket, move |incoming| {
        let pool = Arc::clone(&pool);
        async move { route(&pool, incoming).await.unwrap_or_else(Error::answer) }
    })
    .await
}

async fn warm(pool: &Pool) -> anyhow::Result<()> {
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..POOL_CONNECTIONS {
        let client = pool.get().await?;
        for sql in [REALIZAR_TRANSACAO, EXTRATO, CLIENTE_EXISTE] {
            client.prepare_cached(sql).await?;
        }
        clients.push(client);
    }
    Ok(())
}

/// Why the answer is not 200.
enum Error {
    Refused(StatusCode, &'static str),
    /// What Galo refuses itself, not a handler: a code and a text.
    Failed(StatusCode, &'static str, &'static str),
    MethodNotAllowed(&'static str),
    Database,
}

impl Error {
    fn answer(self) -> Outgoing {
        let (status, code, text) = match self {
            Self::Refused(status, text) => return json(status, format!("{{\"error\":\"{text}\"}}")),
            Self::Failed(status, code, text) => (status, code, text),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "método não permitido"),
            Self::Database => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "serviço indisponível"),
        };
        let mut outgoing = json(status, format!("{{\"error\":\"{code}\",\"message\":\"{text}\"}}"));
        let (header, value) = match self {
            Self::MethodNotAllowed(allow) => (http::header::ALLOW, allow),
            Self::Database => (http::header::RETRY_AFTER, "1"),
            Self::Refused(..) | Self::Failed(..) => return outgoing,
        };
        outgoing.headers_mut().insert(header, http::HeaderValue::from_static(value));
        outgoing
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(_: tokio_postgres::Error) -> Self {
        Self::Database
    }
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(_: deadpool_postgres::PoolError) -> Self {
        Self::Database
    }
}

const NOT_FOUND: Error = Error::Refused(StatusCode::NOT_FOUND, "cliente não encontrado");

fn unprocessable(text: &'static str) -> Error {
    Error::Refused(StatusCode::UNPROCESSABLE_ENTITY, text)
}

async fn route(pool: &Pool, incoming: Incoming) -> Result<Outgoing, Error> {
    let path = incoming.uri().path();
    let found = path.strip_prefix("/clientes/").and_then(|rest| rest.split_once('/'));
    let Some((id, resource @ ("transacoes" | "extrato"))) = found else {
        return Err(Error::Failed(StatusCode::NOT_FOUND, "not_found", "caminho desconhecido"));
    };
    let cliente = decimal(id);
    match (incoming.method(), resource) {
        (&Method::GET, "extrato") => extrato(pool, cliente.ok_or(NOT_FOUND)?).await,
        (&Method::POST, "transacoes") => {
            let cliente = cliente.ok_or(NOT_FOUND);
            let (head, body) = incoming.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
            let body = body
                .map_err(|_| Error::Failed(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "corpo grande demais"))?;
            transacao(pool, cliente?, &head.headers, &body.to_bytes()).await
        }
        (_, "extrato") => Err(Error::MethodNotAllowed("GET, HEAD, OPTIONS")),
        _ => Err(Error::MethodNotAllowed("POST, OPTIONS")),
    }
}

fn decimal(text: &str) -> Option<i32> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|_| plain)
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    valor: Value,
    #[serde(default)]
    tipo: Value,
    #[serde(default)]
    descricao: Value,
}

struct Transacao {
    valor: i64,
    tipo: &'static str,
    descricao: String,
}

fn parse(body: &[u8]) -> Result<Transacao, &'static str> {
    // serde would take an array for a struct, too.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err("o corpo deve ser um objeto JSON");
    }
    let body: Body =
        serde_json::from_slice(body).map_err(|error| match error.to_string().contains("duplicate field") {
            true => "cada campo deve aparecer uma só vez",
            false => "o corpo deve ser um objeto JSON",
        })?;
    let valor = body.valor.as_i64().filter(|valor| (1..=VALOR_MAX).contains(valor));
    let valor = valor.ok_or("valor deve ser um inteiro positivo de centavos")?;
    let tipo = match body.tipo.as_str() {
        Some("c") => "c",
        Some("d") => "d",
        _ => return Err("tipo deve ser c ou d"),
    };
    match body.descricao {
        Value::String(text) if (1..=10).contains(&text.chars().count()) && !text.contains('\0') => {
            Ok(Transacao { valor, tipo, descricao: text })
        }
        _ => Err("descricao deve ter de 1 a 10 caracteres"),
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let malformed = || {
        let text = "Idempotency-Key deve vir uma só vez, com 1 a 255 caracteres ASCII imprimíveis";
        Error::Refused(StatusCode::BAD_REQUEST, text)
    };
    let mut keys = headers.get_all("idempotency-key").iter();
    if let Some(key) = keys.next() {
        let key = key.to_str().map_err(|_| malformed())?;
        let key = key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(key);
        let fits =
            (1..=255).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b' '..=b'~' if byte != b'"'));
        return if fits && keys.next().is_none() { Ok(Some(format!("c:{key}"))) } else { Err(malformed()) };
    }
    let id = headers.get("galo-try").and_then(|id| id.to_str().ok());
    let fits = |id: &&str| (1..=255).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    Ok(id.filter(fits).map(|id| format!("t:{id}")))
}

#[derive(Serialize)]
struct Balance {
    limite: i64,
    saldo: i64,
}

async fn transacao(pool: &Pool, cliente: i32, headers: &HeaderMap, body: &Bytes) -> Result<Outgoing, Error> {
    let key = key(headers)?;
    let transacao = parse(body);
    let client = pool.get().await?;
    let Transacao { valor, tipo, descricao } = match transacao {
        Ok(transacao) => transacao,
        Err(text) => {
            let row = client.query_one(&client.prepare_cached(CLIENTE_EXISTE).await?, &[&cliente]).await?;
            return Err(if row.get(0) { unprocessable(text) } else { NOT_FOUND });
        }
    };
    let statement = client.prepare_cached(REALIZAR_TRANSACAO).await?;
    let row = client.query_one(&statement, &[&cliente, &valor, &tipo, &descricao, &key]).await?;
    match row.get(0) {
        "ok" => Ok(written(&Balance { limite: row.get(1), saldo: row.get(2) })),
        "limite_excedido" => Err(unprocessable("a transação passaria do limite")),
        "saldo_fora_da_faixa" => Err(unprocessable("o saldo sairia da faixa permitida")),
        "chave_reutilizada" => Err(unprocessable("a chave de idempotência já foi usada em outra transação")),
        _ => Err(NOT_FOUND),
    }
}

#[derive(Serialize)]
struct Extrato<'a> {
    saldo: Saldo,
    ultimas_transacoes: Vec<Ultima<'a>>,
}

#[derive(Serialize)]
struct Saldo {
    total: i64,
    data_extrato: String,
    limite: i64,
}

#[derive(Serialize)]
struct Ultima<'a> {
    valor: i64,
    tipo: &'a str,
    descricao: &'a str,
    realizada_em: String,
}

async fn extrato(pool: &Pool, cliente: i32) -> Result<Outgoing, Error> {
    let client = pool.get().await?;
    let rows = client.query(&client.prepare_cached(EXTRATO).await?, &[&cliente]).await?;
    let first = rows.first().ok_or(NOT_FOUND)?;
    let saldo = Saldo { total: first.get(0), limite: first.get(1), data_extrato: moment(first, 2)? };
    let transacoes = rows.iter().filter(|row| row.get::<_, Option<i64>>(3).is_some());
    let transacao = |row| -> Result<Ultima<'_>, Error> {
        let row: &Row = row;
        Ok(Ultima { valor: row.get(3), tipo: row.get(4), descricao: row.get(5), realizada_em: moment(row, 6)? })
    };
    let ultimas_transacoes = transacoes.map(transacao).collect::<Result<_, _>>()?;
    Ok(written(&Extrato { saldo, ultimas_transacoes }))
}

fn moment(row: &Row, column: usize) -> Result<String, Error> {
    let moment = jiff::Timestamp::try_from(row.get::<_, SystemTime>(column)).map_err(|_| Error::Database)?;
    Ok(format!("{moment:.6}"))
}

fn written(body: &impl Serialize) -> Outgoing {
    match serde_json::to_vec(body) {
        Ok(body) => json(StatusCode::OK, body),
        Err(_) => Error::Database.answer(),
    }
}
