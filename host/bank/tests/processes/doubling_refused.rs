//! `deploy/shards/double` where something is wrong: it says what to do, and nothing is changed. Without load.

use galo_bank::source::Source;
use galo_testing::program::checkout;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::doubling::{Doubling, PARTITIONS, prove};
use crate::node::{PATIENCE, POLL_EVERY};
use crate::postgres::{Database, Durable};
use crate::shards;
use crate::stack::{Stack, block_on};

/// What the script changes of a shard or a standby.
const OF_A_SHARD: &str = "SELECT concat_ws(' ', pg_is_in_recovery(), obj_description('galo_shard'::regnamespace),
    (SELECT string_agg(tgname, ' ' ORDER BY tgname) FROM pg_trigger),
    (SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'galo_shard'::regnamespace),
    (SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots),
    (SELECT string_agg(id::text, ' ' ORDER BY id) FROM rinha.clientes))";

/// What it changes of a router.
const OF_A_ROUTER: &str = "SELECT concat_ws(' ',
    (SELECT string_agg(srvname || o, ' ' ORDER BY srvname, o) FROM pg_foreign_server, unnest(srvoptions) AS o),
    (SELECT string_agg(umid::text, ' ' ORDER BY umid) FROM pg_user_mappings),
    (SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc WHERE pronamespace = 'galo_shards'::regnamespace))";

/// What is wrong with a database: the statements that make it so, what then holds, and the statements that mend it.
struct Wrong<'a> {
    database: &'a Database,
    make: &'a [&'a str],
    holds: &'a str,
    mend: &'a [&'a str],
    expected: &'a str,
}

/// Everything that the script changes.
async fn state(stack: &Stack, doubling: &Doubling) -> Vec<String> {
    let mut state = line(&stack.database, OF_A_ROUTER).await;
    for shard in stack.shards.iter().chain(&doubling.standbys) {
        state.extend(line(&shard.database, OF_A_SHARD).await);
    }
    state
}

async fn line(database: &Database, sql: &str) -> Vec<String> {
    Source::Url(database.owner_url()).lines(sql).await.unwrap()
}

/// One by one: some are refused within a transaction.
async fn each(database: &Database, statements: &[&str]) {
    for statement in statements {
        database.execute(statement).await;
    }
}

async fn until(database: &Database, holds: &str) {
    let (begun, sql) = (Instant::now(), format!("SELECT {holds}"));
    while line(database, &sql).await != ["t"] {
        assert!(begun.elapsed() < PATIENCE, "not `{holds}`");
        sleep(POLL_EVERY).await;
    }
}

/// Waits until the standby has everything of its shard.
async fn until_equal(shard: &Database, standby: &Database) {
    let position = line(shard, "SELECT pg_current_wal_lsn()").await;
    until(standby, &format!("pg_last_wal_replay_lsn() >= '{}'", position[0])).await;
}

pub fn where_something_is_wrong() {
    block_on(async {
        let mut stack = shards::with_partitions(PARTITIONS).await;
        let doubling = Doubling::prepare(&stack).await;
        let before = state(&stack, &doubling).await;
        variables(&stack, &doubling).await;
        databases(&stack, &doubling).await;
        routers(&stack, &doubling).await;
        doubling.succeeds("plan", "shard 0: ready").await;
        assert_eq!(state(&stack, &doubling).await, before);
        moved(&stack, &doubling).await;
        stack.shards.extend(doubling.standbys);
        prove(&stack).await;
    });
}

