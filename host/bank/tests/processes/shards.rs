//! The bank test on two shards behind a router, set up as `deploy/shards` does it: with the faults of one Postgres, and
//! with those of shards.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use galo::develop::build::Profile;
use galo_bank::faults::{self, proved};
use galo_bank::load::Progress;
use galo_bank::plan::Mix;
use galo_bank::shard_faults;
use galo_bank::verdict;
use galo_testing::folder;
use galo_testing::program::{self, checkout};

use crate::cut::Cut;
use crate::postgres::{Database, Durable};
use crate::stack::{Stack, block_on, copy};

/// The clientes of the second shard.
const OF_THE_SECOND: &[i32] = &[3, 4];

/// Answers of the router that are lost.
const CUTS: usize = 40;

/// Answers of a shard that are lost. After each, a node refuses the shard's calls until it has asked for it.
const CUTS_OF_A_SHARD: usize = 10;

/// Ends the sessions of the service.
const LEAVE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'galo'";

/// A part of the clientes.
pub struct Shard {
    pub durable: Durable,
    pub database: Database,
}

/// Handlers with a manifest for so many partitions, in this folder.
pub fn handlers(folder: &Path, partitions: usize) -> PathBuf {
    let (built, handlers) = (folder::handlers(Profile::Release), folder.join("handlers"));
    copy(built, &handlers);
    let mut script = Command::new(checkout().root.join("deploy/shards/manifest"));
    let manifest = File::open(built.join("galo.toml")).unwrap();
    let written = script.arg(partitions.to_string()).stdin(manifest).output().unwrap();
    fs::write(handlers.join("galo.toml"), written.stdout).unwrap();
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

/// Two nodes behind nginx, a router and two shards, each of which can be killed.
async fn stack() -> Stack {
    with_partitions(2).await
}

/// The same with so many partitions on the two shards.
pub async fn with_partitions(partitions: usize) -> Stack {
    let sql = fs::read_to_string(checkout().root.join("deploy/shards/shard.sql")).unwrap();
    let mut shards = Vec::new();
    for number in 0..2 {
        let (durable, database) = Durable::start().await;
        let sql = sql.replace(":shards", "2").replace(":'shard'", &format!("'{number}'"));
        database.execute(&sql.replace(":shard", &number.to_string())).await;
        shards.push(Shard { durable, database });
    }
    Stack::sharded(Durable::empty().await, shards, partitions).await
}

pub fn nothing_but_swaps() {
    block_on(async { faults::nothing_but_swaps(&mut stack().await).await.unwrap() });
}

pub fn a_node_is_killed_again_and_again() {
    block_on(async { faults::a_node_is_killed_again_and_again(&mut stack().await).await.unwrap() });
}

pub fn both_nodes_are_restarted_in_turn() {
    block_on(async { faults::both_nodes_are_restarted_in_turn(&mut stack().await).await.unwrap() });
}

pub fn a_node_hangs() {
    block_on(async { faults::a_node_hangs(&mut stack().await).await.unwrap() });
}

pub fn nginx_is_reloaded() {
    block_on(async { faults::nginx_is_reloaded(&mut stack().await).await.unwrap() });
}

pub fn clients_leave_right_after_sending() {
    block_on(async { faults::clients_leave_right_after_sending(&mut stack().await).await.unwrap() });
}

pub fn a_shard_is_killed() {
    block_on(async { shard_faults::a_shard_is_killed(&mut stack().await, 1, OF_THE_SECOND).await.unwrap() });
}

pub fn a_shard_hangs() {
    block_on(async { shard_faults::a_shard_hangs(&mut stack().await, 1, OF_THE_SECOND).await.unwrap() });
}

pub fn a_router_is_killed() {
    block_on(async { faults::postgres_is_killed(&mut stack().await).await.unwrap() });
}

/// Between the nodes and the router.
pub fn answers_of_the_router_are_cut_off() {
    block_on(async {
        let mut stack = stack().await;
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
        let mut stack = stack().await;
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
