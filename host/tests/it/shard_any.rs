//! Calls that any shard can answer, because they only read what each of them has: a shard that is down costs none.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use galo::config::Secret;
use galo::contract::Value;
use galo::database::{self, Database, GrantedProcedure, Partition, Procedure, Router, Target};
use galo::develop::postgres::SUPERUSER;
use galo::metrics::Metrics;
use galo_testing::database::{DATABASE, SERVICE_ROLE};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::harness::connect;
use crate::postgres::OwnPostgres;

/// Two shards with a function that returns their number, and the pool of a node on their router.
struct Readers {
    shards: [OwnPostgres; 2],
    _router: OwnPostgres,
    pool: Arc<Database>,
    which: Arc<Procedure>,
}

impl Readers {
    /// `alter` changes the stubs.
    async fn start(alter: impl FnOnce(String) -> String) -> Self {
        let shards = [OwnPostgres::start().await, OwnPostgres::start().await];
        for (number, shard) in shards.iter().enumerate() {
            let sql = format!(
                "CREATE FUNCTION which() RETURNS integer LANGUAGE sql STABLE AS 'SELECT {number}';
                 GRANT EXECUTE ON FUNCTION which TO {SERVICE_ROLE}"
            );
            connect(&shard.url(SUPERUSER, DATABASE)).await.batch_execute(&sql).await.unwrap();
        }
        let granted = GrantedProcedure { partition: Some(Partition::Any), ..GrantedProcedure::plain("which") };
        let places = shards.iter().map(|shard| format!("host={} dbname={DATABASE}", shard.host())).collect();
        let router = Router { role: SERVICE_ROLE.to_owned(), partitions: 2, shards: places };
        let owner = shards[0].target(SUPERUSER, DATABASE);
        let stubs = database::stubs(&owner, &router, std::slice::from_ref(&granted)).await.unwrap();
        let (stubs, router) = (alter(stubs), OwnPostgres::empty().await);
        connect(&router.url(SUPERUSER, DATABASE)).await.batch_execute(&stubs).await.unwrap();
        let (metrics, target) =
            (Metrics::new(), Target::parse(&Secret::new(router.url(SERVICE_ROLE, DATABASE))).unwrap());
        let pool = Arc::new(Database::new(&target, 8, &metrics));
        pool.lead_to_shards(2, &metrics).await.unwrap();
        let which = Arc::new(pool.describe(&granted).await.map_err(|unusable| unusable.to_string()).unwrap());
        pool.start(vec![Arc::clone(&which)]).await.unwrap();
        tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.look_after().await }
        });
        tokio::spawn(Arc::clone(&pool).watch_shards());
        Self { shards, _router: router, pool, which }
    }

    /// The shard that answered, or why none did.
    async fn read(&self) -> Result<i64, String> {
        match self.pool.call(&self.which, Vec::new()).await {
            Ok(rows) => match rows.values.as_slice() {
                [Value::Integer(number)] => Ok(*number),
                other => Err(format!("{other:?}")),
            },
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// Reads, some at once, until this shard has answered.
    async fn until(&self, number: i64) {
        let begun = Instant::now();
        loop {
            let answers = join_all((0..6).map(|_| self.read())).await;
            if answers.contains(&Ok(number)) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "no answer of shard {number}: {answers:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_killed_costs_no_call_that_any_shard_can_answer() {
    // Given two shards that answer in turn, when either is killed, then the other one answers all calls; when it is
    // back, then it answers in turn again.
    let mut readers = Readers::start(|stubs| stubs).await;
    for (killed, other) in [(1, 0), (0, 1)] {
        readers.until(0).await;
        readers.until(1).await;
        readers.shards[killed].signal(Signal::SIGKILL);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(2500) {
            let answers = join_all((0..6).map(|_| readers.read())).await;
            assert_eq!(answers, vec![Ok(other); 6]);
            sleep(Duration::from_millis(5)).await;
        }
        readers.shards[killed].stop();
        readers.shards[killed].start_again();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stubs_that_let_no_node_choose_are_served_as_before() {
    // Given stubs of an earlier version, when calls are made that any shard can answer, then the router chooses.
    let former = |stubs: String| {
        let stubs = stubs.replace("RUN ON galo_shards.chosen();", "RUN ON ANY;");
        stubs.replace("COMMIT;", "DROP FUNCTION galo_shards.choose, galo_shards.chosen; COMMIT;")
    };
    let readers = Readers::start(former).await;
    readers.until(0).await;
    readers.until(1).await;
}
