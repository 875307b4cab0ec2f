//! What an extrato costs the server when the ledger has grown: a client with ten rows in one database, one with
//! millions in another, and the same procedure called on each in turn.

use anyhow::ensure;
use tokio_postgres::Client;

use crate::cluster::{Cluster, Database};
use crate::figures::{Spread, spread};
use crate::progress::Progress;

/// The rows of the shorter ledger: as many as an extrato shows.
const ROWS_FEW: u32 = 10;

/// Blocks of calls on each database; the first is for warming up.
const BLOCKS: usize = 50;

/// Measurements of a block.
const MEASUREMENTS: i32 = 20;

/// Calls of a measurement: the clock counts in microseconds, and a call takes some fifteen.
const CALLS: i32 = 20;

/// A ledger up to which the project's own proof of it is run too: it sorts all of it.
const PROVED_MAX: u32 = 1_000_000;

/// What a longer ledger costs.
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    pub rows: u32,
    /// Microseconds of a call, the middle of each block.
    pub few: Spread,
    pub many: Spread,
    /// Of a block on the longer ledger to the one before it on the shorter one.
    pub ratio: Spread,
}

/// Credits of a cent, so that the balance is the number of the row; keys of the form that nginx gives them. Written as
/// the owner, past the procedure, which would take an hour.
const FILL: &str = "
    INSERT INTO rinha.transacoes (cliente_id, seq, valor, tipo, descricao, realizada_em, saldo_apos, chave)
    SELECT 1, n, 1, 'c', 'descricao1', timestamptz '2024-01-01' + n * interval '1 millisecond', n,
           't:' || 1704067200 + n / 1000 || '.' || to_char(n % 1000, 'FM000') || '-' || md5(n::text)
    FROM generate_series(1, $1::integer) AS n";
const BALANCE: &str = "
    UPDATE rinha.clientes SET saldo = $1::integer, seq = $1::integer,
           ultima_em = timestamptz '2024-01-01' + $1::integer * interval '1 millisecond'
    WHERE id = 1";

/// Calls the procedure and returns, for each measurement, the microseconds of a call, by the server's own clock: no
/// network, no client.
const MEASURE: &str = "
    CREATE FUNCTION pg_temp.cost(measurements integer, calls integer) RETURNS double precision[] LANGUAGE plpgsql AS $$
    DECLARE
        begun timestamptz;
        micros double precision[];
    BEGIN
        FOR n IN 1..measurements LOOP
            begun := clock_timestamp();
            FOR made IN 1..calls LOOP
                PERFORM FROM public.extrato(1);
            END LOOP;
            micros[n] := extract(epoch FROM clock_timestamp() - begun) * 1000000 / calls;
        END LOOP;
        RETURN micros;
    END
    $$";

/// Fills two databases and measures.
///
/// # Errors
/// What Postgres complains about.
pub async fn run(cluster: &mut Cluster, rows: u32, progress: &Progress) -> anyhow::Result<Growth> {
    progress.begin(format!("extrato: filling a ledger with {rows} rows"));
    let (small, few) = filled(cluster, ROWS_FEW).await?;
    let (large, many) = filled(cluster, rows).await?;
    progress.end("filled and analysed");
    progress.begin("extrato: calling it on both ledgers in turn");
    let (mut medians_few, mut medians_many, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for block in 0..BLOCKS {
        let (on_few, on_many) = (cost(&few).await?, cost(&many).await?);
        if block > 0 {
            medians_few.push(on_few);
            medians_many.push(on_many);
            ratios.push(on_many / on_few);
        }
    }
    drop((few, many));
    cluster.drop(small).await?;
    cluster.drop(large).await?;
    let of = |values| spread(values).ok_or_else(|| anyhow::anyhow!("there is more than one block"));
    let growth = Growth { rows, few: of(medians_few)?, many: of(medians_many)?, ratio: of(ratios)? };
    progress.end(&format!("{:.1} µs, {:.1} µs", growth.few.median, growth.many.median));
    Ok(growth)
}

async fn filled(cluster: &mut Cluster, rows: u32) -> anyhow::Result<(Database, Client)> {
    let database = cluster.database().await?;
    let mut client = database.owner().await?;
    let number = i32::try_from(rows)?;
    let transaction = client.transaction().await?;
    transaction.execute(FILL, &[&number]).await?;
    transaction.execute(BALANCE, &[&number]).await?;
    transaction.commit().await?;
    // As autovacuum would, a minute later.
    client.batch_execute("ANALYZE rinha.transacoes; ANALYZE rinha.clientes").await?;
    if rows <= PROVED_MAX {
        let proof = cluster.proof()?;
        let violations = client.query(&proof, &[]).await?;
        ensure!(violations.is_empty(), "the ledger that was filled breaks {} of its invariants", violations.len());
    }
    let shown = client.query("SELECT FROM public.extrato(1)", &[]).await?.len();
    ensure!(shown == 10, "an extrato of {rows} rows shows {shown}");
    client.batch_execute(MEASURE).await?;
    Ok((database, client))
}

/// The middle of a block.
async fn cost(client: &Client) -> anyhow::Result<f64> {
    let row = client.query_one("SELECT pg_temp.cost($1, $2)", &[&MEASUREMENTS, &CALLS]).await?;
    let micros: Vec<f64> = row.get(0);
    spread(micros).map(|spread| spread.median).ok_or_else(|| anyhow::anyhow!("no call was made"))
}
