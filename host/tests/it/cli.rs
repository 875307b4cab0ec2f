//! The program as a person runs it: its arguments, its mistakes, its signals.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use galo::develop::build::Profile;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{PATIENCE, TestDatabase, galo, handlers, scratch};

/// A running `galo`, killed at the end of the test.
pub struct Program {
    child: Child,
    /// One message for each line that was added to `seen`.
    news: Mutex<Receiver<()>>,
    seen: Arc<Mutex<Vec<String>>>,
    /// The address for requests, once the program is ready.
    pub listen: String,
    /// The admin address, once the program is ready.
    pub admin: String,
}

impl Program {
    /// Starts a command and collects what it prints on stdout and stderr.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, news) = channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        follow(child.stdout.take().unwrap(), Arc::clone(&seen), sender.clone());
        follow(child.stderr.take().unwrap(), Arc::clone(&seen), sender);
        Self { child, news: Mutex::new(news), seen, listen: String::new(), admin: String::new() }
    }

    /// `galo serve` on free ports, ready.
    pub fn serve(database: &TestDatabase, handlers: &Path) -> Self {
        let mut command = galo();
        command.arg("serve");
        Self::serve_with(command, database, handlers)
    }

    /// As `serve`, with arguments and variables that the caller has set.
    pub fn serve_with(mut command: Command, database: &TestDatabase, handlers: &Path) -> Self {
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--handlers"]).arg(handlers);
        command.env("DATABASE_URL", database.service_url());
        Self::start(command).until_ready()
    }

    /// Waits until it serves, and reads its addresses from the log.
    pub fn until_ready(mut self) -> Self {
        let ready = self.wait_for("ready listen=");
        let field = |name: &str| {
            let rest = ready.split(&format!("{name}=")).nth(1).unwrap();
            rest.split_whitespace().next().unwrap().to_owned()
        };
        (self.listen, self.admin) = (field("listen"), field("admin"));
        self
    }

    /// Waits for a line with a text. An earlier line counts too, because the order of stdout and stderr is not known.
    pub fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let news = self.news.lock().unwrap();
        loop {
            let found = self.seen.lock().unwrap().iter().find(|line| line.contains(text)).cloned();
            if let Some(line) = found {
                return line;
            }
            if news.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
                panic!("no line with `{text}` in:\n{}", self.log());
            }
        }
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        self.seen.lock().unwrap().join("\n")
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None if Instant::now() > deadline => panic!("it does not end:\n{}", self.log()),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(stream: impl Read + Send + 'static, seen: Arc<Mutex<Vec<String>>>, sender: Sender<()>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            seen.lock().unwrap().push(line);
            // The receiver is gone when nothing waits for lines any more.
            let _ = sender.send(());
        }
    });
}

