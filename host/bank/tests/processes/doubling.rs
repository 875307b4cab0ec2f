//! Two shards become four under load, with `deploy/shards/double`: nothing is lost or done twice, and each cliente ends
//! on the shard that its id decides.

use std::process::{Output, Stdio};
use std::time::Duration;

use galo_bank::faults::{Stack as _, proved};
use galo_bank::load::Progress;
use galo_bank::plan::Mix;
use galo_bank::source::Source;
use galo_bank::verdict;
use galo_testing::program::{self, checkout};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::shards::{self, Shard};
use crate::stack::{Stack, block_on};

/// Of two shards, and of four.
const PARTITIONS: usize = 4;

/// The clientes that move: to shard 2 and to shard 3. The others stay on their shards.
const MOVING: [&[i32]; 2] = [&[1, 2], &[3, 4]];

/// How long they may be refused.
const REFUSED_MAX: Duration = Duration::from_secs(5);

/// Acknowledged between two steps.
const BETWEEN: u64 = 50;

/// What the script prints when it begins or has done a step of the first shard.
const STEPS: [&str; 5] =
    ["shard 0: fence", "shard 0: replay", "shard 0: 1 routers have", "shard 0: promoted", "shard 2: serves"];

/// The script, and the standbys that it makes shards.
struct Doubling {
    standbys: Vec<Shard>,
    environment: Vec<(&'static str, String)>,
}

impl Doubling {
    async fn prepare(stack: &Stack) -> Self {
        let mut standbys = Vec::new();
        for (number, Shard { durable, database }) in stack.shards.iter().enumerate() {
            let (durable, database) = durable.standby(database, stack.shards.len() + number).await;
            standbys.push(Shard { durable, database });
        }
        let lines = |of: &[Shard], line: fn(&Shard) -> String| of.iter().map(line).collect::<Vec<_>>().join("\n");
        let environment = vec![
            ("SHARDS", lines(&stack.shards, |shard| shard.database.owner_url())),
            ("STANDBYS", lines(&standbys, |shard| shard.database.owner_url())),
            ("STANDBYS_VIA", lines(&standbys, |shard| shard.database.place())),
            ("ROUTERS", stack.database.owner_url()),
        ];
        Self { standbys, environment }
    }

    async fn output(&self, command: &str) -> (bool, String) {
        let Output { status, stdout, stderr } = run(command, &self.environment).output().await.unwrap();
        let text = String::from_utf8([stdout, stderr].concat()).unwrap();
        println!("double {command}:\n{text}");
        (status.success(), text)
    }

    /// It is refused when a variable is like this.
    async fn is_refused_with(&self, name: &'static str, value: &str, expected: &str) {
        let mut environment = self.environment.clone();
        environment.retain(|(its, _)| *its != name);
        environment.push((name, value.to_owned()));
        let output = run("plan", &environment).output().await.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(expected), "{name}={value}: {text}");
    }

    /// Its variable, with the lines exchanged.
    fn exchanged(&self, name: &str) -> String {
        let (_, value) = self.environment.iter().find(|(its, _)| *its == name).unwrap();
        value.lines().rev().collect::<Vec<_>>().join("\n")
    }

    async fn succeeds(&self, command: &str, expected: &str) {
        let (succeeded, text) = self.output(command).await;
        assert!(succeeded && text.contains(expected), "double {command}: {text}");
    }

    async fn is_refused(&self, command: &str, expected: &str) {
        let (succeeded, text) = self.output(command).await;
        assert!(!succeeded && text.contains(expected), "double {command}: {text}");
    }

    /// Runs it, and kills it as soon as it prints this.
    async fn is_killed(&self, command: &str, at: &str) {
        let mut script = run(command, &self.environment).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        loop {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("`double {command}` never printed `{at}`"));
            if line.starts_with(at) {
                break;
            }
        }
        script.kill().await.unwrap();
        println!("double {command}: killed at `{at}`");
    }

    /// The standbys are shards of the stack now.
    fn end(self, stack: &mut Stack) {
        stack.shards.extend(self.standbys);
    }
}

