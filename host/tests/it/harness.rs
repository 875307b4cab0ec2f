//! Set-up for the tests: one engine, one Postgres cluster and one build of the handlers for the run; a database of its
//! own and a node of its own for each test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use galo::config::{Address, Secret, Settings};
use galo::database::{self, Target};
use galo::develop::build::{self, Cancel, Checkout, Profile};
use galo::develop::dev::SERVICE_ROLE;
use galo::develop::postgres::{Cluster, Data, SUPERUSER};
use galo::drain::Outcome;
use galo::guest::{Cache, Compiled, Compiler, Component, ComponentError, Digest, Engine, Grants};
use galo::limits::{CompileLimits, HandlerLimits};
use galo::registry::{Handler, Stage};
use galo::serve::{self, Running};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OnceCell;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// How long a test waits for something to happen before it says that it did not.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub const GALO: &str = env!("CARGO_BIN_EXE_galo");

/// The database every test's database is a copy of.
const TEMPLATE: &str = "galo_template";

pub fn checkout() -> Checkout {
    Checkout::find(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The one engine: two would reserve the address space of two pools.
pub fn engine() -> &'static Engine {
    static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::start().unwrap());
    &ENGINE
}

/// Compiles a component as a node does, in a process of its own, or finds it compiled.
pub fn compile(bytes: &[u8], cache: Option<&Cache>) -> Result<Compiled, ComponentError> {
    let compiler = Compiler::new(engine(), Path::new(GALO), CompileLimits::default(), cache.cloned());
    let compiled = compiler.find(Digest::of(bytes)).map(Ok);
    compiled.unwrap_or_else(|| {
        // On a thread of its own: a test may be inside a runtime.
        let compile = || compiler.compile_here(bytes).map_err(|error| error.downcast::<ComponentError>().unwrap());
        std::thread::scope(|scope| scope.spawn(compile).join().unwrap())
    })
}

/// Compiles a component and proves that it fits.
pub fn verify(
    bytes: &[u8],
    grants: Grants,
    limits: HandlerLimits,
    cache: Option<&Cache>,
) -> Result<Component, ComponentError> {
    compile(bytes, cache)?.fit(grants, limits)
}

/// Builds of a handler end in the same file of the target folder, whichever copy of the checkout they are of.
pub fn one_build_at_a_time() -> MutexGuard<'static, ()> {
    static BUILD: Mutex<()> = Mutex::new(());
    // A test that failed while it built leaves nothing half-done behind.
    BUILD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handlers of the checkout, built once per run and profile.
pub fn handlers(profile: Profile) -> &'static Path {
    static RELEASE: OnceLock<TempDir> = OnceLock::new();
    static DEVELOPMENT: OnceLock<TempDir> = OnceLock::new();
    let folder = match profile {
        Profile::Release => &RELEASE,
        Profile::Development => &DEVELOPMENT,
    };
    let folder = folder.get_or_init(|| {
        let _turn = one_build_at_a_time();
        let folder = tempfile::tempdir().unwrap();
        build::handlers(&checkout(), profile, &Cancel::default()).unwrap().put(folder.path()).unwrap();
        folder
    });
    folder.path()
}

/// The URL of a database of the one cluster. Its guard stops it when this process has ended, and deletes it.
async fn cluster_url(user: &str, database: &str) -> String {
    static CLUSTER: OnceCell<Mutex<Cluster>> = OnceCell::const_new();
    let started = CLUSTER.get_or_init(|| async {
        let start = || Cluster::start(Path::new(GALO), Data::Throwaway).unwrap();
        let cluster = tokio::task::spawn_blocking(start).await.unwrap();
        let target = |database| Target::parse(&Secret::new(cluster.url(SUPERUSER, database))).unwrap();
        database::create(&target("postgres"), TEMPLATE).await.unwrap();
        database::apply(&target(TEMPLATE), &checkout().root.join("sql")).await.unwrap();
        Mutex::new(cluster)
    });
    started.await.lock().unwrap().url(user, database)
}

/// A database of one test.
pub struct TestDatabase {
    owner_url: String,
    service_url: String,
}