/// Polls until a condition holds, for conditions without an event to wait for.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command to its end. Returns whether it succeeded, its stdout and its stderr.
pub fn run(command: &mut Command) -> (bool, String, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn all_configuration_mistakes_are_reported_at_once() {
    let mut command = galo();
    command.args([
        "serve",
        "--listen",
        "nowhere",
        "--admin",
        "unix:",
        "--pool-connections",
        "0",
        "--log-format",
        "xml",
    ]);
    command.env("GALO_LISTN", "x").env("DATABASE_URL", "nonsense");
    let (success, _, stderr) = run(&mut command);
    assert!(!success);
    for mistake in [
        "galo: the configuration has 6 mistakes",
        "--listen: `nowhere` is neither",
        "--admin: `unix:` needs a path behind it",
        "--pool-connections: `0` is not a whole number from 1 to 90",
        "--log-format: `xml` is neither",
        "GALO_LISTN: unknown variable; did you mean GALO_LISTEN?",
        "DATABASE_URL: ",
    ] {
        assert!(stderr.contains(mistake), "`{mistake}` is missing in: {stderr}");
    }
    let (success, _, stderr) = run(galo().arg("serve"));
    assert!(!success && stderr.contains("DATABASE_URL: not set, nor is --database-url"), "{stderr}");
    let folder = tempfile::tempdir().unwrap();
    let mut dev = galo();
    dev.args(["dev", "--fresh", "--listen", "x"]).env("DATABASE_URL", "host=h user=u").current_dir(folder.path());
    let (success, _, stderr) = run(&mut dev);
    assert!(!success && stderr.contains("has 3 mistakes") && stderr.contains("is not in a project"), "{stderr}");
    assert!(stderr.contains("--fresh: cannot discard the data of the database in DATABASE_URL"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_home_starts_and_one_whose_cache_was_asked_for_does_not() {
    let database = TestDatabase::new().await;
    let mut command = galo();
    command.args(["serve"]).env("HOME", "/proc/none").env_remove("XDG_CACHE_HOME");
    let program = Program::serve_with(command, &database, handlers(Profile::Release));
    assert!(program.log().contains("components are compiled at every start"), "{}", program.log());
    let mut command = galo();
    command.args(["serve", "--cache", "/proc/none", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--handlers"]);
    command.arg(handlers(Profile::Release)).env("DATABASE_URL", database.service_url());
    let (success, _, stderr) = run(&mut command);
    assert!(!success && stderr.contains("cannot make the cache folder /proc/none"), "{stderr}");
}

#[test]
fn help_names_every_command_and_variable() {
    let (success, help, _) = run(galo().arg("--help"));
    assert!(success);
    for command in [
        "dev", "serve", "check", "handlers", "deploy", "rollback", "audit", "sign", "build", "new", "test", "compile",
        "put", "proxy", "tap", "explain", "record", "replay", "accept", "shadow",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is missing in: {help}");
    }
    for hidden in ["\n  postgres ", "\n  compiler "] {
        assert!(!help.contains(hidden), "{hidden} is not a command for people: {help}");
    }
    let (_, help, _) = run(galo().args(["serve", "--help"]).env("GALO_ADMIN_TOKEN", "hunter2-hunter2-h"));
    for variable in [
        "GALO_HANDLERS",
        "GALO_LISTEN",
        "GALO_ADMIN",
        "DATABASE_URL",
        "GALO_CACHE",
        "GALO_STATE",
        "GALO_WORKERS",
        "GALO_PROXY",
    ] {
        assert!(help.contains(variable), "{variable} is missing in: {help}");
    }
    for variable in ["GALO_ADMIN_TOKEN_FILE", "GALO_ADMIN_TOKEN."] {
        assert!(help.contains(variable), "{variable} is missing in: {help}");
    }
    assert!(!help.contains("hunter2"), "{help}");
}

#[test]
fn the_help_is_for_a_person_with_a_project_and_names_what_counts() {
    let help = |command: &str| {
        let (success, help, _) = run(galo().args([command, "--help"]));
        assert!(success);
        help.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(!help("test").contains("kit"), "{}", help("test"));
    let rollback = help("rollback");
    assert!(rollback.contains("until its component or its `config` in galo.toml changes"), "{rollback}");
    let serve = help("serve");
    assert!(serve.contains("a new one replaces the connection that has been idle for longest"), "{serve}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_configures_as_the_arguments_do() {
    let database = TestDatabase::new().await;
    let (_folder, socket) = scratch("galo.sock");
    let mut command = galo();
    command.arg("serve");
    command.env("GALO_HANDLERS", handlers(Profile::Release)).env("DATABASE_URL", database.service_url());
    command.env("GALO_LISTEN", format!("unix:{}", socket.display())).env("GALO_ADMIN", "127.0.0.1:0");
    let mut program = Program::start(command);
    program.wait_for("ready listen=unix:");
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
    program.signal(Signal::SIGTERM);
    assert!(program.wait().success());
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_verifies_without_serving() {
    let database = TestDatabase::new().await;
    let check = |folder: &Path| {
        let mut command = galo();
        command.arg("check").arg(folder).env("DATABASE_URL", database.service_url());
        run(&mut command)
    };
    let (success, shown, stderr) = check(handlers(Profile::Release));
    assert!(success, "{stderr}");
    assert!(shown.contains("POST /clientes/{id}/transacoes") && shown.contains("realizar_transacao"), "{shown}");
    assert!(shown.ends_with("2 handlers verified\n"), "{shown}");
    let folder = tempfile::tempdir().unwrap();
    let (success, _, stderr) = check(folder.path());
    assert!(
        !success && stderr.contains("galo.toml does not exist; use the folder that `galo build` has made"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_database_connection_is_reported_at_once_without_its_password() {
    let mut command = galo();
    command.arg("check").arg(handlers(Profile::Release));
    let database = TestDatabase::new().await;
    let url = database.service_url().replace("galo@", "nobody_here:hunter2@");
    let (success, _, stderr) = run(command.env("DATABASE_URL", url));
    assert!(
        !success && stderr.contains("cannot connect to the database") && stderr.contains("nobody_here"),
        "{stderr}"
    );
    assert!(!stderr.contains("hunter2"), "{stderr}");
}