async fn variables(stack: &Stack, doubling: &Doubling) {
    let first = |name| doubling.value(name).lines().next().unwrap().to_owned();
    let shard = &stack.shards[0].database;
    for (name, value, expected) in [
        ("SHARDS", first("SHARDS"), "1 shards need 1 standbys, and STANDBYS has 2 lines"),
        ("SHARDS", doubling.exchanged("SHARDS"), "line 1 of SHARDS is shard '1', and should be 0"),
        ("SHARDS", doubling.exchanged("STANDBYS"), "line 1 of SHARDS is shard '1', and should be 0"),
        ("SHARDS", doubling.value("STANDBYS").to_owned(), "line 1 of SHARDS must be its primary"),
        (
            "SHARDS",
            doubling.value("SHARDS").replace("user=postgres", "user=galo"),
            "shard 0: connect as a superuser; galo",
        ),
        ("STANDBYS", doubling.exchanged("STANDBYS"), "is of another cluster: are lines exchanged?"),
        ("STANDBYS_VIA", doubling.exchanged("STANDBYS_VIA"), "reaches another Postgres at"),
        ("STANDBYS_VIA", "host=/nowhere\nhost=/nowhere".to_owned(), "cannot connect to 'host=/nowhere'"),
        ("ROUTERS", "host=/nowhere".to_owned(), "router 0 cannot be asked: see above"),
        ("ROUTERS", shard.owner_url(), "router 0 has no stubs: deploy/shards/set-up"),
        ("TABLES", "rinha.clientes:id".to_owned(), "rinha.transacoes is in neither TABLES nor WHOLE"),
        ("TABLES", "rinha.clientes:ids rinha.transacoes:cliente_id".to_owned(), "`rinha.clientes:ids` names no column"),
        ("WHOLE", "rinha.moedas".to_owned(), "WHOLE: there is no table `rinha.moedas`"),
    ] {
        doubling.is_refused_with("run", name, &value, expected).await;
    }
    // Half of the shards, as if the other half did not exist.
    let mut half = doubling.with("SHARDS", &first("SHARDS"));
    for name in ["STANDBYS", "STANDBYS_VIA"] {
        half = half.with(name, &first(name));
    }
    half.is_refused("run", "shard 0 is one of 2 shards, and SHARDS has 1 lines: list all of them").await;
    let lock = shard.owner().await;
    lock.batch_execute("SELECT pg_advisory_lock(hashtext('galo double'))").await.unwrap();
    doubling.is_refused("run", "another run of this script is under way").await;
}

async fn databases(stack: &Stack, doubling: &Doubling) {
    let (shard, standby) = (&stack.shards[0].database, &doubling.standbys[0].database);
    let primary = line(standby, "SELECT quote_literal(current_setting('primary_conninfo'))").await;
    let follow = format!("ALTER SYSTEM SET primary_conninfo = {}", primary[0]);
    let reload = "SELECT pg_reload_conf()";
    for Wrong { database, make, holds, mend, expected } in [
        Wrong {
            database: shard,
            make: &[
                "ALTER TABLE rinha.clientes DISABLE TRIGGER so_deste_shard",
                "INSERT INTO rinha.clientes (id, limite) VALUES (3, 1)",
            ],
            holds: "true",
            mend: &[
                "DELETE FROM rinha.clientes WHERE id = 3",
                "ALTER TABLE rinha.clientes ENABLE TRIGGER so_deste_shard",
            ],
            expected: "rinha.clientes on shard 0 has rows of other shards, or without a key: move or delete them first",
        },
        Wrong {
            database: shard,
            make: &["ALTER TABLE rinha.transacoes SET UNLOGGED"],
            holds: "true",
            mend: &["ALTER TABLE rinha.transacoes SET LOGGED"],
            expected: "ALTER TABLE rinha.transacoes SET LOGGED",
        },
        Wrong {
            database: shard,
            make: &["ALTER SYSTEM SET synchronous_standby_names = '*'", reload],
            holds: "(SELECT sync_state = 'sync' FROM pg_stat_replication)",
            mend: &["ALTER SYSTEM RESET synchronous_standby_names", reload],
            expected: "wait for this standby (sync): remove it from synchronous_standby_names",
        },
        Wrong {
            database: standby,
            make: &["ALTER SYSTEM SET synchronous_standby_names = 'other'", reload],
            holds: "current_setting('synchronous_standby_names') = 'other'",
            mend: &["ALTER SYSTEM RESET synchronous_standby_names", reload],
            expected: "would wait for standbys of its own (other): empty its synchronous_standby_names",
        },
        Wrong {
            database: standby,
            make: &["ALTER SYSTEM SET primary_conninfo = 'host=/nowhere'", reload],
            holds: "NOT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')",
            mend: &[&follow, reload],
            expected: "the standby of shard 0 does not stream",
        },
        Wrong {
            database: standby,
            make: &["SELECT pg_wal_replay_pause()"],
            holds: "pg_get_wal_replay_pause_state() = 'paused'",
            mend: &["SELECT pg_wal_replay_resume()"],
            expected: "bytes behind; wait until it has caught up",
        },
    ] {
        each(database, make).await;
        until(database, holds).await;
        if expected.contains("behind") {
            shard.execute("SELECT pg_logical_emit_message(false, '', repeat('x', 20000000))").await;
        } else if database.owner_url() == shard.owner_url() {
            until_equal(shard, standby).await;
        }
        doubling.is_refused("run", expected).await;
        each(database, mend).await;
        until(standby, "EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')").await;
        until_equal(shard, standby).await;
    }
}

