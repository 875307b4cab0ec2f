//! Whether the services answer alike, before they are measured: the same requests in the same order, each service on a
//! new database of its own, spoken to without nginx, with the keys that nginx would give.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use galo_testing::http::Connection;

use crate::cluster::Cluster;
use crate::contender::Contender;
use crate::measure::Bench;
use crate::server::Server;

struct Asked {
    method: &'static str,
    path: String,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
}

/// An answer, its times masked.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    content_type: Option<String>,
    allow: Option<String>,
    body: String,
}

/// Asks each of the services, and compares what they answer with the first one's.
///
/// # Errors
/// The first request that two of them answer otherwise.
pub async fn check(bench: &Bench, cluster: &mut Cluster, services: &[Contender]) -> anyhow::Result<usize> {
    let requests = requests();
    let mut first: Option<(Contender, Vec<Answer>)> = None;
    for &contender in services {
        let answers = answers(bench, cluster, contender, &requests).await?;
        let Some((reference, expected)) = &first else {
            first = Some((contender, answers));
            continue;
        };
        for ((asked, answer), expected) in requests.iter().zip(&answers).zip(expected) {
            if answer != expected {
                let Asked { method, path, headers, body } = asked;
                let (own, its) = (contender.name(), reference.name());
                bail!(
                    "{method} {path} {headers:?} {}: {own} answers {answer:?}, {its} {expected:?}",
                    String::from_utf8_lossy(body)
                );
            }
        }
    }
    Ok(requests.len())
}

async fn answers(
    bench: &Bench,
    cluster: &mut Cluster,
    contender: Contender,
    requests: &[Asked],
) -> anyhow::Result<Vec<Answer>> {
    let folder = tempfile::tempdir_in(&bench.folder)?;
    let database = cluster.database_for(contender).await?;
    let url = database.service_url();
    let server = Server::start(contender, 1, folder.path(), bench.launch(&url)).await?;
    let mut answers = Vec::new();
    for asked in requests {
        let answer = ask(&server.socket, asked).await;
        answers.push(answer.with_context(|| format!("{}: {} {}", contender.name(), asked.method, asked.path))?);
    }
    server.stop().await?;
    let violations = database.owner().await?.query(&cluster.proof()?, &[]).await?;
    let name = contender.name();
    ensure!(violations.is_empty(), "{name} left a ledger that breaks {} of its invariants", violations.len());
    cluster.drop(database).await?;
    Ok(answers)
}

async fn ask(socket: &Path, asked: &Asked) -> anyhow::Result<Answer> {
    let mut connection = Connection::try_open(&format!("unix:{}", socket.display())).await?;
    let (method, body) = (asked.method.parse()?, asked.body.clone());
    let answer = connection.send_with(method, &asked.path, asked.headers, body).await?;
    let header = |name| answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (content_type, allow) = (header("content-type"), header("allow"));
    let body = masked(&String::from_utf8_lossy(&answer.body));
    Ok(Answer { status: answer.status.as_u16(), content_type, allow, body })
}

/// With a `0` for each digit of a moment, so that its form is compared and not its time.
fn masked(body: &str) -> String {
    let mut text = String::with_capacity(body.len());
    let mut inside = false;
    for part in body.split_inclusive('"') {
        let digits = inside && part.len() == 28 && part.ends_with("Z\"") && part.as_bytes()[10] == b'T';
        text.extend(part.chars().map(|c| if digits && c.is_ascii_digit() { '0' } else { c }));
        inside = !inside;
    }
    text
}

fn requests() -> Vec<Asked> {
    let post = |id: &str, headers: &'static [(&str, &str)], body: &[u8]| Asked {
        method: "POST",
        path: format!("/clientes/{id}/transacoes"),
        headers,
        body: body.to_vec(),
    };
    let get = |path: &str| Asked { method: "GET", path: path.to_owned(), headers: &[], body: Vec::new() };
    let mut all = vec![get("/clientes/1/extrato")];
    for body in [
        r#"{"valor": 1000, "tipo": "c", "descricao": "descricao1"}"#,
        r#"{"valor": 101000, "tipo": "d", "descricao": "çãoçãoçãoç"}"#,
        r#"{"valor": 1, "tipo": "d", "descricao": "limite"}"#,
        r#"{"descricao": "a \"b\" \u00e7", "extra": [1, {}], "tipo": "c", "valor": 7}"#,
        r#"{"valor": 9007199254740991, "tipo": "c", "descricao": "x"}"#,
        r#"{"valor": 9007199254740992, "tipo": "c", "descricao": "x"}"#,
        r#"{"valor": 1.0, "tipo": "c", "descricao": "x"}"#,
        r#"{"valor": "1", "tipo": "c", "descricao": "x"}"#,
        r#"{"valor": 0, "tipo": "c", "descricao": "x"}"#,
        r#"{"valor": 1, "tipo": "x", "descricao": "x"}"#,
        r#"{"valor": 1, "tipo": "c", "descricao": null}"#,
        r#"{"valor": 1, "tipo": "c", "descricao": ""}"#,
        r#"{"valor": 1, "tipo": "c", "descricao": "12345678901"}"#,
        r#"{"valor": 1, "tipo": "c", "descricao": "a\u0000"}"#,
        r#"{"valor": 1, "valor": 1, "tipo": "c", "descricao": "x"}"#,
        r#"{"tipo": "c", "descricao": "x"}"#,
        r#"[1, "c", "x"]"#,
        r#"{"valor": 1, "tipo": "c", "descricao": "x"} x"#,
        "{",
        "",
    ] {
        all.push(post("1", &[], body.as_bytes()));
    }
    all.push(post("1", &[], b"{\"valor\": 1, \"tipo\": \"c\", \"descricao\": \"\xff\"}"));
    let good = br#"{"valor": 5, "tipo": "c", "descricao": "chave"}"#;
    for _ in 0..2 {
        all.push(post("2", &[("galo-try", "1705458881.217-0f")], good));
        all.push(post("2", &[("idempotency-key", "k-1")], good));
        all.push(post("2", &[("idempotency-key", "\"k-1\"")], good));
    }
    let other = br#"{"valor": 6, "tipo": "c", "descricao": "chave"}"#;
    all.push(post("2", &[("idempotency-key", "k-1")], other));
    all.push(post("2", &[("idempotency-key", "")], other));
    for id in ["6", "abc", "1.0", "-1", "01", "99999999999999999999"] {
        all.push(post(id, &[], good));
        all.push(post(id, &[], b"{"));
        all.push(get(&format!("/clientes/{id}/extrato")));
    }
    // More than ten.
    for _ in 0..12 {
        all.push(post("3", &[], good));
    }
    for id in ["1", "2", "3", "4", "5"] {
        all.push(get(&format!("/clientes/{id}/extrato")));
    }
    all.push(get("/"));
    all.push(get("/clientes/1/transacoes"));
    all.push(Asked { method: "POST", ..get("/clientes/1/extrato") });
    all
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn times_are_masked_and_nothing_else() {
        let body = r#"{"saldo":{"total":-9098,"data_extrato":"2024-01-17T02:34:41.217753Z"},"descricao":"1234567890"}"#;
        let expected =
            r#"{"saldo":{"total":-9098,"data_extrato":"0000-00-00T00:00:00.000000Z"},"descricao":"1234567890"}"#;
        assert_eq!(masked(body), expected);
    }
}
