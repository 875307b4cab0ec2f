//! Procedures that work in other databases: two Postgres with the project's schema behind a router, whose functions
//! PL/Proxy forwards by the hash of the client. A batch there is one transaction only if it stays within a partition.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use galo::contract::Value;
use galo::database::{Batch, Database, GrantedProcedure, LaneCount, Procedure};
use galo::develop::postgres::SUPERUSER;
use galo::failure::Failure;
use galo::metrics::{Format, Metrics};
use galo_testing::database::{DATABASE, SERVICE_ROLE};
use nix::sys::signal::Signal;
use tokio::time::{Duration, sleep};

use crate::harness::{TestDatabase, connect};
use crate::postgres::OwnPostgres;

/// Of the clients 1 to 5, which have these limits.
const LIMITS: [i64; 5] = [100_000, 80_000, 1_000_000, 10_000_000, 500_000];

/// Of client n, as `hashint4(n) & 1` has it.
const PARTITIONS: [usize; 5] = [0, 0, 1, 1, 0];

/// Forwards a batch to all partitions of its clients, without a look at how many these are.
const NAIVE: &str = "
    CREATE FUNCTION realizar_transacoes(ordinals integer[], cliente_id integer[], valor bigint[], tipo text[],
        descricao text[], chave text[])
    RETURNS TABLE (ordinal integer, resultado text, limite bigint, saldo bigint)
    LANGUAGE plproxy AS $$
        CLUSTER 'partitions';
        SPLIT ordinals, cliente_id, valor, tipo, descricao, chave;
        RUN ON hashint4(cliente_id);
    $$;";

/// Without ordinals, as it could be granted before batch forms had them.
const FORMER: &str = "
    CREATE FUNCTION realizar_transacoes(cliente_id integer[], valor bigint[], tipo text[], descricao text[], chave text[])
    RETURNS TABLE (resultado text, limite bigint, saldo bigint)
    LANGUAGE plproxy AS $$
        CLUSTER 'partitions';
        SPLIT cliente_id, valor, tipo, descricao, chave;
        RUN ON hashint4(cliente_id);
    $$;";

/// Refuses a batch with clients of several partitions before anything of it runs.
const GUARDED: &str = "
    CREATE FUNCTION partition_of(cliente_id integer[]) RETURNS integer LANGUAGE plpgsql AS $$
    DECLARE
        found CONSTANT integer[] := ARRAY(SELECT DISTINCT hashint4(id) & 1 FROM unnest(cliente_id) AS id);
    BEGIN
        IF cardinality(found) <> 1 THEN
            RAISE invalid_parameter_value USING MESSAGE = 'calls of several partitions';
        END IF;
        RETURN found[1];
    END $$;
    CREATE FUNCTION realizar_transacoes(ordinals integer[], cliente_id integer[], valor bigint[], tipo text[],
        descricao text[], chave text[])
    RETURNS TABLE (ordinal integer, resultado text, limite bigint, saldo bigint)
    LANGUAGE plproxy AS $$
        CLUSTER 'partitions';
        RUN ON partition_of(cliente_id);
    $$;";

/// Two partitions and their router.
struct Partitions {
    router: TestDatabase,
    partitions: [OwnPostgres; 2],
}

impl Partitions {
    /// With this batch form.
    async fn with(form: &str) -> Self {
        let partitions = [OwnPostgres::start().await, OwnPostgres::start().await];
        let router = TestDatabase::new().await;
        let owner = router.owner().await;
        let available = "SELECT FROM pg_available_extensions WHERE name = 'plproxy'";
        let available = !owner.query(available, &[]).await.unwrap().is_empty();
        assert!(available, "install PL/Proxy for this Postgres, of Debian's packages postgresql-15-plproxy");
        let place = |own: &OwnPostgres| {
            format!("dbname={DATABASE} host={} port={}", own.cluster.socket.display(), own.cluster.port)
        };
        let [first, second] = [0, 1].map(|n| place(&partitions[n]));
        let sql = format!(
            "DROP FUNCTION realizar_transacao, realizar_transacoes;
             CREATE EXTENSION plproxy;
             CREATE SERVER partitions FOREIGN DATA WRAPPER plproxy OPTIONS (p0 '{first}', p1 '{second}');
             CREATE USER MAPPING FOR PUBLIC SERVER partitions OPTIONS (user '{SERVICE_ROLE}');
             GRANT USAGE ON FOREIGN SERVER partitions TO {SERVICE_ROLE};
             CREATE FUNCTION realizar_transacao(cliente_id integer, valor bigint, tipo text, descricao text, chave text,
                 OUT resultado text, OUT limite bigint, OUT saldo bigint)
             LANGUAGE plproxy AS $$ CLUSTER 'partitions'; RUN ON hashint4(cliente_id); $$;
             {form}"
        );
        owner.batch_execute(&sql).await.unwrap();
        // The session of a lane is the router's: the form itself bounds its waits for rows.
        for partition in &partitions {
            let owner = connect(&partition.url(SUPERUSER, DATABASE)).await;
            owner.batch_execute("ALTER FUNCTION realizar_transacoes SET lock_timeout = '5ms'").await.unwrap();
        }
        Self { router, partitions }
    }

