//! A proxy between the nodes and Postgres that loses answers: it forwards a statement, and then closes both
//! connections. Whether the statement was carried out is what the node cannot know.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use galo_bank::random::Random;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep};

use crate::node::{PATIENCE, POLL_EVERY};

/// What a statement's message begins with: Bind, of the extended protocol. Logging in, preparing and probing begin
/// with others, and are left alone.
const BIND: u8 = b'B';

/// What one of a router begins with: Parse, because PL/Proxy prepares nothing.
const PARSE: u8 = b'P';

/// Statements of a hundred that are cut off.
const CUT_PERCENT: u64 = 3;

/// More than any message of a node, so that each comes in one piece.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The proxy, at work until the test ends.
pub struct Cut {
    cutting: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
}

impl Cut {
    /// Listens on `door`, in place of what is there, and forwards to `postgres`. It cuts nothing yet.
    pub fn start(door: &Path, postgres: &Path, seed: u64) -> Self {
        Self::of(BIND, door, postgres, seed)
    }

    /// The same between a router and a shard.
    pub fn behind_a_router(door: &Path, postgres: &Path, seed: u64) -> Self {
        Self::of(PARSE, door, postgres, seed)
    }

    fn of(first: u8, door: &Path, postgres: &Path, seed: u64) -> Self {
        std::fs::remove_file(door).unwrap();
        let listener = UnixListener::bind(door).unwrap();
        // A router runs as another user than the tests.
        std::fs::set_permissions(door, Permissions::from_mode(0o777)).unwrap();
        let (cutting, cuts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let proxy = Self { cutting: Arc::clone(&cutting), cuts: Arc::clone(&cuts) };
        let postgres = postgres.to_owned();
        tokio::spawn(async move {
            for number in 0.. {
                let (node, _) = listener.accept().await.unwrap();
                let postgres = UnixStream::connect(&postgres).await.unwrap();
                let random = Random::new(seed, number);
                let relay = Relay { first, random, cutting: cutting.clone(), cuts: cuts.clone() };
                // Either side may go first.
                tokio::spawn(async move { drop(relay.run(node, postgres).await) });
            }
        });
        proxy
    }

    /// Cuts so many answers off, and returns when it has.
    pub async fn answers(&self, cuts: usize) {
        let begun = Instant::now();
        self.cutting.store(true, Ordering::Relaxed);
        while self.cuts.load(Ordering::Relaxed) < cuts {
            assert!(begun.elapsed() < PATIENCE, "too little is cut");
            sleep(POLL_EVERY).await;
        }
        self.cutting.store(false, Ordering::Relaxed);
    }
}

struct Relay {
    /// What the statements begin with that are cut off.
    first: u8,
    random: Random,
    cutting: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
}

impl Relay {
    async fn run(mut self, mut node: UnixStream, mut postgres: UnixStream) -> std::io::Result<()> {
        let (mut asked, mut answered) = (vec![0; MESSAGE_BYTES_MAX], vec![0; MESSAGE_BYTES_MAX]);
        loop {
            tokio::select! {
                length = node.read(&mut asked) => {
                    let message = &asked[..length?];
                    if message.is_empty() {
                        return Ok(());
                    }
                    postgres.write_all(message).await?;
                    let cuts = self.cutting.load(Ordering::Relaxed) && message[0] == self.first;
                    if cuts && self.random.percent(CUT_PERCENT) {
                        self.cuts.fetch_add(1, Ordering::Relaxed);
                        // Sometimes when it was certainly carried out, sometimes while it is.
                        if self.random.percent(50) {
                            postgres.readable().await?;
                        }
                        return Ok(());
                    }
                }
                length = postgres.read(&mut answered) => {
                    let message = &answered[..length?];
                    if message.is_empty() {
                        return Ok(());
                    }
                    node.write_all(message).await?;
                }
            }
        }
    }
}
