//! Facts of the machine the agent runs on.

/// Facts of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Processors.
    pub cpus: usize,
}

impl Machine {
    /// Reads them from `/proc`.
    pub fn read() -> Self {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total_kib = memory.lines().find_map(|line| {
            line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()
        });
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self { memory_bytes: total_kib.unwrap_or(1 << 20) * 1024, cpus }
    }
}
