//! What may happen to a stack, each under load and while handlers are swapped. After every fault the ledger is proved;
//! what clients may see differs, and `verdict` decides.
//!
//! One description for every way a stack is run: a [`Stack`] knows how a node of its kind is killed. The fault tests
//! have one of processes and one of containers.

use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::time::sleep;

use crate::client::Base;
use crate::experiment::Experiment;
use crate::history::{History, Outcome};
use crate::load::{Load, Progress};
use crate::plan::Mix;
use crate::proof::Violation;
use crate::source::Source;
use crate::swap::Swaps;
use crate::verdict;

/// Enough that both nodes always have something in flight; few enough for a debug build within the containers' limits.
const CLIENTS: u32 = 16;

/// Acknowledged before anything is done to the stack, and again after it: the fault happens under load.
const WARM_TRANSACTIONS: u64 = 100;

/// Between two blows, in transactions: the next one meets a stack that works.
const BETWEEN: u64 = 50;

/// How long a node hangs: so long that an answer that waited for its end differs from one that the other node gave.
const HANG: Duration = Duration::from_secs(8);

/// How long Postgres is dead before it is started again.
pub const OUTAGE: Duration = Duration::from_secs(2);

/// How long a load lasts that nothing happens to: two swaps and more.
const CALM: Duration = Duration::from_secs(5);

/// Two nodes behind nginx, and Postgres. What it is asked to do, it has done when the call returns.
#[expect(async_fn_in_trait, reason = "a test awaits each call where it makes it; none is spawned")]
pub trait Stack {
    /// Between two swaps: a node compiles both components beside its load.
    const SWAP_EVERY: Duration;

    /// Where clients ask.
    fn base(&self) -> Base;

    /// Its database.
    fn source(&self) -> Source;

    /// The folder that all nodes serve from.
    fn handlers(&self) -> &Path;

    /// Begins to swap its components.
    fn swaps(&self) -> Swaps {
        Swaps::start(self.handlers(), Self::SWAP_EVERY, None)
    }

    /// Waits until every node serves the components with these digests.
    async fn until_served(&self, digests: &[String]) -> anyhow::Result<()>;

    /// Kills a node without a warning, and has it serve again.
    async fn crash_node(&mut self, node: usize) -> anyhow::Result<()>;

    /// Ends a node in good order.
    async fn stop_node(&mut self, node: usize) -> anyhow::Result<()>;

    /// Has a node serve again that was stopped.
    async fn start_node(&mut self, node: usize) -> anyhow::Result<()>;

    /// Freezes a node.
    async fn pause_node(&mut self, node: usize) -> anyhow::Result<()>;

    /// Has a frozen node go on.
    async fn resume_node(&mut self, node: usize) -> anyhow::Result<()>;

    /// Kills every process of Postgres.
    async fn kill_postgres(&mut self) -> anyhow::Result<()>;

    /// Starts Postgres on what is on the disk; it takes connections again.
    async fn start_postgres(&mut self) -> anyhow::Result<()>;

    /// Kills every process of a shard.
    async fn kill_shard(&mut self, _shard: usize) -> anyhow::Result<()> {
        bail!("this stack has no shards")
    }

    /// Stops every process of a shard: it accepts connections and answers nothing.
    async fn pause_shard(&mut self, _shard: usize) -> anyhow::Result<()> {
        bail!("this stack has no shards")
    }

    /// Has them continue.
    async fn resume_shard(&mut self, _shard: usize) -> anyhow::Result<()> {
        bail!("this stack has no shards")
    }

    /// Starts a shard on what is on the disk; it takes connections again.
    async fn start_shard(&mut self, _shard: usize) -> anyhow::Result<()> {
        bail!("this stack has no shards")
    }

    /// Has nginx read its configuration again; new workers have taken over.
    async fn reload_nginx(&mut self) -> anyhow::Result<()>;

    /// Loads it while `fault` happens, and returns the record and what is wrong with the ledger. A stack may drive more
    /// than the ledger.
    async fn run(
        &mut self,
        mix: Mix,
        fault: impl AsyncFnOnce(&mut Self, &Progress) -> anyhow::Result<()>,
    ) -> anyhow::Result<(History, Vec<Violation>)>
    where
        Self: Sized,
    {
        under_load(self, mix, fault).await
    }

