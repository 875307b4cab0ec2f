//! What the database holds: the ledger of each cliente in the order of its seq, and what `sql/check/ledger.sql` finds
//! in it. Read with rights on the tables, which the service itself does not have.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::source::Source;

/// The proof of the ledger that belongs to the schema.
const CHECK: &str = include_str!("../../../sql/check/ledger.sql");

/// The clientes and their rows, each as a line of JSON.
const ROWS: &str = "
    SELECT json_build_object('cliente', json_build_object('id', id, 'limite', limite)) FROM rinha.clientes;
    SELECT json_build_object('row', json_build_object('cliente_id', cliente_id, 'seq', seq, 'valor', valor,
               'tipo', tipo, 'descricao', descricao,
               'realizada_em', to_char(realizada_em AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
               'realizada_micros', (extract(epoch FROM realizada_em) * 1000000)::bigint,
               'saldo_apos', saldo_apos, 'chave', chave))
    FROM rinha.transacoes ORDER BY cliente_id, seq;";

/// The lines after this one are violations that the check found.
const MARK: &str = "check";

/// A stack is quiet when nothing was recorded for so long: longer than any pause between two statements of a node that
/// is not itself waiting. A row that comes later still belongs to a request that is unknown, or is found missing.
const QUIET: Duration = Duration::from_millis(500);

/// How long it may take to become quiet: a node waits 3 s for an outcome, nginx tries two of them.
const QUIET_MAX: Duration = Duration::from_secs(20);

/// Between two reads.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// The whole ledger, of one moment.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By id.
    pub clientes: BTreeMap<i32, Cliente>,
    /// The violations that the check found, a line each.
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
    /// `c:` and the client's key, `t:` and the proxy's try, or nothing.
    pub chave: Option<String>,
}

/// A line of [`ROWS`].
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Cliente {
        id: i32,
        limite: i64,
    },
    Row {
        cliente_id: i32,
        #[serde(flatten)]
        row: Row,
    },
}

impl Ledger {
    /// Reads it.
    ///
    /// # Errors
    /// Postgres's own.
    pub async fn read(source: &Source) -> anyhow::Result<Self> {
        // The check and the rows are of one snapshot.
        let sql = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {ROWS} SELECT '{MARK}';\n{};\nCOMMIT;",
            CHECK.trim_end().trim_end_matches(';')
        );
        let mut ledger = Self::default();
        for one in source.each() {
            ledger.add(one.lines(&sql).await?)?;
        }
        Ok(ledger)
    }

    /// Adds what a database returned, which has a part of the clientes.
    fn add(&mut self, lines: Vec<String>) -> anyhow::Result<()> {
        let mut lines = lines.into_iter();
        for line in lines.by_ref().take_while(|line| line != MARK) {
            match serde_json::from_str(&line).with_context(|| format!("not of the ledger: {line}"))? {
                Line::Cliente { id, limite } => {
                    let found = self.clientes.insert(id, Cliente { limite, rows: Vec::new() });
                    self.violations.extend(found.map(|_| format!("cliente {id} is on several shards")));
                }
                // The check reports rows of unknown clientes.
                Line::Row { cliente_id, row } => self.clientes.entry(cliente_id).or_default().rows.push(row),
            }
        }
        self.violations.extend(lines);
        Ok(())
    }

    /// Waits until nothing more is recorded, then reads it.
    ///
    /// # Errors
    /// Postgres's own; a ledger that does not come to rest.
    pub async fn read_quiet(source: &Source) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut last = (count(source).await?, Instant::now());
        while last.1.elapsed() < QUIET {
            if begun.elapsed() > QUIET_MAX {
                bail!("the ledger still grows {QUIET_MAX:?} after the last request");
            }
            sleep(POLL_EVERY).await;
            let now = count(source).await?;
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        Self::read(source).await
    }

    /// How many transactions there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.clientes.values().map(|cliente| cliente.rows.len()).sum()
    }
}

/// Of a cliente whose row is updated, seq has counted them: five rows to read.
async fn count(source: &Source) -> anyhow::Result<String> {
    let mut counts = Vec::new();
    for one in source.each() {
        counts.extend(one.lines("SELECT coalesce(sum(seq), 0) FROM rinha.clientes;").await?);
    }
    Ok(counts.join("+"))
}
