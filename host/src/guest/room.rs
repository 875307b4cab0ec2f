//! The memory that the control group of this process leaves it, so that a compiler is refused memory before the kernel
//! has to kill something for it. Read again for every compiler, because a container's limit can be changed while it
//! runs.
//!
//! A limit that cannot be read is treated as absent.

use std::path::{Path, PathBuf};

/// Bytes left of the group's limit after what this process holds, if the group is limited.
pub(super) fn left() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let most = limit(&groups, Path::new("/sys/fs/cgroup"))?;
    Some(most.saturating_sub(held(&std::fs::read_to_string("/proc/self/status").ok()?)))
}

/// The least of the limits of the groups that a process is in, from `/proc/PID/cgroup`.
fn limit(groups: &str, root: &Path) -> Option<u64> {
    let files = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        match controllers {
            "" => Some((root.to_owned(), PathBuf::from(group), "memory.max")),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                Some((root.join("memory"), PathBuf::from(group), "memory.limit_in_bytes"))
            }
            _ => None,
        }
    });
    // The groups above limit the process too. Those outside of the container are not visible in it.
    let limits = files.flat_map(|(root, group, file)| {
        let above: Vec<_> = group.ancestors().map(|group| root.join(group).join(file)).collect();
        above.into_iter().filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
    });
    limits.min()
}

/// Bytes that a process holds and the kernel cannot reclaim, from `/proc/PID/status`.
fn held(status: &str) -> u64 {
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    (kib("RssAnon:").unwrap_or(0) + kib("RssShmem:").unwrap_or(0)) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_the_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(limit("0::/\n", root.path()), None);
        put("memory.max", "83886080\n");
        assert_eq!(limit("0::/\n", root.path()), Some(80 << 20));
        put("a/b/memory.max", "max\n");
        put("a/memory.max", "1048576\n");
        assert_eq!(limit("0::/a/b\n", root.path()), Some(1 << 20));
        // A container of the first version sees its own group at the root, and another path in the file.
        put("memory/memory.limit_in_bytes", "524288\n");
        let groups = "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n";
        assert_eq!(limit(groups, root.path()), Some(524_288));
    }

    #[test]
    fn only_memory_without_a_file_counts_as_held() {
        assert_eq!(held("VmRSS:\t  900 kB\nRssAnon:\t     100 kB\nRssFile:\t 796 kB\nRssShmem:\t 4 kB\n"), 104 * 1024);
        assert_eq!(held(""), 0);
    }
}