    /// Whether everything holds that the last run drove beside the ledger.
    fn check_beside(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Loads a stack, has `fault` happen while handlers are swapped, and lets it recover. All requests are made from
/// `BANK_SEED`, which is not called `GALO_*`: a node refuses variables of such a name that it does not know.
///
/// # Errors
/// A ledger that cannot be read, a load that does not get on, and those of `fault`.
pub async fn under_load<S: Stack>(
    stack: &mut S,
    mix: Mix,
    fault: impl AsyncFnOnce(&mut S, &Progress) -> anyhow::Result<()>,
) -> anyhow::Result<(History, Vec<Violation>)> {
    let seed = std::env::var("BANK_SEED").map_or(Ok(1), |text| text.parse())?;
    let load = Load { mix, ..Load::new(stack.base(), CLIENTS, seed) };
    let experiment = Experiment { load, source: stack.source() };
    let during = async |progress: &Progress| {
        let swaps = stack.swaps();
        progress.until(WARM_TRANSACTIONS).await?;
        fault(stack, progress).await?;
        progress.until(WARM_TRANSACTIONS).await?;
        stack.until_served(&swaps.stop().await?).await.map(|()| stack.source())
    };
    experiment.run(during).await
}

/// As [`Stack::run`], and nothing may be wrong with the ledger.
///
/// # Errors
/// Those of the run, and every violation.
pub async fn proved<S: Stack>(
    stack: &mut S,
    mix: Mix,
    fault: impl AsyncFnOnce(&mut S, &Progress) -> anyhow::Result<()>,
) -> anyhow::Result<History> {
    let (history, violations) = stack.run(mix, fault).await?;
    verdict::ledger(&violations)?;
    stack.check_beside()?;
    ensure!(history.count(Outcome::Ok) > 0, "not one transaction was acknowledged: nothing is proved");
    Ok(history)
}

/// A fault that no client notices.
async fn unnoticed<S: Stack>(
    stack: &mut S,
    fault: impl AsyncFnOnce(&mut S, &Progress) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    verdict::unnoticed(&proved(stack, Mix::default(), fault).await?)
}

/// Handlers are swapped, and nothing else happens.
///
/// # Errors
/// What does not hold.
pub async fn nothing_but_swaps<S: Stack>(stack: &mut S) -> anyhow::Result<()> {
    unnoticed(stack, async |_, _| {
        sleep(CALM).await;
        Ok(())
    })
    .await
}

/// One node and the other in turn.
///
/// # Errors
/// What does not hold.
pub async fn a_node_is_killed_again_and_again<S: Stack>(stack: &mut S) -> anyhow::Result<()> {
    unnoticed(stack, async |stack: &mut S, progress: &Progress| {
        for round in 0..10 {
            stack.crash_node(round % 2).await?;
            progress.until(BETWEEN).await?;
        }
        Ok(())
    })
    .await
}

/// As a deployment restarts them.
///
/// # Errors
/// What does not hold.
pub async fn both_nodes_are_restarted_in_turn<S: Stack>(stack: &mut S) -> anyhow::Result<()> {
    unnoticed(stack, async |stack: &mut S, progress: &Progress| {
        for round in 0..4 {
            stack.stop_node(round % 2).await?;
            progress.until(BETWEEN).await?;
            stack.start_node(round % 2).await?;
            progress.until(BETWEEN).await?;
        }
        Ok(())
    })
    .await
}

/// It neither answers nor ends.
///
/// # Errors
/// What does not hold.
pub async fn a_node_hangs<S: Stack>(stack: &mut S) -> anyhow::Result<()> {
    let hang = async |stack: &mut S, _: &Progress| {
        stack.pause_node(0).await?;
        sleep(HANG).await;
        stack.resume_node(0).await
    };
    verdict::hang(&proved(stack, Mix::default(), hang).await?)
}

/// And started again on what is on the disk.
///
/// # Errors
/// What does not hold.
pub async fn postgres_is_killed<S: Stack>(stack: &mut S) -> anyhow::Result<()> {
    outage(stack, async |stack: &mut S| {
        stack.kill_postgres().await?;
        sleep(OUTAGE).await;
        stack.start_postgres().await
    })
    .await
}

/// Postgres is killed, and takes connections again when `fault` returns: on the same machine or on another.
///
/// # Errors
/// What does not hold.
pub async fn outage<S: Stack>(
    stack: &mut S,
    fault: impl AsyncFnOnce(&mut S) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut moments = (Duration::ZERO, Duration::ZERO);
    let timed = async |stack: &mut S, progress: &Progress| {
        let killed = progress.elapsed();
        fault(stack).await?;
        moments = (killed, progress.elapsed());
        Ok(())
    };
    let history = proved(stack, Mix::default(), timed).await?;
    verdict::outage(&history, moments.0, moments.1)
}

/// As after a change of its configuration.
///
/// # Errors
/// What does not hold.
pub async fn nginx_is_reloaded<S: Stack>(stack: &mut S) -> anyhow::Result<()> {
    let reload = async |stack: &mut S, progress: &Progress| {
        for _ in 0..10 {
            stack.reload_nginx().await?;
            progress.until(BETWEEN).await?;
        }
        Ok(())
    };
    verdict::reload(&proved(stack, Mix::default(), reload).await?)
}

/// Most of them do not wait for an answer.
///
/// # Errors
/// What does not hold.
pub async fn clients_leave_right_after_sending<S: Stack>(stack: &mut S) -> anyhow::Result<()> {
    let mix = Mix { leaving: 60, ..Mix::default() };
    let calm = async |_: &mut S, _: &Progress| {
        sleep(CALM).await;
        Ok(())
    };
    let history = proved(stack, mix, calm).await?;
    verdict::unnoticed(&history)?;
    ensure!(history.count(Outcome::Unknown) > 0, "no client left without an answer");
    Ok(())
}
