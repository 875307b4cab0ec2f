//! The bank test on two shards behind a router, set up as `deploy/shards` does it: with the faults of one Postgres, and
//! with those of shards.

use std::fs;
use std::path::{Path, PathBuf};

use galo::develop::build::Profile;
use galo_bank::faults::{self, proved};
use galo_bank::load::Progress;
use galo_bank::plan::Mix;
use galo_bank::shard_faults;
use galo_bank::verdict;
use galo_testing::folder;
use galo_testing::program::{self, checkout};
use galo_testing::shards as testing;

use crate::cut::Cut;
use crate::postgres::{Database, Durable};
use crate::stack::{Stack, block_on};

/// The clientes of the second shard.
const OF_THE_SECOND: &[i32] = &[3, 4];

/// How many there are.
const SHARDS: usize = 2;

/// Answers of the router that are lost.
const CUTS: usize = 40;

/// Answers of a shard that are lost. After each, a node refuses the shard's calls until it has asked for it.
const CUTS_OF_A_SHARD: usize = 10;

/// Ends the sessions of the service.
const LEAVE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE usename = 'galo' AND datname = current_database()";

/// A part of the clientes.
pub struct Shard {
    /// None on the shared cluster.
    durable: Option<Durable>,
    pub database: Database,
}

impl Shard {
    /// On a cluster of its own.
    pub fn durable((durable, database): (Durable, Database)) -> Self {
        Self { durable: Some(durable), database }
    }

    /// Its cluster.
    pub fn cluster(&mut self) -> &mut Durable {
        self.durable.as_mut().expect("the shared cluster is neither killed nor stopped")
    }

    /// A streaming standby of it, for this new shard.
    pub async fn standby(&self, shard: usize) -> Self {
        let durable = self.durable.as_ref().expect("the shared cluster has no standby");
        Self::durable(durable.standby(&self.database, shard).await)
    }

    /// Starts its cluster again.
    pub async fn restart(&mut self) {
        let Self { durable, database } = self;
        durable.as_mut().expect("the shared cluster is not killed").restart(database).await;
    }
}

/// Handlers with a manifest for so many partitions, in this folder.
pub fn handlers(folder: &Path, partitions: usize) -> PathBuf {
    let handlers = folder.join("handlers");
    testing::handlers(&checkout(), folder::handlers(Profile::Release), &handlers, partitions).unwrap();
    handlers
}

/// Admits the procedure of the handler without a key, which works on the router itself.
pub fn admit(handlers: &Path, procedure: &str) {
    let manifest = handlers.join("galo.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let by = "by = \"cliente_id\"\n";
    fs::write(&manifest, text.replacen(by, &format!("{by}any = [\"{procedure}\"]\n"), 1)).unwrap();
}

/// The SQL of a router in front of shards at these places.
pub fn stubs(handlers: &Path, shard: &Database, places: &[String]) -> String {
    let mut command = program::command();
    command.args(["shards", "stubs", "--handlers"]).arg(handlers).args(places).env("DATABASE_URL", shard.owner_url());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Two nodes behind nginx, a router and two shards: databases of the shared cluster.
async fn shared() -> Stack {
    let shard = async |number| {
        let database = Database::shared().await;
        database.execute(&testing::part(&checkout(), number, SHARDS).unwrap()).await;
        Shard { durable: None, database }
    };
    let shards = vec![shard(0).await, shard(1).await];
    Stack::sharded((None, Database::shared_empty().await), shards, SHARDS).await
}

/// The same on clusters of their own, which can be killed.
async fn durable() -> Stack {
    with_partitions(SHARDS).await
}

/// The same with so many partitions on the two shards.
pub async fn with_partitions(partitions: usize) -> Stack {
    let shard = async |number| {
        let shard = Shard::durable(Durable::start().await);
        shard.database.execute(&testing::part(&checkout(), number, SHARDS).unwrap()).await;
        shard
    };
    let (router, first, second) = tokio::join!(Durable::empty(), shard(0), shard(1));
    let (durable, database) = router;
    Stack::sharded((Some(durable), database), vec![first, second], partitions).await
}

pub fn nothing_but_swaps() {
    block_on(async { faults::nothing_but_swaps(&mut shared().await).await.unwrap() });
}

pub fn a_node_is_killed_again_and_again() {
    block_on(async { faults::a_node_is_killed_again_and_again(&mut shared().await).await.unwrap() });
}

pub fn both_nodes_are_restarted_in_turn() {
    block_on(async { faults::both_nodes_are_restarted_in_turn(&mut shared().await).await.unwrap() });
}

pub fn a_node_hangs() {
    block_on(async { faults::a_node_hangs(&mut shared().await).await.unwrap() });
}

pub fn nginx_is_reloaded() {
    block_on(async { faults::nginx_is_reloaded(&mut shared().await).await.unwrap() });
}

pub fn clients_leave_right_after_sending() {
    block_on(async { faults::clients_leave_right_after_sending(&mut shared().await).await.unwrap() });
}

pub fn a_shard_is_killed() {
    block_on(async { shard_faults::a_shard_is_killed(&mut durable().await, 1, OF_THE_SECOND).await.unwrap() });
}

pub fn a_shard_hangs() {
    block_on(async { shard_faults::a_shard_hangs(&mut durable().await, 1, OF_THE_SECOND).await.unwrap() });
}

pub fn a_router_is_killed() {
    block_on(async { faults::postgres_is_killed(&mut durable().await).await.unwrap() });
}

/// Between the nodes and the router.
pub fn answers_of_the_router_are_cut_off() {
    block_on(async {
        let mut stack = shared().await;
        let cut = Cut::start(&stack.database.door(), &stack.database.socket(), 1);
        // The nodes come by the door again.
        stack.database.execute(LEAVE).await;
        let fault = async |_: &mut Stack, _: &Progress| {
            cut.answers(CUTS).await;
            Ok(())
        };
        verdict::refusals_only(&proved(&mut stack, Mix::default(), fault).await.unwrap()).unwrap();
    });
}

/// Between the router and a shard: whether a batch is recorded there is what the router cannot know.
pub fn answers_of_a_shard_are_cut_off() {
    block_on(async {
        let mut stack = shared().await;
        let shard = &stack.shards[1].database;
        let cut = Cut::behind_a_router(&shard.door(), &shard.socket(), 1);
        // The router comes by the door again.
        shard.execute(LEAVE).await;
        let fault = async |_: &mut Stack, _: &Progress| {
            cut.answers(CUTS_OF_A_SHARD).await;
            Ok(())
        };
        verdict::refusals_only(&proved(&mut stack, Mix::default(), fault).await.unwrap()).unwrap();
    });
}
