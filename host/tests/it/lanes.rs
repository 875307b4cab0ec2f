//! Calls that share a lane do not share the fate of its slowest call: a row that is locked, slow or in a deadlock
//! delays the calls of its own key only. The procedures here are made up; the last test has the project's handlers,
//! over HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt as _, poll};
use galo::contract::Value;
use galo::database::hash::KeyHash;
use galo::database::{Batch, Database, LaneCount, Procedure};
use galo::develop::build::Profile;
use galo::failure::Failure;
use galo::limits;
use galo::metrics::{Format, Metrics};
use galo_bank::random::Random;
use http::Method;

use crate::fixture::calling;
use crate::harness::{Connection, Guests, TestDatabase, TestNode, granted, handlers, transacao, until};

/// Both lock the rows of their calls, in order; 99 sleeps, and 77 wants row 8 as well.
pub const PROCEDURES: &str = "
    CREATE TABLE linhas (id integer PRIMARY KEY);
    INSERT INTO linhas SELECT generate_series(1, 8);
    CREATE TABLE vistos (ordem bigint GENERATED ALWAYS AS IDENTITY, id integer, x integer);
    CREATE FUNCTION um(id integer, x integer, OUT y integer, OUT por text) LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        PERFORM FROM linhas AS l WHERE l.id = um.id FOR UPDATE;
        IF x = 99 THEN PERFORM pg_sleep(0.5); END IF;
        IF x = 77 THEN PERFORM FROM linhas AS l WHERE l.id = 8 FOR UPDATE; END IF;
        INSERT INTO vistos (id, x) VALUES (um.id, um.x);
        y := x;
        por := 'um';
    END $$;
    CREATE FUNCTION muitos(ordinals integer[], id integer[], x integer[])
    RETURNS TABLE (ordinal integer, y integer, por text)
    LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        FOR i IN 1 .. cardinality(muitos.x) LOOP
            SELECT muitos.ordinals[i], u.y, 'muitos' INTO ordinal, y, por FROM um(muitos.id[i], muitos.x[i]) AS u;
            RETURN NEXT;
        END LOOP;
    END $$;
    CREATE FUNCTION outro() RETURNS integer LANGUAGE sql AS 'SELECT 1';
    GRANT EXECUTE ON FUNCTION um, muitos, outro TO galo";

struct Lane {
    database: TestDatabase,
    pool: Arc<Database>,
    um: Arc<Procedure>,
    metrics: Metrics,
}

fn batch(by: &str) -> Batch {
    Batch::new("muitos", by)
}

/// With lanes by id.
fn several(lanes: i64) -> Batch {
    let lanes = (lanes > 1).then(|| LaneCount::try_from(lanes).unwrap());
    Batch { lanes, ..batch("id") }
}

/// What holds with one lane holds with several.
const LANES: [i64; 2] = [1, 4];

impl Lane {
    /// With a pool of this many connections, and one lane.
    async fn new(connections: usize) -> Self {
        Self::with(connections, 1).await
    }

    /// With so many lanes.
    async fn with(connections: usize, lanes: i64) -> Self {
        let (database, metrics) = (TestDatabase::new().await, Metrics::new());
        database.execute(PROCEDURES).await;
        let pool = Arc::new(Database::new(&database.target(), connections, &metrics));
        let um = Arc::new(pool.describe(&granted("um", Some(&several(lanes)))).await.unwrap());
        pool.start(vec![Arc::clone(&um)]).await.unwrap();
        let looked_after = Arc::clone(&pool);
        tokio::spawn(async move { looked_after.look_after().await });
        Self { database, pool, um, metrics }
    }

    async fn call(&self, id: i64, x: i64) -> Result<String, Failure> {
        self.call_as(&self.um, id, x).await
    }

    async fn call_as(&self, um: &Arc<Procedure>, id: i64, x: i64) -> Result<String, Failure> {
        let rows = self.pool.call(um, vec![Value::Integer(id), Value::Integer(x)]).await?;
        match rows.values.as_slice() {
            [Value::Integer(y), Value::Text(por)] => Ok(format!("{y} {por}")),
            other => panic!("{other:?}"),
        }
    }

