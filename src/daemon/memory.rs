//! How much memory the unit may use, and how much of it decoded pictures may take.

use std::path::{Path, PathBuf};

/// Decoded pictures' share of the memory: the rest is for the unit itself, uploads and models.
const DECODE_EIGHTHS: u64 = 3;
/// Enough for a picture of 10 megapixels on the smallest unit, and for two of the largest kinds on a large one.
const DECODE_BYTES_MIN: u64 = 32 << 20;
const DECODE_BYTES_MAX: u64 = 1 << 30;

/// `classifier.decode_memory_bytes_max`, where 0 means: by the memory that the unit may use.
#[must_use]
pub fn decode_bytes(configured: u64) -> u64 {
    if configured > 0 {
        return configured;
    }
    let memory = memory_bytes(Path::new("/"));
    memory.map_or(DECODE_BYTES_MIN, |bytes| bytes / 8 * DECODE_EIGHTHS).clamp(DECODE_BYTES_MIN, DECODE_BYTES_MAX)
}

/// The least of the machine's memory and the limits of the control groups that the process is in, below `root`.
fn memory_bytes(root: &Path) -> Option<u64> {
    let machine = std::fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
    });
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    groups.lines().flat_map(|line| group_limits(root, line)).chain(machine).min()
}

/// The limits of one group and of all above it. A line reads `hierarchy:controllers:path`, with no controllers in version 2
/// (cgroups(7)). `memory.high` counts too: above it the kernel slows the unit down.
fn group_limits(root: &Path, line: &str) -> Vec<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (mount, files): (PathBuf, &[&str]) = if controllers.is_empty() {
        (root.join("sys/fs/cgroup"), &["memory.max", "memory.high"])
    } else if controllers.split(',').any(|controller| controller == "memory") {
        (root.join("sys/fs/cgroup/memory"), &["memory.limit_in_bytes"])
    } else {
        return Vec::new();
    };
    let own = mount.join(path.trim_start_matches('/'));
    let groups = own.ancestors().take_while(|group| group.starts_with(&mount));
    let limits = groups.flat_map(|group| files.iter().map(move |file| group.join(file)));
    // "max", no limit, is no number.
    limits.filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::TempDir::new().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_limit_of_the_control_groups_counts() {
        const MIB: u64 = 1 << 20;
        let memory = ("proc/meminfo", "MemTotal:        2097152 kB\nMemFree: 1 kB\n");
        let unified = ("proc/self/cgroup", "0::/system.slice/unit.service\n");
        for (files, mebibytes) in [
            (vec![memory], 2_048),
            (vec![memory, unified, ("sys/fs/cgroup/system.slice/unit.service/memory.max", "max\n")], 2_048),
            (vec![memory, unified, ("sys/fs/cgroup/system.slice/unit.service/memory.max", "402653184\n")], 384),
            (vec![memory, unified, ("sys/fs/cgroup/system.slice/memory.high", "268435456\n")], 256),
            (vec![memory, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "134217728\n")], 128),
            (
                vec![
                    memory,
                    ("proc/self/cgroup", "3:cpu,cpuacct:/a\n2:memory:/a\n"),
                    ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "536870912\n"),
                ],
                512,
            ),
        ] {
            assert_eq!(memory_bytes(machine(&files).path()), Some(mebibytes * MIB), "{files:?}");
        }
        assert_eq!(memory_bytes(machine(&[]).path()), None);
        assert_eq!(decode_bytes(7), 7, "what is configured counts");
    }
}
