//! What processes cost, as the kernel counts it: CPU time of a component with all its processes, also those that have
//! ended, and its memory.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};

/// The unit of `/proc/PID/stat` is a hundredth of a second, whatever the kernel's own.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time of processes with all their descendants.
///
/// A process that ended has left its time to its parent, which has waited for it: so the sum never goes back.
///
/// # Errors
/// When one of them is gone.
pub fn cpu(roots: &[i32]) -> anyhow::Result<Duration> {
    let all = snapshot();
    let mut ticks = 0;
    for pid in family(roots, &all) {
        ticks += all.get(&pid).with_context(|| format!("process {pid} has ended"))?.ticks;
    }
    Ok(TICK.saturating_mul(u32::try_from(ticks)?))
}

/// All threads of processes with all their descendants, as they are now.
pub fn tasks(roots: &[i32]) -> Vec<i32> {
    let threads = |pid| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    family(roots, &snapshot()).into_iter().flat_map(|pid| threads(pid).filter_map(number)).collect()
}

/// The CPU time of all children of ours that have ended.
///
/// # Errors
/// Those of `getrusage`, which has none here.
pub fn ended_children() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let duration = |time: nix::sys::time::TimeVal| -> anyhow::Result<Duration> {
        Ok(Duration::new(u64::try_from(time.tv_sec())?, u32::try_from(time.tv_usec())? * 1000))
    };
    Ok(duration(usage.user_time())? + duration(usage.system_time())?)
}

/// The memory of a component in MiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Anonymous and resident: heaps and stacks, without files and shared memory.
    pub anonymous: f64,
    /// Its share of all that is resident (Pss): what two of its processes share counts once.
    pub share: f64,
}

/// The memory of processes with all their descendants.
///
/// # Errors
/// When a file of `/proc` may not be read.
pub fn memory(roots: &[i32]) -> anyhow::Result<Memory> {
    let mut memory = Memory::default();
    for pid in family(roots, &snapshot()) {
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        let shares = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        // A backend may end between two reads.
        let (Ok(status), Ok(shares)) = (status, shares) else { continue };
        memory.anonymous += mebibytes(&status, "RssAnon:").unwrap_or_default();
        memory.share += mebibytes(&shares, "Pss:").with_context(|| format!("process {pid} has no Pss"))?;
    }
    Ok(memory)
}

/// The parent of a process.
pub fn parent(pid: i32) -> Option<i32> {
    Some(parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?.parent)
}

struct Process {
    parent: i32,
    /// Its own and those of the children it has waited for.
    ticks: u64,
}

fn snapshot() -> HashMap<i32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// `pid (name) state parent …`; the name may hold anything. utime, stime, cutime and cstime are the fields 14 to 17.
fn parse(stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let ticks = fields.get(11..15)?.iter().map(|text| text.parse::<u64>().unwrap_or_default()).sum();
    Some(Process { parent, ticks })
}

fn family(roots: &[i32], all: &HashMap<i32, Process>) -> Vec<i32> {
    let mut family = roots.to_vec();
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        family.extend(all.iter().filter(|(_, process)| process.parent == pid).map(|(child, _)| *child));
        next += 1;
    }
    family
}

fn mebibytes(text: &str, label: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_is_read_whatever_the_name() {
        let process = parse("7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 10 20 300 4000 20 0 1 0").unwrap();
        assert_eq!((process.parent, process.ticks), (3, 4330));
        assert!(parse("7 (a").is_none());
    }

    #[test]
    fn a_family_has_all_generations() {
        let process = |parent| Process { parent, ticks: 0 };
        let all = HashMap::from([(1, process(0)), (2, process(1)), (3, process(2)), (4, process(9))]);
        let mut family = family(&[1], &all);
        family.sort_unstable();
        assert_eq!(family, [1, 2, 3]);
    }

    #[test]
    fn a_process_that_ended_leaves_its_time_to_us() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = (cpu(&[own]).unwrap(), ended_children().unwrap());
        let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        assert!(std::process::Command::new("sh").args(["-c", spin]).status().unwrap().success());
        assert!(cpu(&[own]).unwrap() > before.0);
        assert!(ended_children().unwrap() > before.1);
    }

    #[test]
    fn our_own_memory_is_more_than_nothing() {
        let memory = memory(&[i32::try_from(std::process::id()).unwrap()]).unwrap();
        assert!(memory.anonymous > 0.0 && memory.share > memory.anonymous / 2.0, "{memory:?}");
    }
}
