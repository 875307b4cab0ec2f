//! Where the processes of a measurement run, and how those of Postgres take turns.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::process;

/// On which cores processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On any: the kernel moves them about.
    Free,
    /// As `deploy/compose.placed.yaml` has it: nginx and the first node on one core, the second node and Postgres on
    /// another, and nginx gives the first node more. The load generator goes where it likes.
    Placed,
}

impl Placement {
    /// The folder in `deploy/` whose file sets the share of the requests that each node gets.
    pub fn upstream(self) -> &'static str {
        match self {
            Self::Free => "upstream",
            Self::Placed => "upstream.placed",
        }
    }
}

/// The cores that may be used.
pub struct Cores {
    all: Vec<usize>,
}

impl Cores {
    /// Those this process may use.
    ///
    /// # Errors
    /// That the kernel does not report them.
    pub fn find() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(Pid::this())?;
        Ok(Self { all: (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false)).collect() })
    }

    /// Whether there are two, so that anything can be placed.
    pub fn are_enough(&self) -> bool {
        self.all.len() >= 2
    }

    /// Puts nginx, the nodes and Postgres in their places, with all their threads and descendants; those that they
    /// start later follow.
    ///
    /// # Errors
    /// That a core may not be used.
    pub fn place(&self, placement: Placement, nginx: &[i32], nodes: &[i32], postgres: &[i32]) -> anyhow::Result<()> {
        let (first, second) = match placement {
            Placement::Free => (&self.all[..], &self.all[..]),
            Placement::Placed => {
                ensure!(self.are_enough(), "there is one core only: nothing can be placed");
                (&self.all[..1], &self.all[1..2])
            }
        };
        confine(nginx, first)?;
        for (index, node) in nodes.iter().enumerate() {
            confine(&[*node], if index.is_multiple_of(2) { first } else { second })?;
        }
        confine(postgres, second)
    }
}

fn confine(roots: &[i32], cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core)?;
    }
    for task in process::tasks(roots) {
        match sched_setaffinity(Pid::from_raw(task), &set) {
            // It has ended.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot place process {task}")),
        }
    }
    Ok(())
}

/// Has a process and all its descendants never push another from its core when they wake up (`SCHED_BATCH`), as
/// `deploy/compose.yaml` has it for Postgres.
///
/// # Errors
/// That it cannot be set.
pub fn batch(chrt: &Path, root: i32) -> anyhow::Result<()> {
    for task in process::tasks(&[root]) {
        let output = Command::new(chrt)
            .args(["--batch", "--pid", "0", &task.to_string()])
            .stdin(Stdio::null())
            .output()
            .context("cannot run chrt")?;
        // One that has ended needs nothing.
        let gone = || !Path::new(&format!("/proc/{task}")).exists();
        ensure!(output.status.success() || gone(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(pid: u32) -> Vec<usize> {
        let set = sched_getaffinity(Pid::from_raw(i32::try_from(pid).unwrap())).unwrap();
        (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap()).collect()
    }

    #[test]
    fn what_is_placed_stays_there_until_it_is_freed() {
        let cores = Cores::find().unwrap();
        if !cores.are_enough() {
            assert!(cores.place(Placement::Placed, &[], &[], &[]).is_err());
            return;
        }
        let mut sleepers: Vec<_> = (0..4).map(|_| Command::new("sleep").arg("60").spawn().unwrap()).collect();
        let pids: Vec<_> = sleepers.iter().map(|child| i32::try_from(child.id()).unwrap()).collect();
        let all = |cores: &[usize]| sleepers.iter().map(|_| cores.to_vec()).collect::<Vec<_>>();
        let found = || sleepers.iter().map(|child| allowed(child.id())).collect::<Vec<_>>();
        cores.place(Placement::Placed, &pids[..1], &pids[1..3], &pids[3..]).unwrap();
        let (first, second) = (vec![cores.all[0]], vec![cores.all[1]]);
        assert_eq!(found(), [first.clone(), first, second.clone(), second]);
        cores.place(Placement::Free, &pids[..1], &pids[1..3], &pids[3..]).unwrap();
        assert_eq!(found(), all(&cores.all));
        for child in &mut sleepers {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_batched_process_says_so() {
        let chrt = galo_testing::program::find("chrt").unwrap();
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(sleeper.id()).unwrap();
        batch(&chrt, pid).unwrap();
        let printed = Command::new(&chrt).args(["--pid", &pid.to_string()]).output().unwrap().stdout;
        assert!(String::from_utf8_lossy(&printed).contains("SCHED_BATCH"), "{printed:?}");
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}
