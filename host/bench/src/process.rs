//! What processes cost, as the kernel counts it: CPU time and context switches of a component with all its processes,
//! and its memory; and how much of the machine is idle.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};

/// The unit of `/proc/PID/stat` is a hundredth of a second, whatever the kernel's own.
const TICK: Duration = Duration::from_millis(10);

/// What processes have cost so far.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub cpu: Duration,
    /// Context switches of all threads, given up by themselves or not.
    pub switches: u64,
}

/// What processes with all their descendants have cost.
///
/// A process that ended has left its CPU time to its parent, which has waited for it: so the sum never goes back.
/// Context switches of threads that ended are lost; components keep theirs.
///
/// # Errors
/// When one of them is gone.
pub fn usage(roots: &[i32]) -> anyhow::Result<Usage> {
    let all = snapshot();
    let (mut ticks, mut switches) = (0, 0);
    for pid in family(roots, &all) {
        ticks += all.get(&pid).with_context(|| format!("process {pid} has ended"))?.ticks;
        switches += threads(pid).filter_map(|thread| switches_of(pid, thread)).sum::<u64>();
    }
    Ok(Usage { cpu: TICK.saturating_mul(u32::try_from(ticks)?), switches })
}

/// All threads of processes with all their descendants, as they are now.
pub fn tasks(roots: &[i32]) -> Vec<i32> {
    family(roots, &snapshot()).into_iter().flat_map(threads).collect()
}

fn threads(pid: i32) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// None of a thread that has ended.
fn switches_of(pid: i32, thread: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok()?;
    let of = |label: &str| status.lines().find_map(|line| line.strip_prefix(label))?.trim().parse::<u64>().ok();
    Some(of("voluntary_ctxt_switches:")? + of("nonvoluntary_ctxt_switches:")?)
}

/// The time of the machine so far, in ticks of all cores together: all of it, and what was idle.
///
/// # Errors
/// When the kernel does not report it.
pub fn machine_time() -> anyhow::Result<(u64, u64)> {
    idle_of(&fs::read_to_string("/proc/stat")?).context("cannot read /proc/stat")
}

/// `cpu user nice system idle iowait irq softirq steal …`; what follows is contained in user and nice.
fn idle_of(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).map_while(|text| text.parse().ok()).collect();
    Some((fields.get(..8)?.iter().sum(), fields[3] + fields[4]))
}

/// What all children of ours that have ended have cost.
///
/// # Errors
/// Those of `getrusage`, which has none here.
pub fn ended_children() -> anyhow::Result<Usage> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let duration = |time: nix::sys::time::TimeVal| -> anyhow::Result<Duration> {
        Ok(Duration::new(u64::try_from(time.tv_sec())?, u32::try_from(time.tv_usec())? * 1000))
    };
    let cpu = duration(usage.user_time())? + duration(usage.system_time())?;
    let switches = usage.voluntary_context_switches() + usage.involuntary_context_switches();
    Ok(Usage { cpu, switches: u64::try_from(switches)? })
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
        let before = (usage(&[own]).unwrap(), ended_children().unwrap());
        let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        assert!(std::process::Command::new("sh").args(["-c", spin]).status().unwrap().success());
        let after = (usage(&[own]).unwrap(), ended_children().unwrap());
        assert!(after.0.cpu > before.0.cpu && after.1.cpu > before.1.cpu);
        assert!(after.1.switches > before.1.switches);
    }

    #[test]
    fn a_thread_that_sleeps_switches() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = usage(&[own]).unwrap().switches;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(usage(&[own]).unwrap().switches >= before + 20);
    }

    #[test]
    fn the_first_line_of_stat_has_what_was_idle() {
        let stat = "cpu  10 1 20 500 5 3 4 7 9 9\ncpu0 5 0 10 250 2 1 2 3 0 0\n";
        assert_eq!(idle_of(stat), Some((550, 505)));
        assert_eq!(idle_of("cpu 1 2\n"), None);
        let (all, idle) = machine_time().unwrap();
        assert!(all >= idle && idle > 0);
    }

    #[test]
    fn our_own_memory_is_more_than_nothing() {
        let memory = memory(&[i32::try_from(std::process::id()).unwrap()]).unwrap();
        assert!(memory.anonymous > 0.0 && memory.share > memory.anonymous / 2.0, "{memory:?}");
    }
}
