//! Many clients at once, each following its plan until it is stopped, each keeping its own record.
//!
//! A client tries again only what has a key of its own, and only with that key.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::client::{Base, Client, Reuse};
use crate::history::{Answer, Failed, History, Payload, Reading, Record, Try};
use crate::ledger::Ledger;
use crate::plan::{Manner, Mix, Plan, Step, Transacao};

/// Between two tries: shorter, and the tries are used up within an outage of seconds; longer, and few meet its cause.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// With a pause and a quick answer each, twice as long as the longest outage of the fault tests.
const TRIES_MAX: usize = 150;

/// How long a load may take to get on, an outage of the fault tests included.
const PROGRESS_MAX: Duration = Duration::from_secs(30);

/// Between two checks of the progress.
const POLL_EVERY: Duration = Duration::from_millis(10);

/// What drives a stack.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where it is.
    pub base: Base,
    /// Clients at once.
    pub clients: u32,
    /// What they ask is made from this.
    pub seed: u64,
    /// What they ask for.
    pub mix: Mix,
    /// Clients with even numbers follow this, the others open a connection for each request.
    pub reuse: Reuse,
    /// Between two steps of a client, at most.
    pub pause_max: Duration,
}

/// A load that runs.
pub struct Running {
    stop: CancellationToken,
    clients: JoinSet<anyhow::Result<Part>>,
    history: History,
    progress: Progress,
}

/// How far a load is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The moment that the record's times are counted from.
    begun: Instant,
    acknowledged: Arc<AtomicU64>,
    steps: Arc<Mutex<Steps>>,
}

/// The steps that clients are at, by number.
#[derive(Debug, Default)]
struct Steps {
    begun: u64,
    open: BTreeSet<u64>,
}

impl Load {
    /// A load of this size with the usual mix.
    #[must_use]
    pub fn new(base: Base, clients: u32, seed: u64) -> Self {
        let pause_max = Duration::from_millis(20);
        Self { base, clients, seed, mix: Mix::default(), reuse: Reuse::Always, pause_max }
    }

    /// Starts it. `before` is the ledger as it is: its clientes are asked for, and what is in it tells this run's
    /// transactions from those of earlier ones.
    #[must_use]
    pub fn start(&self, before: &Ledger) -> Running {
        let clientes: Vec<i32> = before.clientes.keys().copied().collect();
        let history = History::begin();
        let progress = Progress { begun: history.begun.into(), acknowledged: Arc::default(), steps: Arc::default() };
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            let reuse = if number % 2 == 0 { self.reuse } else { Reuse::Never };
            let client = Session {
                plan: Plan::new(self.seed, before.rows() as u64, number, self.mix, &clientes),
                client: Client::new(self.base.clone(), reuse),
                second: Client::new(self.base.clone(), Reuse::Never),
                progress: progress.clone(),
                part: Part::default(),
            };
            clients.spawn(client.run(stop.clone(), self.pause_max));
        }
        Running { stop, clients, history, progress }
    }
}

impl Running {
    /// How far it is, now and later.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Lets every client finish what it is at, tries for an outcome included, and returns the record.
    ///
    /// # Errors
    /// A client that could not follow its plan.
    pub async fn stop(mut self) -> anyhow::Result<History> {
        self.stop.cancel();
        while let Some(part) = self.clients.join_next().await {
            let part = part.context("a client panicked")??;
            self.history.transacoes.extend(part.transacoes);
            self.history.extratos.extend(part.extratos);
            self.history.extratos_failed.extend(part.extratos_failed);
        }
        Ok(self.history)
    }
}

impl Progress {
    /// The time that the record would give to this moment.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits until so many more transactions are acknowledged, and until everything that was asked before is answered:
    /// what happens next to the stack is the first that happens to a request. nginx makes two tries of it, no more.
    ///
    /// # Errors
    /// A stack that does not get on.
    pub async fn until(&self, more: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        let last = self.steps().begun;
        while self.acknowledged.load(Ordering::Relaxed) < wanted
            || self.steps().open.first().is_some_and(|at| *at <= last)
        {
            if begun.elapsed() > PROGRESS_MAX {
                bail!("{more} transactions more, and all before them, are not answered within {PROGRESS_MAX:?}");
            }
            sleep(POLL_EVERY).await;
        }
        Ok(())
    }