async fn routers(stack: &Stack, doubling: &Doubling) {
    let router = &stack.database;
    let (shard, standby) = (stack.shards[0].database.place(), doubling.standbys[0].database.place());
    let before = line(router, OF_A_ROUTER).await;
    let alter = |cluster: &str, partition: usize, place: &str| {
        format!("ALTER SERVER {cluster} OPTIONS (SET p{partition} '{place}')")
    };
    // Stubs of four shards, too early: the standby would refuse all writes of its half.
    let places = [0, 1].map(|n| stack.shards[n].database.place());
    let standbys = [0, 1].map(|n| doubling.standbys[n].database.place());
    let folder = tempfile::tempdir().unwrap();
    let handlers = shards::handlers(folder.path(), PARTITIONS);
    let early = shards::stubs(&handlers, &stack.shards[0].database, &[places.clone(), standbys].concat());
    router.execute(&early).await;
    doubling.is_refused("run", "router 0 sends partition 2 to the standby of shard 0 already: `double back`").await;
    doubling.succeeds("back", "nothing is under way").await;
    assert_eq!(line(router, OF_A_ROUTER).await, before);
    doubling.is_refused("back", "nothing is under way").await;
    // Each cluster is asked.
    for (partition, place) in [(1, &shard), (0, &standby)] {
        router.execute(&alter("galo_shards_batches", partition, place)).await;
        let expected = format!("router 0 sends partition {partition} to another Postgres than shard {partition}");
        doubling.is_refused("run", &expected).await;
        router.execute(&shards::stubs(&handlers, &stack.shards[0].database, &places)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let of_two = shards::handlers(folder.path(), 2);
    router.execute(&shards::stubs(&of_two, &stack.shards[0].database, &places)).await;
    doubling
        .is_refused("run", "router 0 has 2 partitions, and 4 shards need at least 4: see \"More partitions\"")
        .await;
    let stubs = shards::stubs(&handlers, &stack.shards[0].database, &places);
    router.execute(&stubs).await;
    assert_eq!(line(router, OF_A_ROUTER).await, before);
    // One hangs when it is to take the new map: all others have the old one again, and the shard serves both halves.
    let (second, database) = Durable::empty().await;
    database.execute(&stubs).await;
    let both = doubling.with("ROUTERS", &format!("{}\n{}", router.owner_url(), database.owner_url()));
    let running = both.until("run", "shard 0: fence").await;
    second.signal(Signal::SIGSTOP);
    running.fails("router 1 did not take the new map").await;
    assert_eq!(line(router, OF_A_ROUTER).await, before);
    second.signal(Signal::SIGCONT);
    until_equal(&stack.shards[0].database, &doubling.standbys[0].database).await;
    both.succeeds("plan", "shard 0: ready").await;
}

/// After the move: nothing is deleted while anything speaks against it.
async fn moved(stack: &Stack, doubling: &Doubling) {
    let (old, new) = (&stack.shards[0].database, &doubling.standbys[0].database);
    old.execute("SELECT realizar_transacao(1, 100, 'c', 'x')").await;
    vacuums(old).await;
    doubling.succeeds("run", "moved. When all is well: `double clean`").await;
    doubling.succeeds("run", "shard 2: serves").await;
    // `set-up` with two shards, or with four of which two still have everything.
    let sql = std::fs::read_to_string(checkout().root.join("deploy/shards/shard.sql")).unwrap();
    let sql = sql.replace(":shards", "2").replace(":'shard'", "'0'").replace(":shard", "0");
    let error = old.owner().await.batch_execute(&sql).await.unwrap_err();
    assert!(error.as_db_error().unwrap().message().contains("the shards are being doubled"), "{error}");
    // A router that nobody named sends a call to the old shard.
    let error = old.owner().await.batch_execute("SELECT realizar_transacao(1, 1, 'c', 'x')").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57P03", "{error}");
    let is_kept = async || {
        let found = line(old, "SELECT count(*) FROM rinha.transacoes WHERE cliente_id = 1").await;
        assert_eq!(found, ["1"], "clean deleted before it had proved");
    };
    doubling
        .is_refused("clean", "shard 0 has refused 1 calls of the moved half: a router that is not in ROUTERS")
        .await;
    is_kept().await;
    doubling.succeeds("run", "shard 2: serves").await;
    // The new shard lost a transaction.
    each(new, &["CREATE TABLE kept AS TABLE rinha.transacoes", "DELETE FROM rinha.transacoes"]).await;
    doubling.is_refused("clean", "shard 2 has fewer rows of rinha.transacoes than have moved").await;
    is_kept().await;
    each(new, &["INSERT INTO rinha.transacoes TABLE kept", "DROP TABLE kept"]).await;
    // A router has the old map again.
    let place = old.place();
    stack.database.execute(&format!("ALTER SERVER galo_shards OPTIONS (SET p2 '{place}')")).await;
    doubling.is_refused("clean", "router 0 has an old map: `double run`").await;
    is_kept().await;
    doubling.succeeds("run", "shard 2: serves").await;
    // The ledger must not be deleted from, which concerns the service.
    let never = "CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''append-only''; END';
                 CREATE TRIGGER never BEFORE DELETE ON rinha.transacoes FOR EACH ROW EXECUTE FUNCTION never()";
    old.execute(never).await;
    let guard = doubling.with("GUARD", "/dev/null");
    guard.is_refused("clean", "/dev/null must mark the database as shard 2 of 4").await;
    doubling.succeeds("clean", "done: 4 shards").await;
    old.execute("DROP FUNCTION never CASCADE").await;
    let after = state(stack, doubling).await;
    doubling.is_refused("back", "nothing is under way").await;
    doubling.succeeds("clean", "done: 4 shards").await;
    doubling.succeeds("run", "shard 2: serves, and has its own half only").await;
    assert_eq!(state(stack, doubling).await, after);
}

/// Has an autovacuum under way on the ledger, for a minute.
async fn vacuums(shard: &Database) {
    let statements = [
        "ALTER TABLE rinha.transacoes SET (autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0,
         autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)",
        "INSERT INTO rinha.transacoes SELECT n, 1, 1, now(), 1, 'c', 'x' FROM generate_series(2, 60001) AS n",
        "DELETE FROM rinha.transacoes WHERE seq > 1",
        "ALTER SYSTEM SET autovacuum_naptime = '1s'",
        "SELECT pg_reload_conf()",
    ];
    each(shard, &statements).await;
    until(shard, "EXISTS (SELECT FROM pg_stat_progress_vacuum WHERE relid = 'rinha.transacoes'::regclass)").await;
}