impl TestDatabase {
    /// A copy of the template: the schema, the procedures, the five clients.
    pub async fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let maintenance = connect(&cluster_url(SUPERUSER, "postgres").await).await;
        maintenance.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await.unwrap();
        Self { owner_url: cluster_url(SUPERUSER, &name).await, service_url: cluster_url(SERVICE_ROLE, &name).await }
    }

    /// As the service's role sees it.
    pub fn service_url(&self) -> String {
        self.service_url.clone()
    }

    /// As the superuser sees it.
    pub fn owner_url(&self) -> String {
        self.owner_url.clone()
    }

    pub fn target(&self) -> Target {
        Target::parse(&Secret::new(self.service_url())).unwrap()
    }

    /// The same database, by another way for the service.
    pub fn by(self, service_url: String) -> Self {
        Self { service_url, ..self }
    }

    /// A connection of the superuser.
    pub async fn owner(&self) -> tokio_postgres::Client {
        connect(&self.owner_url()).await
    }

    /// A connection of the service's role.
    pub async fn service(&self) -> tokio_postgres::Client {
        connect(&self.service_url()).await
    }

    /// Runs SQL as the superuser.
    pub async fn execute(&self, sql: &str) {
        self.owner().await.batch_execute(sql).await.unwrap();
    }

    /// The server processes of the service's connections.
    pub async fn backends(&self) -> Vec<i32> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = 'galo'";
        self.owner().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Ends every connection of the service, and says how many there were.
    pub async fn kill_connections(&self) -> usize {
        let backends = self.backends().await;
        self.owner()
            .await
            .query("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", &[&backends])
            .await
            .unwrap();
        backends.len()
    }

    /// Stops the server process of the connection that carries batches out: a statement that is sent to it is under way
    /// until this is dropped. It must be idle.
    pub async fn hold_batches(&self) -> Held {
        let sql = "SELECT pid FROM pg_stat_activity
                   WHERE datname = current_database() AND application_name = 'galo batches'";
        let pids = self.owner().await.query(sql, &[]).await.unwrap();
        let pids: Vec<_> = pids.iter().map(|row| Pid::from_raw(row.get(0))).collect();
        assert!(!pids.is_empty(), "no connection carries batches out");
        pids.iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
        Held(pids)
    }

    /// Returns when a call waits for a row that a test has locked, on a connection of the pool: what goes on a lane
    /// gives up on it first, on the connection of batches.
    pub async fn until_a_call_waits_for_a_lock(&self) {
        let sql = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'galo'";
        let owner = self.owner().await;
        let deadline = Instant::now() + PATIENCE;
        while owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            assert!(Instant::now() < deadline, "no call waits for a lock");
        }
    }

    /// Every violation of the ledger, as `sql/check/ledger.sql` tells it.
    pub async fn violations(&self) -> Vec<String> {
        let check = std::fs::read_to_string(checkout().root.join("sql/check/ledger.sql")).unwrap();
        let messages = self.owner().await.simple_query(&check).await.unwrap();
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("null")).collect::<Vec<_>>().join(" "))
            }
            _ => None,
        });
        rows.collect()
    }

    /// Every test that moves money ends with this.
    pub async fn assert_ledger_holds(&self) {
        assert_eq!(self.violations().await, Vec::<String>::new());
    }

    /// Rows in the ledger of a client.
    pub async fn ledger_rows(&self, cliente: i32) -> i64 {
        let sql = "SELECT count(*) FROM rinha.transacoes WHERE cliente_id = $1";
        self.owner().await.query_one(sql, &[&cliente]).await.unwrap().get(0)
    }
}

/// Server processes that are stopped.
pub struct Held(Vec<Pid>);