    /// A call that has joined its lane.
    async fn joined(&self, id: i64, x: i64) -> BoxFuture<'_, Result<String, Failure>> {
        let mut call = self.call(id, x).boxed();
        assert!(poll!(&mut call).is_pending());
        call
    }

    /// What was recorded for a row, in order.
    async fn seen(&self, id: i32) -> Vec<i32> {
        let sql = "SELECT x FROM vistos WHERE id = $1 ORDER BY ordem";
        let rows = self.database.owner().await.query(sql, &[&id]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// How many calls wait for a lock on connections of the pool.
    async fn waiting(&self, owner: &tokio_postgres::Client) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                   AND wait_event_type = 'Lock' AND application_name LIKE 'galo%' AND application_name NOT LIKE '% batches'";
        owner.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn until_waiting(&self, calls: i64) {
        let owner = self.database.owner().await;
        while self.waiting(&owner).await < calls {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How long calls of other rows took, three at once, until `over` returns true. Each of them must be answered.
    async fn others_beside(&self, over: impl Fn() -> bool) -> Vec<Duration> {
        let mut took = Vec::new();
        while !over() {
            let begun = Instant::now();
            let answers = join_all((5..8).map(|id| self.call(id, 1))).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            took.push(begun.elapsed());
        }
        took
    }

    /// A value from `/metrics`.
    fn figure(&self, name: &str) -> u64 {
        let text = self.metrics.text(Format::Classic);
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        // The sum of a histogram is a float.
        line.rsplit(' ').next().unwrap().trim_end_matches(".0").parse().unwrap()
    }
}

fn limit(connections: i32) -> String {
    format!(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT {connections}', current_database()); END $$"
    )
}

async fn lock(database: &TestDatabase, ids: &str) -> tokio_postgres::Client {
    let session = database.owner().await;
    session.batch_execute(&format!("BEGIN; SELECT FROM linhas WHERE id IN ({ids}) FOR UPDATE")).await.unwrap();
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_locked_row_keep_their_order_and_cost_no_other_row() {
    // Given a row that another session holds, when calls arrive for it and for others, then the others are answered
    // while it is locked; when it is released, then its own are answered, each once and in order, and go in batches
    // again.
    for lanes in LANES {
        let lane = Lane::with(4, lanes).await;
        let holder = lock(&lane.database, "1").await;
        let mut held = Vec::new();
        for x in 1..=5 {
            held.push(lane.joined(1, x).await);
        }
        lane.until_waiting(1).await;
        held.push(lane.joined(1, 6).await);
        let begun = Instant::now();
        let took = lane.others_beside(|| begun.elapsed() > Duration::from_millis(200)).await;
        assert!(took.len() >= 4, "{took:?}");
        holder.batch_execute("COMMIT").await.unwrap();
        let answers = join_all(held).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(lane.seen(1).await, [1, 2, 3, 4, 5, 6]);
        // Calls go in batches again.
        let stopped = lane.database.hold_batches().await;
        let calls = [lane.joined(2, 1).await, lane.joined(1, 7).await];
        assert!(!lane.seen(1).await.contains(&7));
        drop(stopped);
        assert!(join_all(calls).await.iter().all(Result::is_ok));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_of_a_locked_row_is_under_way_and_half_of_the_pool_for_all_of_them() {
    for lanes in LANES {
        let lane = Lane::with(4, lanes).await;
        let outro = Arc::new(lane.pool.describe(&granted("outro", None)).await.unwrap());
        for (rows, most) in [("1", 1), ("1, 2, 3, 4", 2)] {
            let ids = if most == 1 { 1..=1 } else { 1..=4 };
            let holder = lock(&lane.database, rows).await;
            let calls = join_all(ids.flat_map(|id| (0..4).map(move |x| (id, x))).map(|(id, x)| lane.call(id, x)));
            let look = async {
                lane.until_waiting(most).await;
                let owner = lane.database.owner().await;
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(200) {
                    let waiting = lane.waiting(&owner).await;
                    assert!(waiting <= most, "{waiting} wait at once");
                    // The rest of the pool is available to other calls.
                    lane.pool.call(&outro, Vec::new()).await.unwrap();
                }
                holder.batch_execute("COMMIT").await.unwrap();
            };
            let (answers, ()) = tokio::join!(calls, look);
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_rows_leave_half_of_a_pool_that_is_short_to_others() {
    // Given a pool that gets only four of its eight connections, when four rows are locked, then other rows are called.
    let lane = Lane::new(8).await;
    let outro = Arc::new(lane.pool.describe(&granted("outro", None)).await.unwrap());
    lane.database.execute(&limit(4)).await;
    lane.database.kill_connections().await;
    // It has those four by now, and tries for more.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let holder = lock(&lane.database, "1, 2, 3, 4").await;
    let calls = join_all((1..=4).map(|id| lane.call(id, 1)));
    let look = async {
        lane.until_waiting(1).await;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(500) {
            let asked = Instant::now();
            lane.pool.call(&outro, Vec::new()).await.unwrap();
            assert!(asked.elapsed() < Duration::from_millis(300), "{:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        holder.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(calls, look);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_row_costs_no_other_row_more_than_a_moment() {
    // Given calls of one row that take half a second each, when others join them, then the others wait for the first of
    // them for as long as a batch may take, and no longer; and each slow call is carried out once.
    for lanes in LANES {
        let lane = Lane::with(4, lanes).await;
        let slow = join_all((0..3).map(|_| lane.call(1, 99)));
        let begun = Instant::now();
        let others = lane.others_beside(|| begun.elapsed() > Duration::from_millis(1000));
        let (slow, took) = tokio::join!(slow, others);
        // A call that waited for longer than a call may was not sent.
        assert_eq!(slow[0].as_deref().unwrap(), "99 um");
        assert_eq!(lane.seen(1).await.len(), slow.iter().filter(|answer| answer.is_ok()).count());
        // The first of them ran in a batch with others, and once more by itself.
        assert!(lane.figure("galo_batches_given_up_total") >= 1);
        assert!(took.len() > 10, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_costs_its_own_row() {
    // Given a session that holds row 8 and wants row 1, when a call holds row 1 and wants row 8, then Postgres ends the
    // call, and it alone; and the row is served again.
    for lanes in LANES {
        let lane = Lane::with(4, lanes).await;
        let database = &lane.database;
        let settings =
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''300ms''', current_database());
                        END $$";
        database.execute(settings).await;
        database.kill_connections().await;
        let holder = lock(database, "8").await;
        holder.batch_execute("SET deadlock_timeout = '20s'").await.unwrap();
        // Calls that get a connection that is ending make the pool replace it, with the database's setting.
        while !join_all((2..6).map(|id| lane.call(id, 1))).await.iter().all(Result::is_ok) {}
        let call = lane.call(1, 77);
        let others = async {
            lane.until_waiting(1).await;
            let want = holder.batch_execute("SELECT FROM linhas WHERE id = 1 FOR UPDATE");
            let begun = Instant::now();
            let others = lane.others_beside(|| begun.elapsed() > Duration::from_millis(500));
            let (want, took) = tokio::join!(want, others);
            want.unwrap();
            assert!(took.len() >= 4, "{took:?}");
        };
        let (outcome, ()) = tokio::join!(call, others);
        // The deadlock is detected, or the call times out: both limits are one second.
        let ended = |cause: &String| cause.contains("40P01") || cause.contains("55P03");
        assert!(matches!(&outcome, Err(Failure::Unavailable { cause }) if ended(cause)), "{outcome:?}");
        holder.batch_execute("COMMIT").await.unwrap();
        assert_eq!(lane.call(1, 2).await.unwrap(), "2 um");
        assert_eq!(lane.seen(1).await, [2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_may_wait_for_a_locked_row_are_shed() {
    for lanes in LANES {
        let lane = Lane::with(4, lanes).await;
        let holder = lock(&lane.database, "1").await;
        let first = lane.joined(1, 0).await;
        lane.until_waiting(1).await;
        let calls = join_all((0..=limits::KEY_CALLS_MAX).map(|_| lane.call(1, 1)));
        let free = async {
            assert_eq!(lane.call(2, 1).await.unwrap(), "1 um");
            holder.batch_execute("COMMIT").await.unwrap();
        };
        let (first, calls, ()) = tokio::join!(first, calls, free);
        first.unwrap();
        assert_eq!(calls.iter().filter(|outcome| matches!(outcome, Err(Failure::Shed))).count(), 1);
        assert_eq!(lane.seen(1).await.len(), limits::KEY_CALLS_MAX + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_on_the_pool_when_the_database_has_no_connection_to_spare() {
    let lane = Lane::new(2).await;
    let database = &lane.database;
    database.execute(&limit(2)).await;
    let kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name LIKE 'galo% batches'";
    database.owner().await.query(kill, &[]).await.unwrap();
    // The first may get the connection that is ending.
    let _ = lane.call(1, 1).await;
    assert_eq!(lane.call(1, 2).await.unwrap(), "2 um");
    database.execute(&limit(-1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_descriptions_share_a_lane_until_no_handler_grants_the_procedure() {
    let lane = Lane::new(2).await;
    let again = Arc::new(lane.pool.describe(&granted("um", Some(&batch("id")))).await.unwrap());
    assert_eq!(again, lane.um);
    for other in [Some(&batch("x")), None] {
        assert_ne!(lane.pool.describe(&granted("um", other)).await.unwrap(), *lane.um);
    }
    lane.pool.prepare_anew(vec![Arc::clone(&again)]).await;
    lane.pool.keep(&[Arc::clone(&again)]);
    let stopped = lane.database.hold_batches().await;
    let first = lane.joined(1, 0).await;
    until("it is sent", String::new, || lane.figure("galo_batch_calls_count") == 1).await;
    let mut rest = join_all([lane.call_as(&lane.um, 2, 1), lane.call_as(&again, 3, 2)]);
    assert!(poll!(&mut rest).is_pending());
    drop(stopped);
    let (first, rest) = tokio::join!(first, rest);
    assert_eq!(first.unwrap(), "0 um");
    let rest: Vec<_> = rest.into_iter().map(Result::unwrap).collect();
    assert_eq!(rest, ["1 muitos", "2 muitos"]);
    // The grant is gone: calls that still use it go one by one.
    let statements = || {
        lane.metrics.text(Format::Classic).lines().find(|line| line.contains("batch_calls_count")).map(str::to_owned)
    };
    let before = statements();
    lane.pool.keep(&[]);
    assert_eq!(lane.call(1, 3).await.unwrap(), "3 um");
    assert_eq!(statements(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_hashed_as_postgres_hashes_it() {
    let owner = TestDatabase::new().await.owner().await;
    let mut random = Random::new(18, 0);
    let mut pick = || random.below(u64::MAX);
    let integers: Vec<i64> =
        (0..2000).map(|n| pick().cast_signed() >> (n % 64)).chain([0, -1, i64::MIN, i64::MAX]).collect();
    let texts: Vec<String> = (0..2000)
        .map(|n| (0..n % 70).map(|_| char::from_u32(1 + u32::try_from(pick() % 0x600).unwrap()).unwrap()).collect())
        .collect();
    let uuids: Vec<String> = (0..1000)
        .map(|_| format!("{:08x}-{:04x}-{:04x}-{:016x}", pick() >> 32, pick() >> 48, pick() >> 48, pick()))
        .map(|text| format!("{}-{}", &text[..23], &text[23..]))
        .collect();
    let shown = |integers: &[i64]| integers.iter().map(i64::to_string).collect::<Vec<_>>();
    let small: Vec<_> = integers.iter().filter(|n| i16::try_from(**n).is_ok()).copied().collect();
    let middle: Vec<_> = integers.iter().filter(|n| i32::try_from(**n).is_ok()).copied().collect();
    assert!(small.len() > 300 && middle.len() > 800);
    for (hash, function, ty, keys) in [
        (KeyHash::Integer, "hashint2", "smallint", shown(&small)),
        (KeyHash::Integer, "hashint4", "integer", shown(&middle)),
        (KeyHash::Bigint, "hashint8", "bigint", shown(&integers)),
        (KeyHash::Text, "hashtext", "text", texts),
        (KeyHash::Uuid, "uuid_hash", "uuid", uuids),
    ] {
        let sql =
            format!("SELECT {function}(key::{ty}) FROM unnest($1::text[]) WITH ORDINALITY AS k(key, n) ORDER BY n");
        for (key, row) in keys.iter().zip(owner.query(&sql, &[&keys]).await.unwrap()) {
            let value = key.parse().map_or(Value::Text(key.clone()), Value::Integer);
            let value = if ty == "text" || ty == "uuid" { Value::Text(key.clone()) } else { value };
            assert_eq!(hash.of(&value).map(u32::cast_signed), Some(row.get(0)), "{function} of {key:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_go_side_by_side_and_the_calls_of_a_key_go_one_after_the_other() {
    // Given four lanes whose connections do not answer, when calls of sixteen rows join them, then each lane sends one
    // statement, and the rest waits; when they answer, each row has its calls in their order, and one lane its batches.
    let lane = Lane::with(8, 4).await;
    let stopped = lane.database.hold_batches().await;
    let mut calls = join_all((0..12).flat_map(|x| (1..=16).map(move |id| (id, x))).map(|(id, x)| lane.call(id, x)));
    assert!(poll!(&mut calls).is_pending());
    let of: Vec<_> = (1..=16).map(|id| KeyHash::Integer.of(&Value::Integer(id)).unwrap() & 3).collect();
    let lanes: std::collections::HashSet<_> = of.iter().collect();
    assert_eq!(lanes.len(), 4, "{of:?}");
    until("each lane has sent", String::new, || lane.figure("galo_batch_calls_count") == 4).await;
    lane.pool.count();
    assert_eq!(lane.figure("galo_lane_calls_waiting{procedure=\"um\"}"), 192 - lane.figure("galo_batch_calls_sum"));
    assert_eq!(lane.figure("galo_pool_connections_wanted{pool=\"batches\"}"), 4);
    drop(stopped);
    assert!(calls.await.iter().all(Result::is_ok));
    for id in 1..=16 {
        assert_eq!(lane.seen(id).await, (0..12).collect::<Vec<_>>(), "row {id}");
    }
    let statements = lane.figure("galo_batch_calls_count");
    assert!(statements <= 16, "{statements} statements for 192 calls on four lanes");
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_grant_a_procedure_with_different_lanes_share_the_most_of_them() {
    let lane = Lane::with(8, 2).await;
    let wanted = |calls: &str| lane.figure(&format!("galo_pool_connections_wanted{{pool=\"{calls}\"}}"));
    let four = Arc::new(lane.pool.describe(&granted("um", Some(&several(4)))).await.unwrap());
    lane.pool.keep(&[Arc::clone(&lane.um), Arc::clone(&four)]);
    lane.pool.count();
    assert_eq!(wanted("batches"), 4);
    for id in 1..=8 {
        let (one, other) = tokio::join!(lane.call_as(&lane.um, id, 1), lane.call_as(&four, id, 2));
        assert!(one.is_ok() && other.is_ok());
        assert_eq!(lane.seen(i32::try_from(id).unwrap()).await, [1, 2]);
    }
    lane.pool.keep(&[Arc::clone(&lane.um)]);
    lane.pool.count();
    assert_eq!(wanted("batches"), 2);
    assert!(lane.call_as(&four, 1, 3).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_that_cannot_be_are_refused_with_the_remedy() {
    let database = TestDatabase::new().await;
    database.execute(PROCEDURES).await;
    database
        .execute(
            "CREATE TYPE cor AS ENUM ('a');
             CREATE FUNCTION de_cor(c cor, OUT y integer) LANGUAGE sql AS 'SELECT 1';
             CREATE FUNCTION de_cores(ordinals integer[], c cor[]) RETURNS TABLE (ordinal integer, y integer)
             LANGUAGE sql AS 'SELECT 1, 1'",
        )
        .await;
    let grant = |procedure: &str, entry: &str| {
        format!("procedures = [\"{procedure}\"]\nbatch = {{ {procedure} = {{ {entry} }} }}")
    };
    let um = |more: &str| grant("um", &format!("form = \"muitos\", by = \"id\", {more}"));
    for (entry, expected) in [
        (um("lanes = 3"), "galo.toml:6: lanes = 3: use a power of two from 1 to 64"),
        (um("lanes = 0"), "lanes = 0: use a power of two from 1 to 64"),
        (um("lanes = 128"), "lanes = 128: use a power of two from 1 to 64"),
        (um("lanes = -4"), "lanes = -4: use a power of two from 1 to 64"),
        (
            um("lanes = 16"),
            "the batch forms with `lanes` have 16 lanes, and each needs a database connection of its own; the node has \
             4 for calls and opens at most as many for lanes: lower `lanes`, or start it with `--pool-connections 16`",
        ),
        (um("key = \"z\""), "x: `um` has no parameter `z`, its `key` in `batch`; its parameters are id, x"),
        (um("key = \"id\""), "batch: `by` and `key` are both `id`; `key` makes two tries of a call one transaction"),
        (
            grant("de_cor", "form = \"de_cores\", by = \"c\", lanes = 2"),
            "`de_cor` cannot be batched by `c`: a value of type cor has no lane; batch by a parameter of type smallint, \
             integer, bigint, text, varchar or uuid, or with lanes = 1",
        ),
    ] {
        let name = if entry.contains("de_cor") { "de_cor" } else { "um" };
        let refusal = Guests::new().add("x", &calling(name), &entry).refusal(&database).await;
        assert!(refusal.contains(expected), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_a_parameter_is_refused_with_its_line_and_the_parameters() {
    let database = TestDatabase::new().await;
    database.execute(PROCEDURES).await;
    let grant = |by: &str| format!("procedures = [\"um\"]\nbatch = {{ um = {{ form = \"muitos\", by = \"{by}\" }} }}");
    let refusal = Guests::new().add("um", &calling("um"), &grant("por")).refusal(&database).await;
    let expected = "galo.toml:1: um: `um` has no parameter `por`, its `by` in `batch`; its parameters are id, x";
    assert!(refusal.contains(expected), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_handlers_that_grant_one_procedure_share_its_lane_after_an_edit_of_the_manifest() {
    // Given a node with the project's handlers, when its manifest adds one that grants the same procedure, then calls
    // of both that arrive while a statement is under way go in one batch.
    let database = TestDatabase::new().await;
    let guests = Guests::new();
    let copy = std::process::Command::new("cp")
        .arg("-r")
        .arg(handlers(Profile::Release).join("."))
        .arg(guests.folder.path())
        .status();
    assert!(copy.unwrap().success());
    let node = TestNode::guests(&database, &guests).await;
    let manifest = guests.manifest();
    let second = manifest.split("[[handler]]").nth(1).unwrap().replace("\"transacoes\"", "\"outras\"");
    let second = second.replace("/transacoes\"", "/outras\"");
    guests.put_file("galo.toml", format!("{manifest}\n[[handler]]{second}").as_bytes());
    until("it serves", String::new, || node.running.node.registry.table().handler("outras").is_some()).await;

    let sent = || {
        node.running
            .node
            .metrics
            .text(Format::Classic)
            .lines()
            .find(|line| line.starts_with("galo_batch_calls_count "))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .unwrap()
    };
    let path = |cliente: i32, name: &str| format!("/clientes/{cliente}/{name}");
    // Warm up.
    assert_eq!(node.post(&path(1, "transacoes"), transacao(1, "c", "x")).await.status, 200);
    let before = sent();
    let stopped = database.hold_batches().await;
    let (first, second) = (path(1, "transacoes"), path(2, "outras"));
    let (first, others) = (node.post(&first, transacao(1, "c", "x")), async {
        until("the first is sent", String::new, || sent() == before + 1).await;
        let third = path(3, "transacoes");
        let calls = async {
            tokio::join!(node.post(&second, transacao(1, "c", "x")), node.post(&third, transacao(1, "c", "x")))
        };
        let release = async {
            until("both wait", String::new, || node.running.node.metrics.in_flight.get() == 3).await;
            // Requests are admitted before they have joined the lane.
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(stopped);
        };
        tokio::join!(calls, release).0
    });
    let (first, (second, third)) = tokio::join!(first, others);
    assert_eq!([first.status, second.status, third.status].map(|status| status.as_u16()), [200; 3]);
    assert_eq!(sent() - before, 2, "they did not go in one batch");
    database.assert_ledger_holds().await;
}

/// Times and statuses of clients 2 to 5, each on one connection, one request after the other, until `over` returns
/// true.
async fn posts_of_others(node: &TestNode, over: impl Fn() -> bool) -> (Vec<Duration>, Vec<u16>) {
    let client = async |cliente: i32| {
        let mut connection = Connection::open(&node.address()).await;
        let path = format!("/clientes/{cliente}/transacoes");
        let (mut took, mut refused) = (Vec::new(), Vec::new());
        while !over() {
            let begun = Instant::now();
            let status = connection.send(Method::POST, &path, transacao(1, "c", "x")).await.unwrap().status.as_u16();
            took.push(begun.elapsed());
            refused.extend((status != 200).then_some(status));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (took, refused)
    };
    let (took, refused): (Vec<_>, Vec<_>) = join_all((2..=5).map(client)).await.into_iter().unzip();
    let mut took = took.concat();
    took.sort_unstable();
    (took, refused.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_client_costs_the_others_nothing() {
    // Given a session that holds the row of client 1, when 64 requests arrive for it at once, then all others are
    // answered, 99 of 100 within 20 ms; client 1 gets 503 in bounded time, and is served again when the row is
    // released.
    let database = TestDatabase::new().await;
    let node = TestNode::start(&database).await;
    let p99 = |took: &[Duration]| took[took.len() * 99 / 100 - 1];
    let wave = || join_all((0..64).map(|_| node.post("/clientes/1/transacoes", transacao(1, "c", "x"))));
    // The same load without the lock: 64 connections at once cost a busy machine some milliseconds by themselves.
    let free = async {
        for _ in 0..3 {
            let answers = wave().await;
            assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        }
    };
    let begun = Instant::now();
    let others = posts_of_others(&node, || begun.elapsed() > Duration::from_secs(1));
    let ((), (before, refused)) = tokio::join!(free, others);
    assert!(refused.is_empty(), "{refused:?}");

    let holder = database.owner().await;
    holder.batch_execute("BEGIN; SELECT FROM rinha.clientes WHERE id = 1 FOR UPDATE").await.unwrap();
    let begun = Instant::now();
    let locked = async {
        let mut bound = Duration::ZERO;
        // Three waves: once the lock has been met, further requests for it delay nobody.
        for _ in 0..3 {
            let begun = Instant::now();
            let answers = wave().await;
            assert!(answers.iter().all(|answer| answer.status == 503), "{answers:?}");
            bound = bound.max(begun.elapsed());
        }
        bound
    };
    let others = posts_of_others(&node, || begun.elapsed() > Duration::from_secs(3));
    let (bound, (took, refused)) = tokio::join!(locked, others);
    assert!(refused.is_empty(), "{refused:?}");
    // On a starved machine, at most twice the time without the lock.
    let most = Duration::from_millis(20).max(p99(&before) * 2);
    assert!(p99(&took) < most, "{:?} of {} requests, {:?} without the lock", p99(&took), took.len(), p99(&before));
    assert!(bound < limits::ACQUIRE_TIMEOUT + limits::STATEMENT_TIMEOUT, "{bound:?}");

    holder.batch_execute("ROLLBACK").await.unwrap();
    let answers = wave().await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(database.ledger_rows(1).await, 4 * 64);
    database.assert_ledger_holds().await;
}
