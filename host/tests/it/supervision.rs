//! What a node survives: a log that nobody reads, and tasks of its own that end.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader};
use std::process::{Child, Stdio};
use std::time::Instant;

use galo::drain::Outcome;
use galo::limits;
use galo::serve::{self, Signals};
use http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cli::Program;
use crate::fixture::{Guest, answers, calling, marked};
use crate::harness::{Guests, PATIENCE, TestDatabase, TestNode, engine, galo, request, settings, until};

/// A `galo serve` whose stderr the test may leave unread.
struct Muted {
    child: Child,
    listen: String,
    admin: String,
}

impl Muted {
    fn start(database: &TestDatabase, guests: &Guests, stderr: impl Into<Stdio>) -> Self {
        // Its addresses cannot be read from a log that nobody reads.
        let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let (listen, admin) = (port(), port());
        let mut command = galo();
        command.args(["serve", "--listen", &listen, "--admin", &admin, "--handlers"]).arg(guests.folder.path());
        command.env("DATABASE_URL", database.service_url()).stdin(Stdio::null()).stderr(stderr);
        // A line for each request that fails, also for repeated ones.
        command.env("GALO_LOG", "debug");
        Self { child: command.spawn().unwrap(), listen, admin }
    }

    /// Makes it log a line for each of this many requests.
    async fn logs_lines(&self, requests: usize) {
        for _ in 0..requests {
            let body = vec![b'x'; limits::BODY_BYTES_DEFAULT + 1];
            assert_eq!(request(&self.listen, Method::GET, "/traps", body).await.status, 413);
        }
    }

    async fn get(&self, path: &str) -> u16 {
        request(&self.listen, Method::GET, path, "").await.status.as_u16()
    }

    async fn admin(&self, path: &str) -> (u16, String) {
        let answer = request(&self.admin, Method::GET, path, "").await;
        (answer.status.as_u16(), answer.text().to_owned())
    }