    fn steps(&self) -> MutexGuard<'_, Steps> {
        // Whoever panicked with it left it whole.
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a step, and returns its number.
    fn begin(&self) -> u64 {
        let mut steps = self.steps();
        steps.begun += 1;
        let number = steps.begun;
        steps.open.insert(number);
        number
    }

    fn end(&self, number: u64) {
        self.steps().open.remove(&number);
    }
}

/// The record of one client.
#[derive(Default)]
struct Part {
    transacoes: Vec<Record>,
    extratos: Vec<Reading>,
    extratos_failed: Vec<Failed>,
}

/// One client at work.
struct Session {
    plan: Plan,
    client: Client,
    /// For a transaction that is sent twice at once.
    second: Client,
    progress: Progress,
    part: Part,
}

impl Session {
    async fn run(mut self, stop: CancellationToken, pause_max: Duration) -> anyhow::Result<Part> {
        let pause_max = u64::try_from(pause_max.as_millis())?;
        while !stop.is_cancelled() {
            let number = self.progress.begin();
            match self.plan.step() {
                Step::Extrato(cliente) => self.extrato(cliente).await,
                Step::Transacao(transacao, manner) => self.transacao(transacao, manner).await,
            }
            self.progress.end(number);
            sleep(Duration::from_millis(self.plan.pause_ms(pause_max))).await;
        }
        Ok(self.part)
    }

    async fn extrato(&mut self, cliente: i32) {
        let sent = self.progress.elapsed();
        let answer = self.client.extrato(cliente).await;
        let ended = self.progress.elapsed();
        match answer {
            Ok(extrato) => self.part.extratos.push(Reading { cliente, sent, ended, extrato }),
            Err(error) => {
                self.part.extratos_failed.push(Failed { cliente, sent, ended, why: format!("extrato: {error:#}") });
            }
        }
    }

    async fn transacao(&mut self, transacao: Transacao, manner: Manner) {
        let begun = self.progress.begun;
        let mut tries = match manner {
            Manner::Leave => vec![leave(begun, &self.client, &transacao).await],
            Manner::Together => {
                let (one, other) = tokio::join!(
                    send(begun, &mut self.client, &transacao, Payload::Own),
                    send(begun, &mut self.second, &transacao, Payload::Own),
                );
                vec![one, other]
            }
            Manner::Once | Manner::Again | Manner::Otherwise => {
                vec![send(begun, &mut self.client, &transacao, Payload::Own).await]
            }
        };
        let insists = transacao.key.is_some() && self.plan.insists();
        while insists && tries.len() < TRIES_MAX && unknown(&tries) {
            sleep(RETRY_PAUSE).await;
            tries.push(send(begun, &mut self.client, &transacao, Payload::Own).await);
        }
        let acknowledged = tries.iter().any(|each| matches!(each.answer, Answer::Ok { .. }));
        self.progress.acknowledged.fetch_add(acknowledged.into(), Ordering::Relaxed);
        match manner {
            Manner::Again => tries.push(send(begun, &mut self.client, &transacao, Payload::Own).await),
            // Of what was refused nothing is kept, so another valor would be a first try.
            Manner::Otherwise if acknowledged => {
                let other = Transacao { valor: transacao.valor + 1, ..transacao.clone() };
                tries.push(send(begun, &mut self.client, &other, Payload::Other).await);
            }
            _ => {}
        }
        self.part.transacoes.push(Record { transacao, tries });
    }
}

/// Whether no try was answered yet.
fn unknown(tries: &[Try]) -> bool {
    tries.iter().all(|each| matches!(each.answer, Answer::Failed(_) | Answer::Left))
}

async fn send(begun: Instant, client: &mut Client, transacao: &Transacao, payload: Payload) -> Try {
    let sent = begun.elapsed();
    let answer = client.transacao(transacao).await;
    Try { payload, sent, ended: begun.elapsed(), answer }
}

async fn leave(begun: Instant, client: &Client, transacao: &Transacao) -> Try {
    let sent = begun.elapsed();
    let answer = match client.leave(transacao).await {
        Ok(()) => Answer::Left,
        Err(error) => Answer::Failed(format!("leaving: {error:#}")),
    };
    Try { payload: Payload::Own, sent, ended: begun.elapsed(), answer }
}