/// The script with these variables.
fn run(command: &str, environment: &[(&'static str, String)]) -> Command {
    let mut script = Command::new(checkout().root.join("deploy/shards/double"));
    script.arg(command);
    for (name, value) in environment {
        script.env(name, value);
    }
    script
}

/// Each cliente is on one shard, the right one, with a ledger that holds; the router's stubs, made anew, are the same.
async fn prove(stack: &Stack) {
    let Source::Shards(urls) = stack.source() else { panic!("no shards") };
    let mut check = program::command();
    check.args(["check", "--sql"]).arg(checkout().root.join("sql/check"));
    for url in &urls {
        check.arg("--shard").arg(url);
    }
    let output = check.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && text.contains("5 keys"), "{text}");
    let options = "SELECT string_agg(srvoptions::text, ' ' ORDER BY srvname) FROM pg_foreign_server";
    let router = Source::Url(stack.database.owner_url());
    let before = router.lines(options).await.unwrap();
    let places: Vec<_> = stack.shards.iter().map(|shard| shard.database.place()).collect();
    // Those of the stack also have the handler that works on the router.
    let folder = tempfile::tempdir().unwrap();
    let handlers = shards::handlers(folder.path(), PARTITIONS);
    stack.database.execute(&shards::stubs(&handlers, &stack.shards[0].database, &places)).await;
    assert_eq!(router.lines(options).await.unwrap(), before);
}

pub fn under_load() {
    block_on(async {
        let mut stack = shards::with_partitions(PARTITIONS).await;
        let double = async |stack: &mut Stack, progress: &Progress| {
            let doubling = Doubling::prepare(stack).await;
            doubling.succeeds("plan", "shard 1: ready; partitions that are 3 modulo 4 go to").await;
            doubling.is_refused("clean", "router 0 has an old map").await;
            for (name, value, expected) in [
                ("SHARDS", stack.shards[0].database.owner_url(), "1 shards need 1 standbys, and STANDBYS has 2 lines"),
                ("STANDBYS", doubling.exchanged("STANDBYS"), "is of another cluster: are lines exchanged?"),
                ("SHARDS", doubling.exchanged("SHARDS"), "line 1 of SHARDS is shard '1', and should be 0"),
                ("STANDBYS_VIA", doubling.exchanged("STANDBYS_VIA"), "reaches another Postgres at"),
                ("TABLES", "rinha.clientes:id".to_owned(), "rinha.transacoes is in neither TABLES nor WHOLE"),
                (
                    "TABLES",
                    "rinha.clientes:ids rinha.transacoes:cliente_id".to_owned(),
                    "`rinha.clientes:ids` names no column",
                ),
            ] {
                doubling.is_refused_with(name, &value, expected).await;
            }
            progress.until(BETWEEN).await?;
            doubling.succeeds("run", "moved. When all is well: `double clean`").await;
            progress.until(BETWEEN).await?;
            doubling.is_refused("back", "nothing is under way").await;
            doubling.succeeds("clean", "done: 4 shards").await;
            doubling.end(stack);
            Ok(())
        };
        let history = proved(&mut stack, Mix::default(), double).await.unwrap();
        verdict::moved(&history, &MOVING, REFUSED_MAX).unwrap();
        prove(&stack).await;
    });
}

/// At each step, and once more after a standby did not follow.
pub fn by_a_script_that_is_killed() {
    block_on(async {
        let mut stack = shards::with_partitions(PARTITIONS).await;
        let double = async |stack: &mut Stack, progress: &Progress| {
            let doubling = Doubling::prepare(stack).await;
            for step in STEPS {
                doubling.is_killed("run", step).await;
                progress.until(BETWEEN).await?;
            }
            // The standby of shard 1 gets no fence: the move is taken back, by hand and by itself.
            let standby = &doubling.standbys[1].database;
            standby.execute("SELECT pg_wal_replay_pause()").await;
            doubling.is_killed("run", "shard 1: replay").await;
            doubling.succeeds("back", "shard 1: serves both halves again").await;
            progress.until(BETWEEN).await?;
            doubling.is_refused("run", "shard 1: the move was not completed, and is taken back").await;
            standby.execute("SELECT pg_wal_replay_resume()").await;
            progress.until(BETWEEN).await?;
            doubling.succeeds("run", "shard 3: serves").await;
            progress.until(BETWEEN).await?;
            doubling.is_killed("clean", "shard 0: has its own half only").await;
            doubling.succeeds("clean", "done: 4 shards").await;
            doubling.end(stack);
            Ok(())
        };
        let history = proved(&mut stack, Mix::default(), double).await.unwrap();
        verdict::moved(&history, &MOVING, Duration::MAX).unwrap();
        prove(&stack).await;
    });
}
