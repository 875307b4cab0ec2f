//! Two shards become four under load, with `deploy/shards/double`: nothing is lost or done twice, and each cliente ends
//! on the shard that its id decides.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use galo_bank::faults::{Stack as _, proved};
use galo_bank::load::Progress;
use galo_bank::plan::Mix;
use galo_bank::source::Source;
use galo_bank::verdict;
use galo_testing::program::{self, checkout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::shards::{self, Shard};
use crate::stack::{Stack, block_on};

/// Of two shards, and of four.
pub const PARTITIONS: usize = 4;

/// The clientes that move: to shard 2 and to shard 3. The others stay on their shards.
const MOVING: [&[i32]; 2] = [&[1, 2], &[3, 4]];

/// How long they may be refused. On a busy machine, three times as long as the script takes to look at everything.
const REFUSED_MAX: Duration = Duration::from_secs(5);

/// Acknowledged between two steps.
const BETWEEN: u64 = 50;

/// What the script prints when it begins or has done a step of the first shard.
const STEPS: [&str; 5] =
    ["shard 0: fence", "shard 0: replay", "shard 0: 1 routers have", "shard 0: promoted", "shard 2: serves"];

/// The script, and the standbys that it makes shards.
pub struct Doubling {
    pub standbys: Vec<Shard>,
    environment: Vec<(&'static str, String)>,
}

impl Doubling {
    pub async fn prepare(stack: &Stack) -> Self {
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
            // A busy machine is not a reason to take a move back.
            ("FENCE_MS", "60000".to_owned()),
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
    pub async fn is_refused_with(&self, command: &str, name: &'static str, value: &str, expected: &str) {
        self.with(name, value).is_refused(command, expected).await;
    }

    /// The same with another value of a variable, and without the standbys.
    pub fn with(&self, name: &'static str, value: &str) -> Self {
        let mut environment = self.environment.clone();
        environment.retain(|(its, _)| *its != name);
        environment.push((name, value.to_owned()));
        Self { standbys: Vec::new(), environment }
    }

    pub fn value(&self, name: &str) -> &str {
        &self.environment.iter().find(|(its, _)| *its == name).unwrap().1
    }

    /// Its variable, with the lines exchanged.
    pub fn exchanged(&self, name: &str) -> String {
        self.value(name).lines().rev().collect::<Vec<_>>().join("\n")
    }

    pub async fn succeeds(&self, command: &str, expected: &str) {
        let (succeeded, text) = self.output(command).await;
        assert!(succeeded && text.contains(expected), "double {command}: {text}");
    }

    pub async fn is_refused(&self, command: &str, expected: &str) {
        let (succeeded, text) = self.output(command).await;
        assert!(!succeeded && text.contains(expected), "double {command}, not `{expected}`: {text}");
    }

    /// Starts it, and returns as soon as it prints this.
    pub async fn until(&self, command: &str, at: &str) -> Running {
        let mut script = run(command, &self.environment);
        let mut script = script.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let mut running = Running { script, lines };
        running.until(at).await;
        running
    }

    /// Runs it, and kills it as soon as it prints this.
    async fn is_killed(&self, command: &str, at: &str) {
        let mut running = self.until(command, at).await;
        running.script.kill().await.unwrap();
        println!("double {command}: killed at `{at}`");
    }

    /// The standbys are shards of the stack now.
    fn end(self, stack: &mut Stack) {
        stack.shards.extend(self.standbys);
    }
}

/// The script under way.
pub struct Running {
    script: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Waits until it prints this.
    async fn until(&mut self, at: &str) {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            if line.starts_with(at) {
                return;
            }
        }
        let mut why = String::new();
        self.script.stderr.take().unwrap().read_to_string(&mut why).await.unwrap();
        panic!("it never printed `{at}`: {why}");
    }

    /// Waits until it has failed with this message.
    pub async fn fails(self, expected: &str) {
        let Output { status, stderr, .. } = self.script.wait_with_output().await.unwrap();
        let text = String::from_utf8(stderr).unwrap();
        println!("{text}");
        assert!(!status.success() && text.contains(expected), "not `{expected}`: {text}");
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
pub async fn prove(stack: &Stack) {
    let Source::Shards(urls) = stack.source() else { panic!("no shards") };
    let mut check = program::command();
    check.args(["check", "--sql"]).arg(checkout().root.join("sql/check"));
    for url in &urls {
        check.arg("--shard").arg(url);
    }
    let output = check.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && text.contains("5 keys"), "{text}");
    let options = "SELECT srvname, o FROM pg_foreign_server, unnest(srvoptions) AS o ORDER BY 1, 2";
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
        let mut most = REFUSED_MAX;
        let double = async |stack: &mut Stack, progress: &Progress| {
            let doubling = Doubling::prepare(stack).await;
            let begun = Instant::now();
            doubling.succeeds("plan", "shard 1: ready; partitions that are 3 modulo 4 go to").await;
            most = most.max(begun.elapsed() * 3);
            doubling.is_refused("clean", "shard 0 has not been moved: `double run`").await;
            progress.until(BETWEEN).await?;
            doubling.succeeds("run", "moved. When all is well: `double clean`").await;
            progress.until(BETWEEN).await?;
            doubling.is_refused("back", "nothing is under way").await;
            doubling.succeeds("clean", "done: 4 shards").await;
            doubling.end(stack);
            Ok(())
        };
        let history = proved(&mut stack, Mix::default(), double).await.unwrap();
        verdict::moved(&history, &MOVING, most).unwrap();
        prove(&stack).await;
    });
}

/// At each step, and once more after a standby did not follow.
pub fn by_a_script_that_is_killed() {
    block_on(async {
        let mut stack = shards::with_partitions(PARTITIONS).await;
        let double = async |stack: &mut Stack, progress: &Progress| {
            let doubling = Doubling::prepare(stack).await;
            // Between two steps the load goes on, and a half is refused: its clients try again and again.
            for step in STEPS {
                doubling.is_killed("run", step).await;
            }
            progress.until(BETWEEN).await?;
            // The standby of shard 1 gets no fence: the move is taken back, by hand, by itself, and after Ctrl-C.
            let standby = &doubling.standbys[1].database;
            standby.execute("SELECT pg_wal_replay_pause()").await;
            doubling.is_killed("run", "shard 1: replay").await;
            doubling.succeeds("back", "shard 1: serves both halves again").await;
            progress.until(BETWEEN).await?;
            let taken_back = "shard 1: the move was not completed, and is taken back";
            doubling.is_refused_with("run", "FENCE_MS", "1000", taken_back).await;
            progress.until(BETWEEN).await?;
            let running = doubling.until("run", "shard 1: replay").await;
            kill(Pid::from_raw(running.script.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
            running.fails(taken_back).await;
            doubling.is_refused("back", "nothing is under way").await;
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

/// One dies between its promotion and the commit, when nobody knows whether it serves; the other one is not promoted.
pub fn although_standbys_fail() {
    block_on(async {
        let mut stack = shards::with_partitions(PARTITIONS).await;
        let double = async |stack: &mut Stack, progress: &Progress| {
            let mut doubling = Doubling::prepare(stack).await;
            // The script waits for this lock when it has promoted.
            let shard = stack.shards[0].database.owner().await;
            let mut running = doubling.until("run", "shard 0: replay").await;
            shard.batch_execute("BEGIN; LOCK TABLE galo_shard.doubling IN EXCLUSIVE MODE").await?;
            running.until("shard 0: promoted").await;
            doubling.standbys[0].durable.kill();
            shard.batch_execute("COMMIT").await?;
            running.fails("shard 2 may serve already: try again when it can be asked").await;
            doubling.is_refused("run", "standby 0 cannot be asked").await;
            doubling.is_refused("back", "shard 2 may serve already: try again when it can be asked").await;
            // Another one would not have what the first may have acknowledged.
            let Shard { durable, database } = &stack.shards[0];
            let other = durable.standby(database, stack.shards.len()).await;
            let second = doubling.value("STANDBYS").lines().nth(1).unwrap();
            let replaced = doubling.with("STANDBYS", &format!("{}\n{second}", other.1.owner_url()));
            replaced.is_refused("run", "shard 2 may serve already, and line 1 of STANDBYS is another Postgres").await;
            replaced.is_refused("back", "shard 2 may serve already: try again when it can be asked").await;
            other.1.execute("SELECT pg_promote()").await;
            replaced.is_refused("run", "shard 2 may serve already, and line 1 of STANDBYS is another Postgres").await;
            replaced.is_refused("back", "shard 2 may serve already, and line 1 of STANDBYS is another Postgres").await;
            drop(other);
            let Shard { durable, database } = &mut doubling.standbys[0];
            durable.restart(database).await;
            // That of shard 1 cannot write the file by which it is promoted.
            let data = doubling.standbys[1].durable.data();
            fs::set_permissions(&data, Permissions::from_mode(0o500)).unwrap();
            doubling.is_refused("run", "the standby of shard 1 was not promoted").await;
            progress.until(BETWEEN).await?;
            doubling.is_refused("clean", "shard 1 has not been moved: `double run`").await;
            doubling.is_refused("back", "nothing is under way").await;
            fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
            // A dead one does not keep its shard from serving both halves.
            doubling.is_killed("run", "shard 1: replay").await;
            doubling.standbys[1].durable.kill();
            doubling.succeeds("back", "shard 1: serves both halves again").await;
            progress.until(BETWEEN).await?;
            let Shard { durable, database } = &mut doubling.standbys[1];
            durable.restart(database).await;
            doubling.succeeds("plan", "shard 0: moved").await;
            doubling.succeeds("run", "shard 3: serves").await;
            progress.until(BETWEEN).await?;
            doubling.succeeds("clean", "done: 4 shards").await;
            doubling.end(stack);
            Ok(())
        };
        let history = proved(&mut stack, Mix::default(), double).await.unwrap();
        verdict::moved(&history, &MOVING, Duration::MAX).unwrap();
        prove(&stack).await;
    });
}