    /// A pool that calls the router under this grant.
    async fn pool(&self, batch: &Batch, metrics: &Metrics) -> Result<(Arc<Database>, Arc<Procedure>), String> {
        let pool = Arc::new(Database::new(&self.router.target(), 8, metrics));
        let described = pool.describe(&granted(batch)).await.map_err(|unusable| unusable.to_string())?;
        let procedure = Arc::new(described);
        pool.start(vec![Arc::clone(&procedure)]).await.unwrap();
        let looked_after = Arc::clone(&pool);
        tokio::spawn(async move { looked_after.look_after().await });
        Ok((pool, procedure))
    }

    /// How often each descricao was recorded, and for which client of which partition.
    async fn recorded(&self) -> HashMap<String, Vec<(usize, i32)>> {
        let mut recorded: HashMap<String, Vec<_>> = HashMap::new();
        for (number, partition) in self.partitions.iter().enumerate() {
            let owner = connect(&partition.url(SUPERUSER, DATABASE)).await;
            let rows = owner.query("SELECT descricao::text, cliente_id::int FROM rinha.transacoes", &[]).await.unwrap();
            for row in rows {
                recorded.entry(row.get(0)).or_default().push((number, row.get(1)));
            }
        }
        recorded
    }
}

fn granted(batch: &Batch) -> GrantedProcedure {
    GrantedProcedure { batch: Some(batch.clone()), ..GrantedProcedure::plain("realizar_transacao") }
}

fn form(lanes: Option<i64>) -> Batch {
    let lanes = lanes.map(|lanes| LaneCount::try_from(lanes).unwrap());
    Batch { lanes, key: Some("chave".to_owned()), ..Batch::new("realizar_transacoes", "cliente_id") }
}

fn figure(metrics: &Metrics, name: &str) -> f64 {
    let text = metrics.text(Format::Classic);
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// A call that was made, and its answer: the limit and the balance.
struct Made {
    number: usize,
    client: usize,
    answer: Result<(i64, i64), Failure>,
}

/// Makes 3,000 calls, 64 at once, each credit of 1 with a descricao of its own and every second one with a key. `then`
/// runs when a third of them has been made.
async fn load(pool: &Arc<Database>, procedure: &Arc<Procedure>, then: impl AsyncFnOnce()) -> Vec<Made> {
    const CALLS: usize = 3000;
    let made = AtomicUsize::new(0);
    let next = AtomicUsize::new(0);
    let clients = (0..64).map(async |_| {
        let mut own = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= CALLS {
                return own;
            }
            let client = number % 5;
            let text = |text: String| Value::Text(text);
            let key = if number.is_multiple_of(2) { Value::Null } else { text(format!("k:{number}")) };
            let id = Value::Integer(i64::try_from(client).unwrap() + 1);
            let arguments = vec![id, Value::Integer(1), text("c".into()), text(format!("n{number}")), key];
            let answer = pool.call(procedure, arguments).await.map(|rows| match rows.values.as_slice() {
                [Value::Text(ok), Value::Integer(limit), Value::Integer(balance)] if ok == "ok" => (*limit, *balance),
                other => panic!("{other:?}"),
            });
            made.fetch_add(1, Ordering::Relaxed);
            own.push(Made { number, client, answer });
        }
    });
    let later = async {
        while made.load(Ordering::Relaxed) < CALLS / 3 {
            sleep(Duration::from_millis(1)).await;
        }
        then().await;
    };
    let (all, ()) = tokio::join!(join_all(clients), later);
    all.into_iter().flatten().collect()
}

