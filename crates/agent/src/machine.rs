//! Facts of the machine the agent runs on, as `status.nodeInfo` and `status.capacity` show them.

use std::collections::BTreeMap;
use std::path::Path;

use model::quantity::{Format, Quantity};

use crate::config::KubeletConfig;
use crate::thresholds::Thresholds;

/// Facts of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Processors.
    pub cpus: i64,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// The product's UUID, else the machine id.
    pub system_uuid: String,
    /// Changes with every boot.
    pub boot_id: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// `PRETTY_NAME` of `/etc/os-release`.
    pub os_image: String,
    /// Sizes of huge pages with their number: (KiB, pages).
    pub huge_pages: Vec<(i64, i64)>,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn meminfo(text: &str, field: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok().map(|kib| kib * 1024)
}

fn huge_pages() -> Vec<(i64, i64)> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let mut found: Vec<(i64, i64)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let pages = std::fs::read_to_string(entry.path().join("nr_hugepages")).ok()?;
            Some((kib, pages.trim().parse().ok()?))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Go's name of the processor architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Machine {
    /// Reads them from `/proc`, `/sys` and `/etc`.
    pub fn read() -> Self {
        let memory = read("/proc/meminfo");
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let machine_id = [read("/etc/machine-id"), read("/var/lib/dbus/machine-id")];
        let machine_id = machine_id.into_iter().find(|id| !id.is_empty()).unwrap_or_default();
        let system_uuid = Some(read("/sys/class/dmi/id/product_uuid")).filter(|id| !id.is_empty());
        let release = read("/etc/os-release");
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            memory_bytes: meminfo(&memory, "MemTotal").unwrap_or(1 << 30),
            cpus: i64::try_from(cpus).unwrap_or(1),
            system_uuid: system_uuid.unwrap_or_else(|| machine_id.clone()),
            machine_id,
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel_version: read("/proc/sys/kernel/osrelease"),
            os_image: pretty.map(|text| text.trim_matches('"').to_owned()).unwrap_or_else(|| "Linux".into()),
            huge_pages: huge_pages(),
        }
    }

    /// `status.capacity`.
    pub fn capacity(&self, config: &KubeletConfig, root: &Path) -> BTreeMap<String, Quantity> {
        let disk = disk(root).map_or(0, |disk| disk.total_bytes);
        let mut capacity = BTreeMap::from([
            ("cpu".to_owned(), Quantity::new(self.cpus, Format::DecimalSi)),
            ("memory".to_owned(), Quantity::new(self.memory_bytes, Format::BinarySi)),
            ("ephemeral-storage".to_owned(), Quantity::new(disk, Format::BinarySi)),
            ("pods".to_owned(), Quantity::new(i64::from(config.max_pods), Format::DecimalSi)),
        ]);
        for (kib, pages) in &self.huge_pages {
            let size = match kib {
                kib if kib % (1 << 20) == 0 => format!("{}Gi", kib >> 20),
                kib if kib % (1 << 10) == 0 => format!("{}Mi", kib >> 10),
                kib => format!("{kib}Ki"),
            };
            let bytes = Quantity::new(kib * 1024 * pages, Format::BinarySi);
            capacity.insert(format!("hugepages-{size}"), bytes);
        }
        capacity
    }

    /// `status.allocatable`: the capacity less what is reserved and kept free.
    pub fn allocatable(&self, config: &KubeletConfig, root: &Path) -> BTreeMap<String, Quantity> {
        let kept = &config.thresholds;
        let mut allocatable = self.capacity(config, root);
        if let Some(memory) = allocatable.get_mut("memory") {
            let left = (memory.value() - kept.memory.of(memory.value())).max(0);
            *memory = Quantity::new(left, Format::BinarySi);
        }
        if let Some(disk) = allocatable.get_mut("ephemeral-storage") {
            let left = (disk.value() - kept.disk.of(disk.value())).max(0);
            *disk = Quantity::new(left, Format::DecimalSi);
        }
        for (name, amount) in config.system_reserved.iter().chain(&config.kube_reserved) {
            if let (Some(own), Ok(amount)) = (allocatable.get_mut(name), Quantity::parse(amount)) {
                own.sub(&amount);
            }
        }
        allocatable
    }
}

/// Use of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Size.
    pub total_bytes: i64,
    /// Free for ordinary users.
    pub available_bytes: i64,
    /// Inodes; 0 where the file system does not count them.
    pub inodes_total: i64,
    /// Free inodes.
    pub inodes_free: i64,
}

/// The file system that holds a path (or the nearest folder above it that exists).
pub fn disk(path: &Path) -> Option<Disk> {
    let stat = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    let count = |inodes: u64| i64::try_from(inodes).unwrap_or(i64::MAX);
    Some(Disk {
        total_bytes: bytes(stat.f_blocks),
        available_bytes: bytes(stat.f_bavail),
        inodes_total: count(stat.f_files),
        inodes_free: count(stat.f_favail),
    })
}

/// What presses on the node now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Less memory available than is kept free.
    pub memory: bool,
    /// Less disk available than is kept free.
    pub disk: bool,
    /// Too few process ids left.
    pub pid: bool,
}

/// Looks at the machine.
pub fn pressure(root: &Path, kept: &Thresholds) -> Pressure {
    let memory = read("/proc/meminfo");
    let available = meminfo(&memory, "MemAvailable");
    let total = meminfo(&memory, "MemTotal").unwrap_or_default();
    Pressure {
        memory: available.is_some_and(|available| available < kept.memory.of(total)),
        disk: disk(root).is_some_and(|disk| kept.is_disk_short(&disk)),
        pid: false,
    }
}
