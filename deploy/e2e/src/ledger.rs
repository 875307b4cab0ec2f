//! What the database holds: the ledger of each cliente in the order of its seq, and what `sql/check/ledger.sql` says of
//! it. Read with rights on the tables, which the service itself does not have. Called by `main` and the fault tests.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, IsolationLevel, NoTls, SimpleQueryMessage};

/// The proof of the ledger that belongs to the schema.
const CHECK: &str = include_str!("../../../sql/check/ledger.sql");

/// A stack is quiet when nothing was recorded for so long: longer than any pause between two statements of a node that
/// is not itself waiting. A row that comes later still belongs to a request that is unknown, or is found missing.
const QUIET: Duration = Duration::from_millis(500);

/// How long it may take to become quiet: a node waits 3 s for an outcome, nginx tries two of them.
const QUIET_MAX: Duration = Duration::from_secs(20);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The whole ledger, of one moment.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By id.
    pub clientes: BTreeMap<i32, Cliente>,
    /// What the check says, a line each.
    pub violations: Vec<String>,
}

/// A cliente and its ledger.
#[derive(Clone, Debug, Default)]
pub struct Cliente {
    /// In cents, not negative.
    pub limite: i64,
    /// In the order of seq.
    pub rows: Vec<Row>,
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Counted from 1 in each cliente.
    pub seq: i64,
    /// In cents.
    pub valor: i64,
    /// "c" or "d".
    pub tipo: String,
    /// As it was sent.
    pub descricao: String,
    /// As an extrato shows it.
    pub realizada_em: String,
    /// The same, in microseconds since 1970.
    pub realizada_micros: i64,
    /// The balance after it.
    pub saldo_apos: i64,
    /// `c:` and the client's key, `r:` and the proxy's, or nothing.
    pub chave: Option<String>,
}

impl Ledger {
    /// Reads it.
    ///
    /// # Errors
    /// Postgres's own.
    pub async fn read(url: &str) -> anyhow::Result<Self> {
        let mut client = connect(url).await?;
        // The check and the rows are of one snapshot.
        let transaction =
            client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
        let mut ledger = Self::default();
        for row in transaction.query("SELECT id, limite FROM rinha.clientes", &[]).await? {
            ledger.clientes.insert(row.get(0), Cliente { limite: row.get(1), rows: Vec::new() });
        }
        let sql = "SELECT cliente_id, seq, valor, tipo, descricao,
                          to_char(realizada_em AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
                          (extract(epoch FROM realizada_em) * 1000000)::bigint, saldo_apos, chave
                   FROM rinha.transacoes ORDER BY cliente_id, seq";
        for row in transaction.query(sql, &[]).await? {
            // A stranger's row is the check's business.
            ledger.clientes.entry(row.get(0)).or_default().rows.push(Row {
                seq: row.get(1),
                valor: row.get(2),
                tipo: row.get(3),
                descricao: row.get(4),
                realizada_em: row.get(5),
                realizada_micros: row.get(6),
                saldo_apos: row.get(7),
                chave: row.get(8),
            });
        }
        for message in transaction.simple_query(CHECK).await? {
            if let SimpleQueryMessage::Row(row) = message {
                let cells: Vec<_> = (0..row.len()).map(|cell| row.get(cell).unwrap_or("null")).collect();
                ledger.violations.push(cells.join(" "));
            }
        }
        Ok(ledger)
    }

    /// Waits until nothing is recorded any more, and reads it then.
    ///
    /// # Errors
    /// Postgres's own; a ledger that does not come to rest.
    pub async fn read_quiet(url: &str) -> anyhow::Result<Self> {
        let client = connect(url).await?;
        let begun = Instant::now();
        let mut last = (count(&client).await?, Instant::now());
        while last.1.elapsed() < QUIET {
            if begun.elapsed() > QUIET_MAX {
                bail!("the ledger still grows {QUIET_MAX:?} after the last request");
            }
            sleep(LOOK_EVERY).await;
            let now = count(&client).await?;
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        Self::read(url).await
    }

    /// How many transactions there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.clientes.values().map(|cliente| cliente.rows.len()).sum()
    }
}

/// Of a cliente whose row is updated, seq has counted them: five rows to read.
async fn count(client: &Client) -> anyhow::Result<i64> {
    Ok(client.query_one("SELECT coalesce(sum(seq), 0)::bigint FROM rinha.clientes", &[]).await?.get(0))
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("cannot connect to the database")?;
    // Its error is also that of the query that meets it.
    tokio::spawn(connection);
    Ok(client)
}