/// How many answers were of another client or another call, and how many calls are recorded twice, or answered and not
/// recorded once.
async fn faults(partitions: &Partitions, made: &[Made]) -> (usize, usize) {
    let recorded = partitions.recorded().await;
    let (mut wrong, mut doubled) = (0, 0);
    let mut balances: HashMap<(usize, i64), usize> = HashMap::new();
    for Made { number, client, answer } in made {
        let found = recorded.get(&format!("n{number}")).map_or(0, Vec::len);
        match answer {
            Ok((limit, balance)) => {
                // Only credits: no two calls of a client leave the same balance.
                let is_another = balances.insert((*client, *balance), *number).is_some();
                wrong += usize::from(*limit != LIMITS[*client] || is_another);
                doubled += usize::from(found != 1);
            }
            Err(_) => doubled += usize::from(found > 1),
        }
    }
    (wrong, doubled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_form_that_works_in_other_databases_is_refused_unless_its_lanes_are_stated() {
    let expected = "`realizar_transacoes` is not a batch form of `realizar_transacao`: it may work in another database, \
                    by its language or by `remote`, so a batch may not be one transaction; if all calls of a lane work \
                    in the same database, state the number of lanes: `lanes = 1`, or a power of two";
    for sql in [FORMER, NAIVE] {
        let partitions = Partitions::with(sql).await;
        let refused = partitions.pool(&form(None), &Metrics::new()).await.err().unwrap();
        assert_eq!(refused, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_killed_under_load_costs_its_clients_only_and_nothing_is_wrong_or_doubled() {
    // Given two partitions and two lanes, when a partition is killed while 3,000 calls are made, then each answer is
    // that of its own call, no call is recorded twice, and the clients of the other partition notice nothing.
    let mut partitions = Partitions::with(GUARDED).await;
    let metrics = Metrics::new();
    let (pool, procedure) = partitions.pool(&form(Some(2)), &metrics).await.unwrap();
    let made = load(&pool, &procedure, async || partitions.partitions[1].signal(Signal::SIGKILL)).await;
    // No batch had calls of both: none was refused by the router, and only its own lane failed.
    let lost = made.iter().filter(|made| made.answer.is_err()).count();
    assert!(lost > 100, "{lost} calls failed");
    for Made { client, answer, .. } in &made {
        assert!(answer.is_ok() || PARTITIONS[*client] == 1, "{client}: {answer:?}");
        assert!(matches!(answer, Ok(_) | Err(Failure::Unavailable { .. })), "{answer:?}");
    }
    partitions.partitions[1].stop();
    tokio::task::block_in_place(|| partitions.partitions[1].start_again());
    assert_eq!(faults(&partitions, &made).await, (0, 0), "wrong, doubled");
    for (descricao, places) in partitions.recorded().await {
        let (partition, client) = places[0];
        assert_eq!(PARTITIONS[usize::try_from(client).unwrap() - 1], partition, "{descricao}");
    }
    let statements = figure(&metrics, "galo_batch_calls_count");
    assert!(figure(&metrics, "galo_batch_calls_sum") > 1.5 * statements, "{statements} statements");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_crosses_partitions_is_refused_by_the_router_and_its_calls_go_alone() {
    // Given one lane for both partitions, when calls of both are in a batch, then the router refuses it before anything
    // ran, and each call is sent by itself.
    let partitions = Partitions::with(GUARDED).await;
    let metrics = Metrics::new();
    let (pool, procedure) = partitions.pool(&form(Some(1)), &metrics).await.unwrap();
    let made = load(&pool, &procedure, async || {}).await;
    let failed: Vec<_> = made.iter().filter_map(|made| made.answer.as_ref().err()).collect();
    // A call may wait for too long: those of a batch that was refused go one after the other, each with a flush.
    let is_late = |failure: &&Failure| matches!(failure, Failure::Unavailable { cause } if cause.contains("not sent"));
    assert!(failed.iter().all(is_late), "{failed:?}");
    assert!(failed.len() < made.len() / 2, "{} calls failed", failed.len());
    assert!(figure(&metrics, "galo_batches_broken_total") > 10.0);
    assert_eq!(faults(&partitions, &made).await, (0, 0), "wrong, doubled");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_is_repeated_only_for_calls_with_a_key() {
    // Given a form that works in both partitions and whose lanes are stated falsely, when one partition is dead, then a
    // batch is half recorded and its failure proves nothing: no call without a key is sent again.
    let mut partitions = Partitions::with(NAIVE).await;
    let metrics = Metrics::new();
    let (pool, procedure) = partitions.pool(&form(Some(1)), &metrics).await.unwrap();
    let made = load(&pool, &procedure, async || partitions.partitions[1].signal(Signal::SIGKILL)).await;
    partitions.partitions[1].stop();
    tokio::task::block_in_place(|| partitions.partitions[1].start_again());
    assert_eq!(faults(&partitions, &made).await, (0, 0), "wrong, doubled");
    assert!(figure(&metrics, "galo_batches_broken_total") > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_row_of_a_partition_costs_its_own_client_only() {
    // Given a session that holds client 1 of a partition, when calls are made for it and for client 2 of the same
    // partition, then those of client 2 are answered, and those of client 1 when it is released, each once.
    let partitions = Partitions::with(GUARDED).await;
    let metrics = Metrics::new();
    let (pool, procedure) = partitions.pool(&form(Some(2)), &metrics).await.unwrap();
    let call = |client: i64, descricao: String| {
        let text = |text: &str| Value::Text(text.to_owned());
        let arguments = vec![Value::Integer(client), Value::Integer(1), text("c"), text(&descricao), Value::Null];
        pool.call(&procedure, arguments)
    };
    let holder = connect(&partitions.partitions[0].url(SUPERUSER, DATABASE)).await;
    holder.batch_execute("BEGIN; SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE").await.unwrap();
    let locked = join_all((0..3).map(|n| call(1, format!("l{n}"))));
    let others = async {
        for round in 0..20 {
            let answers = join_all((0..5).map(|n| call(2, format!("o{round}.{n}")))).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        }
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let (locked, ()) = tokio::join!(locked, others);
    assert!(locked.iter().all(Result::is_ok), "{locked:?}");
    let recorded = partitions.recorded().await;
    assert_eq!(recorded.len(), 103);
    assert!(recorded.values().all(|places| places.len() == 1), "{recorded:?}");
}
