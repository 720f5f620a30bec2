//! Which values go into which control files: pure, so that tables can test it.

use cri::sandbox::LinuxContainerResources;

/// One write: (controller, file, value).
pub type Write = (&'static str, String, String);

/// Converts a version 1 weight (2–262144) to version 2's (1–10000), as runc does since version 1.3.2: the least, the
/// default and the greatest weight of both scales correspond.
pub fn weight_from_shares(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let logarithm = (shares as f64).log2();
            let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

fn limit(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// Version 1 writes, in order.
pub fn v1(resources: &LinuxContainerResources) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut push = |controller, file: &str, value: String| writes.push((controller, file.to_owned(), value));
    if resources.cpu_shares > 0 {
        push("cpu", "cpu.shares", resources.cpu_shares.to_string());
    }
    if resources.cpu_period_us > 0 {
        push("cpu", "cpu.cfs_period_us", resources.cpu_period_us.to_string());
    }
    if resources.cpu_quota_us != 0 {
        push("cpu", "cpu.cfs_quota_us", resources.cpu_quota_us.to_string());
    }
    if resources.memory_limit_bytes != 0 {
        push("memory", "memory.limit_in_bytes", resources.memory_limit_bytes.to_string());
    }
    if resources.memory_swap_limit_bytes != 0 {
        push("memory", "memory.memsw.limit_in_bytes", resources.memory_swap_limit_bytes.to_string());
    }
    if resources.pids_limit != 0 {
        push("pids", "pids.max", limit(resources.pids_limit));
    }
    if !resources.cpuset_cpus.is_empty() {
        push("cpuset", "cpuset.cpus", resources.cpuset_cpus.clone());
    }
    if !resources.cpuset_mems.is_empty() {
        push("cpuset", "cpuset.mems", resources.cpuset_mems.clone());
    }
    for (size, bytes) in &resources.hugepage_limits {
        push("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), bytes.to_string());
    }
    writes
}

/// Version 2 writes, in order.
pub fn v2(resources: &LinuxContainerResources) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut push = |controller, file: &str, value: String| writes.push((controller, file.to_owned(), value));
    if resources.cpu_shares > 0 {
        push("cpu", "cpu.weight", weight_from_shares(resources.cpu_shares.cast_unsigned()).to_string());
    }
    if resources.cpu_quota_us != 0 || resources.cpu_period_us > 0 {
        let quota =
            if resources.cpu_quota_us > 0 { resources.cpu_quota_us.to_string() } else { "max".to_owned() };
        let period = if resources.cpu_period_us > 0 { resources.cpu_period_us } else { 100_000 };
        push("cpu", "cpu.max", format!("{quota} {period}"));
    }
    if resources.memory_limit_bytes != 0 {
        push("memory", "memory.max", limit(resources.memory_limit_bytes));
    }
    if resources.memory_swap_limit_bytes != 0 {
        let swap = if resources.memory_swap_limit_bytes > 0 && resources.memory_limit_bytes > 0 {
            resources.memory_swap_limit_bytes - resources.memory_limit_bytes
        } else {
            resources.memory_swap_limit_bytes
        };
        push("memory", "memory.swap.max", limit(swap));
    }
    if resources.pids_limit != 0 {
        push("pids", "pids.max", limit(resources.pids_limit));
    }
    if !resources.cpuset_cpus.is_empty() {
        push("cpuset", "cpuset.cpus", resources.cpuset_cpus.clone());
    }
    if !resources.cpuset_mems.is_empty() {
        push("cpuset", "cpuset.mems", resources.cpuset_mems.clone());
    }
    for (size, bytes) in &resources.hugepage_limits {
        push("hugetlb", &format!("hugetlb.{size}.max"), bytes.to_string());
    }
    for (file, value) in &resources.unified {
        push("", file, value.clone());
    }
    writes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resources: LinuxContainerResources, version_1: &[&str], version_2: &[&str]) {
        let text = |writes: Vec<Write>| -> Vec<String> {
            writes.into_iter().map(|(_, file, value)| format!("{file}={value}")).collect()
        };
        assert_eq!(text(v1(&resources)), version_1);
        assert_eq!(text(v2(&resources)), version_2);
    }

    #[test]
    fn limits_become_files() {
        check(LinuxContainerResources::default(), &[], &[]);
        let resources = LinuxContainerResources {
            cpu_shares: 1024,
            cpu_quota_us: 50_000,
            cpu_period_us: 100_000,
            memory_limit_bytes: 1 << 20,
            memory_swap_limit_bytes: 1 << 20,
            pids_limit: -1,
            hugepage_limits: vec![("2MB".to_owned(), 0)],
            unified: [("memory.oom.group".to_owned(), "1".to_owned())].into(),
            ..LinuxContainerResources::default()
        };
        check(
            resources,
            &[
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "memory.limit_in_bytes=1048576",
                "memory.memsw.limit_in_bytes=1048576",
                "pids.max=max",
                "hugetlb.2MB.limit_in_bytes=0",
            ],
            &[
                "cpu.weight=100",
                "cpu.max=50000 100000",
                "memory.max=1048576",
                "memory.swap.max=0",
                "pids.max=max",
                "hugetlb.2MB.max=0",
                "memory.oom.group=1",
            ],
        );
        let unlimited = LinuxContainerResources { cpu_quota_us: -1, ..Default::default() };
        check(unlimited, &["cpu.cfs_quota_us=-1"], &["cpu.max=max 100000"]);
    }

    #[test]
    fn weights_correspond_at_the_ends() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000)] {
            assert_eq!(weight_from_shares(shares), weight, "shares {shares}");
        }
    }
}
