//! `galo test --watch`: tests again after each change. The sources are followed as `galo dev` follows them: with the
//! crates that handlers depend on, and with what their build commands watch.

use std::path::{Path, PathBuf};
use std::pin::pin;

use tokio::time::timeout;

use super::{Ended, Run};
use crate::develop::sources::{Purpose, Sources};
use crate::{limits, log};

impl Run {
    /// Tests until it is dropped.
    pub(super) async fn watch(&self) -> anyhow::Result<Ended> {
        let mut sources = Sources::new(&self.options.project, Purpose::Test).await;
        if let Some(report) = &self.options.junit {
            // Each run writes it.
            sources.leave_out(resolved(report)?);
        }
        loop {
            match Box::pin(self.once(&mut sources)).await {
                None => {
                    log::print(format_args!("\nSources have changed; starting over\n"));
                    continue;
                }
                Some(Err(error)) => log::line(&format!("galo: {error:#}")),
                Some(Ok(_)) => {}
            }
            log::print(format_args!("\nWaiting for a change of the sources; Ctrl-C ends\n"));
            sources.change().await;
        }
    }

    /// Tests once. `None` when a source changed before the end.
    async fn once(&self, sources: &mut Sources) -> Option<anyhow::Result<bool>> {
        sources.begin().await;
        let prepared = match self.prepare().await {
            Ok(prepared) => prepared,
            Err(error) => return Some(Err(error)),
        };
        sources.follow(&prepared).await;
        if sources.changed {
            return None;
        }
        let due = std::mem::take(&mut sources.due);
        let mut building = pin!(self.build(prepared, Some(due.clone())));
        let in_time = sources.during(&mut building).await;
        let stopped = in_time.is_none();
        let built = match in_time {
            Some(built) => Some(built),
            None => self.stop(&mut building).await,
        };
        sources.ended(stopped).await;
        let ready = match built {
            Some(Ok(ready)) => ready,
            failed => {
                sources.due.extend(due);
                return failed.filter(|_| !stopped).map(|built| built.map(|_| false));
            }
        };
        if stopped {
            sources.due.extend(due);
        } else {
            sources.built(&ready.built, &due).await;
        }
        if stopped || sources.changed {
            return None;
        }
        let mut testing = pin!(self.test(ready));
        tokio::select! {
            passed = &mut testing => Some(passed),
            () = sources.change() => {
                let _ = self.stop(&mut testing).await;
                None
            }
        }
    }

    /// Ends the build and the tests under way: two builds would wait for each other's lock. A call that does not end is
    /// given up.
    async fn stop<T>(&self, work: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        self.cancel.cancel();
        let ended = timeout(limits::TESTS_STOP_MAX, work).await;
        self.cancel.rearm();
        ended.ok()
    }
}

/// The path of a file that may not exist yet, as the sources are listed.
fn resolved(file: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(file)?;
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    Ok(match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    })
}
