//! Kernel metrics of this process, under the names that the Prometheus client libraries use.

use std::fmt;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// Reads the values from the kernel on each scrape. Unavailable values are not shown.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
            let help = "User and system CPU time spent, in seconds";
            encoder
                .encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&seconds(micros), None)?;
        }
        let [size, resident] = memory().map_or([None; 2], |[size, resident]| [Some(size), Some(resident)]);
        let bytes = Some(&Unit::Bytes);
        let started = Some(&Unit::Seconds);
        let (open, most) = (open_files(), getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft));
        for (name, help, unit, value) in [
            ("process_virtual_memory", "Virtual memory size in bytes", bytes, size.map(as_float)),
            ("process_resident_memory", "Resident memory size in bytes", bytes, resident.map(as_float)),
            ("process_open_fds", "Open file descriptors", None, open.map(as_float)),
            ("process_max_fds", "Most file descriptors that may be open", None, most.map(as_float)),
            ("process_start_time", "When it began, in seconds since 1970", started, start()),
        ] {
            if let Some(value) = value {
                encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

/// Bytes of its address space, and of them in memory.
fn memory() -> Option<[u64; 2]> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    let mut pages = text.split_ascii_whitespace().map_while(|pages| pages.parse::<u64>().ok());
    Some([pages.next()? * page, pages.next()? * page])
}

fn open_files() -> Option<u64> {
    // One of them is the folder that is read.
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some(count.saturating_sub(1) as u64)
}

/// The start time of the process. It is computed once, because the system clock may be set later.
fn start() -> Option<f64> {
    static START: OnceLock<Option<f64>> = OnceLock::new();
    *START.get_or_init(reckon_start)
}

/// Ticks from the boot to the begin of the process, the 22nd field of its `stat`; the 2nd may hold spaces.
fn reckon_start() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let ticks: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let per_second = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some(now - uptime + as_float(ticks) / as_float(per_second))
}

#[expect(clippy::cast_precision_loss, reason = "2^53 bytes and descriptors are more than there are")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "2^53 microseconds are 285 years of CPU")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