    async fn until(&self, what: &str, path: &str, holds: impl Fn(u16, &str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // It may not listen yet.
            if tokio::net::TcpStream::connect(&self.admin).await.is_ok() {
                let (status, text) = self.admin(path).await;
                if holds(status, &text) {
                    return;
                }
                assert!(Instant::now() < deadline, "still not: {what}\n{text}");
            }
            assert!(Instant::now() < deadline, "still not: {what}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn until_ready(&self) {
        self.until("it is ready", "/ready", |status, _| status == 200).await;
    }

    /// Checks that its caretaker and its reloader work, each with lines in the log.
    async fn keeps_itself(&self, database: &TestDatabase, guests: &Guests) {
        guests.put("x", b"garbage");
        self.until("garbage is refused", "/handlers", |_, text| text.contains("not a valid component")).await;
        guests.put("x", &answers(201));
        self.until("it is swapped", "/handlers", |_, text| text.contains("\"generation\": 2")).await;
        assert_eq!(self.get("/x").await, 201);
        assert!(database.kill_connections().await > 0);
        // Its caretaker notices, and restores the pool.
        let deadline = Instant::now() + PATIENCE;
        while self.get("/calls").await != 200 {
            assert!(Instant::now() < deadline, "no call succeeds");
        }
        self.until("it is ready", "/ready", |status, _| status == 200).await;
        assert_eq!(self.admin("/live").await.0, 200);
    }

    fn end(mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        let begun = Instant::now();
        assert!(self.child.wait().unwrap().success());
        assert!(begun.elapsed() < PATIENCE);
    }
}

impl Drop for Muted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn with_guests() -> (TestDatabase, Guests) {
    let database = TestDatabase::new().await;
    database.execute("CREATE FUNCTION um() RETURNS int LANGUAGE sql AS 'SELECT 1'").await;
    let guests = Guests::new().add("x", &answers(200), "").add("calls", &calling("um"), "procedures = [\"um\"]\n").add(
        "traps",
        &Guest::default().component(),
        "",
    );
    (database, guests)
}

/// A node with these guests that is ready, and the other end of its stderr.
async fn with_pipe() -> (TestDatabase, Guests, Muted, PipeReader) {
    let (database, guests) = with_guests().await;
    let (reader, writer) = std::io::pipe().unwrap();
    let node = Muted::start(&database, &guests, writer);
    node.until_ready().await;
    (database, guests, node, reader)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_stderr_was_closed_goes_on() {
    let (database, guests) = with_guests().await;
    let (reader, writer) = std::io::pipe().unwrap();
    let node = Muted::start(&database, &guests, writer);
    // `galo serve 2>&1 | head -1`
    let mut first = String::new();
    BufReader::new(reader).read_line(&mut first).unwrap();
    node.until_ready().await;
    node.keeps_itself(&database, &guests).await;
    node.until("the lines are counted", "/metrics", |_, text| counted(text) > 0).await;
    node.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_has_no_room_goes_on() {
    let (database, guests) = with_guests().await;
    let node = Muted::start(&database, &guests, File::options().write(true).open("/dev/full").unwrap());
    node.until_ready().await;
    node.keeps_itself(&database, &guests).await;
    node.until("the lines are counted", "/metrics", |_, text| counted(text) > 0).await;
    node.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_is_not_read_goes_on_and_later_logs_what_was_lost() {
    let (database, guests, node, reader) = with_pipe().await;
    // Until the pipe and the queue are full.
    while counted(&node.admin("/metrics").await.1) == 0 {
        node.logs_lines(500).await;
    }
    node.keeps_itself(&database, &guests).await;
    // Once stderr is read again, the log reports the dropped lines.
    let lost = tokio::task::spawn_blocking(|| lines(reader).find(|line| line.contains("log lines were dropped")));
    assert!(lost.await.unwrap().is_some());
    node.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_is_not_read_ends_in_time() {
    let (_database, _guests, node, reader) = with_pipe().await;
    // More than a pipe holds.
    node.logs_lines(2000).await;
    node.end();
    drop(reader);
}

fn lines(reader: PipeReader) -> impl Iterator<Item = String> {
    BufReader::new(reader).lines().map_while(Result::ok)
}

/// Log lines that a node has dropped, according to its metrics.
fn counted(metrics: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix("galo_log_lines_dropped_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_reader_has_gone_ends_as_it_would() {
    let (database, guests) = with_guests().await;
    let node = TestNode::guests(&database, &guests).await;
    let gone = || std::io::pipe().unwrap().1;
    let admin = node.admin_address();
    let check = ["check", guests.folder.path().to_str().unwrap()];
    for (arguments, success) in [
        (&["handlers", "--admin", &admin][..], true),
        (&["handlers", "--json", "--admin", &admin], true),
        (&["rollback", "x", "-m", "a test", "--admin", &admin], false),
        (&check, true),
        (&["serve", "--listen", "nowhere"], false),
    ] {
        let mut command = galo();
        command.args(arguments).env("DATABASE_URL", database.service_url());
        let status = tokio::task::spawn_blocking(move || {
            command.stdin(Stdio::null()).stdout(gone()).stderr(gone()).status().unwrap()
        });
        let status = status.await.unwrap();
        assert_eq!(status.code(), Some(i32::from(!success)), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vital_task_that_ends_makes_the_node_not_live_and_end() {
    let (database, guests) = with_guests().await;
    for task in ["listener", "admin listener"] {
        let (settings, target) = (settings(guests.folder.path()), database.target());
        let mut signals = Signals::of_a_node().unwrap();
        let kill = |running: &serve::Running| running.supervisor.cancel(task);
        let ended = serve::serve(&settings, &target, engine(), &mut signals, kill).await;
        let message = ended.unwrap_err().to_string();
        assert_eq!(message, format!("the task `{task}` was cancelled, and the node cannot do without it"));
    }
    let node = TestNode::guests(&database, &guests).await;
    assert_eq!(node.admin("/live").await.status, 200);
    node.running.supervisor.cancel("listener");
    node.running.supervisor.died().await;
    let live = node.admin("/live").await;
    assert_eq!(live.status, 503);
    assert!(live.text().contains("the task `listener` was cancelled"), "{}", live.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_holds_nothing_is_begun_again() {
    let (database, guests) = with_guests().await;
    let node = TestNode::guests(&database, &guests).await;
    let supervisor = node.running.supervisor.clone();
    for (count, task) in ["reloader", "caretaker", "reloader", "caretaker"].into_iter().enumerate() {
        supervisor.cancel(task);
        until(&format!("{task} has ended"), String::new, || supervisor.restarts() == count as u64 + 1).await;
        // The reloader reloads,
        let generation = node.generation("x") + 1;
        guests.put("x", &marked(&answers(200), generation));
        node.until_generation("x", generation).await;
        // and the caretaker notices that connections were lost, and makes new ones.
        database.kill_connections().await;
        until("it is ready", String::new, || node.running.node.database.is_ready()).await;
        let mut status = node.get("/calls").await.status.as_u16();
        let deadline = Instant::now() + PATIENCE;
        while status != 200 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            status = node.get("/calls").await.status.as_u16();
        }
        assert_eq!(node.admin("/live").await.status, 200);
    }
    assert!(node.admin("/metrics").await.text().contains("galo_task_restarts_total 4"));
    assert_eq!(node.stop().await, Outcome::Graceful);
    assert!(supervisor.death().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_signal_ends_a_node_without_a_drain() {
    let (database, guests) = with_guests().await;
    let mut program = Program::serve(&database, guests.folder.path());
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        program.signal(signal);
        program.wait_for(&format!("{signal} means nothing here"));
    }
    // SIGHUP reloads everything, including a procedure that has changed.
    database
        .execute("DROP FUNCTION um(); CREATE FUNCTION um() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'")
        .await;
    program.signal(Signal::SIGHUP);
    program.wait_for("SIGHUP: scanning the handlers folder again");
    program.wait_for("calls: reloaded with the current manifest and database");
    assert_eq!(request(&program.listen, Method::GET, "/calls", "").await.status, 200);
    program.signal(Signal::SIGTERM);
    assert!(program.wait().success());
    program.wait_for("drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_given_up_has_lost_no_task() {
    // Given a node that waits for a database which takes no connection,
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let guests = Guests::new().add("x", &answers(200), "");
    let mut command = galo();
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--handlers"]);
    command.arg(guests.folder.path()).env("RUST_BACKTRACE", "0");
    command.env("DATABASE_URL", format!("postgres://galo@{}/none", silent.local_addr().unwrap()));
    let mut program = Program::start(command);
    let waiting = tokio::task::spawn_blocking(move || silent.accept().unwrap());
    let _connection = waiting.await.unwrap();
    // when it gets SIGTERM, then it ends, and reports nothing else.
    program.signal(Signal::SIGTERM);
    assert!(program.wait().success());
    program.wait_for("stopped while starting");
    assert!(!program.log().contains("the task"), "{}", program.log());
}