impl Drop for Held {
    fn drop(&mut self) {
        // One that was told to end meanwhile ends now.
        for pid in &self.0 {
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Settings for a node on ports of its own.
pub fn settings(handlers: &Path) -> Settings {
    let any = "127.0.0.1:0".parse::<Address>().unwrap();
    // Not this program, which holds the tests.
    let galo = PathBuf::from(GALO);
    Settings { pool_connections: 4, galo, ..Settings::new(handlers.to_owned(), any.clone(), any) }
}

/// A node in this process.
pub struct TestNode {
    pub running: Running,
}

impl TestNode {
    /// The project's handlers on a test's database.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::with(database, settings(handlers(Profile::Release))).await
    }

    pub async fn with(database: &TestDatabase, settings: Settings) -> Self {
        Self { running: serve::start(&settings, &database.target(), engine()).await.unwrap() }
    }

    /// A node with the given guests, each on `/NAME`, with GET and POST.
    pub async fn guests(database: &TestDatabase, guests: &Guests) -> Self {
        Self::with(database, settings(guests.folder.path())).await
    }

    pub fn address(&self) -> String {
        self.running.listen.to_string()
    }

    pub fn admin_address(&self) -> String {
        self.running.admin.to_string()
    }

    pub async fn get(&self, path: &str) -> Answer {
        request(&self.address(), Method::GET, path, "").await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        request(&self.address(), Method::POST, path, body).await
    }

    pub async fn admin(&self, path: &str) -> Answer {
        request(&self.admin_address(), Method::GET, path, "").await
    }

    /// A handler as it is now.
    pub fn handler(&self, name: &str) -> Arc<Handler> {
        Arc::clone(self.running.node.registry.table().handler(name).unwrap())
    }

    /// The number of the generation that serves.
    pub fn generation(&self, name: &str) -> u64 {
        self.handler(name).lineage().current.number
    }

    /// Waits until this generation of a handler serves.
    pub async fn until_generation(&self, name: &str, number: u64) {
        let why = || format!("{:?}", self.handler(name).refusal());
        until(&format!("generation {number} of {name} serves"), why, || self.generation(name) == number).await;
    }

    /// Waits until a candidate is refused, and returns stage and message.
    pub async fn until_refused(&self, name: &str) -> (Stage, String) {
        until(&format!("{name} is refused"), String::new, || self.handler(name).refusal().is_some()).await;
        let refusal = self.handler(name).refusal().unwrap();
        (refusal.stage, refusal.message.clone())
    }

    /// Waits until the manifest is refused, and returns why.
    pub async fn until_manifest_refused(&self) -> (Stage, String) {
        let registry = &self.running.node.registry;
        until("the manifest is refused", String::new, || registry.refusal().is_some()).await;
        let refusal = registry.refusal().unwrap();
        (refusal.stage, refusal.message.clone())
    }

    pub async fn stop(self) -> Outcome {
        self.running.stop().await
    }
}

/// Waits for something that gives no event.
pub async fn until(what: &str, why: impl Fn() -> String, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "still not: {what} {}", why());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A folder of guests for a node: components with a manifest.
pub struct Guests {
    pub folder: TempDir,
    manifest: String,
}

impl Guests {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), manifest: String::new() }
    }

    /// Adds a guest that answers `GET /NAME`. `more` is manifest text: `procedures = [...]`, `limits = {...}`.
    pub fn add(mut self, name: &str, component: &[u8], more: &str) -> Self {
        std::fs::write(self.folder.path().join(format!("{name}.wasm")), component).unwrap();
        self.manifest +=
            &format!("[[handler]]\nname = \"{name}\"\ncomponent = \"{name}.wasm\"\nroute = \"GET /{name}\"\n{more}\n");
        std::fs::write(self.folder.path().join("galo.toml"), &self.manifest).unwrap();
        self
    }

    /// Replaces a guest's component the way a deployment should: whole, by renaming.
    pub fn put(&self, name: &str, component: &[u8]) {
        self.put_file(&format!("{name}.wasm"), component);
    }

    /// Replaces a file by renaming; its folder is made.
    pub fn put_file(&self, name: &str, bytes: &[u8]) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file.persist(path).unwrap();
    }

    /// The text of the manifest.
    pub fn manifest(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("galo.toml")).unwrap()
    }

    /// Why a node does not start with them.
    pub async fn refusal(&self, database: &TestDatabase) -> String {
        let settings = settings(self.folder.path());
        match serve::start(&settings, &database.target(), engine()).await {
            Ok(_) => panic!("the node started"),
            Err(error) => format!("{error:#}"),
        }
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A connection that requests are sent on.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Over TCP, or a unix socket when the address is `unix:PATH`.
    pub async fn open(address: &str) -> Self {
        match address.strip_prefix("unix:") {
            Some(path) => Self::over(UnixStream::connect(path).await.unwrap(), "localhost").await,
            None => {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                Self::over(stream, address).await
            }
        }
    }

    /// Over TCP; none when nobody listens.
    pub async fn try_open(address: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        Some(Self::over(stream, address).await)
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, host: &str) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, host: host.to_owned() }
    }

    pub async fn send(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> hyper::Result<Answer> {
        self.send_with(method, path, &[], body).await
    }

    /// With more headers; a `host` among them replaces that of the address.
    pub async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> hyper::Result<Answer> {
        self.sender.ready().await?;
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", &self.host);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.sender.send_request(request.body(Full::new(body.into())).unwrap()).await?;
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body: body.collect().await?.to_bytes() })
    }
}

/// One request on a connection of its own.
pub async fn request(address: &str, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
    Connection::open(address).await.send(method, path, body).await.unwrap()
}

/// As above, with more headers and no body.
pub async fn request_with(address: &str, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    Connection::open(address).await.send_with(method, path, headers, "").await.unwrap()
}

/// The body of a transaction.
pub fn transacao(valor: i64, tipo: &str, descricao: &str) -> String {
    serde_json::json!({"valor": valor, "tipo": tipo, "descricao": descricao}).to_string()
}

/// A scratch folder, and the path of something in it.
pub fn scratch(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

/// The `galo` program with nothing of our environment that it would read.
pub fn galo() -> Command {
    let mut command = Command::new(GALO);
    for (name, _) in std::env::vars_os() {
        if ["GALO_", "DATABASE_URL", "PG"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    // Nodes leave nothing behind where a person's own keep their state.
    static STATES: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
    command.env("XDG_STATE_HOME", STATES.path());
    command
}
