//! What may happen to a shard, beside what `faults` has for any stack.

use std::time::Duration;

use tokio::time::sleep;

use crate::faults::{OUTAGE, Stack, proved};
use crate::load::Progress;
use crate::plan::Mix;
use crate::verdict;

/// The shard of these clientes is killed, and started again on what is on the disk.
///
/// # Errors
/// What does not hold.
pub async fn a_shard_is_killed<S: Stack>(stack: &mut S, shard: usize, of: &[i32]) -> anyhow::Result<()> {
    let mut moments = (Duration::ZERO, Duration::ZERO);
    let timed = async |stack: &mut S, progress: &Progress| {
        let killed = progress.elapsed();
        stack.kill_shard(shard).await?;
        sleep(OUTAGE).await;
        stack.start_shard(shard).await?;
        moments = (killed, progress.elapsed());
        Ok(())
    };
    let history = proved(stack, Mix::default(), timed).await?;
    verdict::shard_outage(&history, of, moments.0, moments.1)
}

/// The shard of these clientes stops answering, and continues.
///
/// # Errors
/// What does not hold.
pub async fn a_shard_hangs<S: Stack>(stack: &mut S, shard: usize, of: &[i32]) -> anyhow::Result<()> {
    let mut back = Duration::ZERO;
    let timed = async |stack: &mut S, progress: &Progress| {
        stack.pause_shard(shard).await?;
        sleep(OUTAGE).await;
        stack.resume_shard(shard).await?;
        back = progress.elapsed();
        Ok(())
    };
    let history = proved(stack, Mix::default(), timed).await?;
    verdict::shard_hang(&history, of, back)
}
