//! Memory and CPU of carob's processes: the daemon and the Pods' processes, not what runs in the containers.

use std::fs;
use std::time::Duration;

use anyhow::Context;

use crate::instance::Instance;

/// Clock ticks per second in /proc, on every Linux platform there is.
const TICKS_PER_S: f64 = 100.0;
/// How long CPU is counted.
const CPU_TIME: Duration = Duration::from_secs(10);
/// How long a state lasts before its memory is taken.
const SETTLE: Duration = Duration::from_secs(3);

/// Processes of an instance at one moment.
pub struct Seen {
    /// Summed PSS of all.
    pub pss_bytes: u64,
    /// Of the daemon alone.
    pub daemon_bytes: u64,
    /// Number of processes beside the daemon.
    pub others: usize,
    /// Ticks of CPU used so far.
    ticks: u64,
}

/// Looks at an instance after what was begun has ended.
pub async fn settle(instance: &Instance) -> anyhow::Result<Seen> {
    tokio::time::sleep(SETTLE).await;
    look(instance)
}

/// CPU used while nothing is asked for: percent of one core, one sample a second.
pub async fn idle_cpu(instance: &Instance) -> anyhow::Result<Vec<f64>> {
    let (begin, before) = (tokio::time::Instant::now(), look(instance)?.ticks);
    tokio::time::sleep(CPU_TIME).await;
    let (after, elapsed) = (look(instance)?.ticks, begin.elapsed());
    Ok(vec![after.saturating_sub(before) as f64 / TICKS_PER_S / elapsed.as_secs_f64() * 100.0])
}

fn look(instance: &Instance) -> anyhow::Result<Seen> {
    let daemon = instance.daemon_pid()?;
    let mut seen = Seen { pss_bytes: 0, daemon_bytes: 0, others: 0, ticks: 0 };
    for pid in pids(instance, daemon)? {
        // A process may end while it is looked at.
        let (Some(pss_bytes), Some(ticks)) = (pss_bytes(pid), ticks(pid)) else { continue };
        seen.pss_bytes += pss_bytes;
        seen.ticks += ticks;
        if pid == daemon {
            seen.daemon_bytes = pss_bytes;
        } else {
            seen.others += 1;
        }
    }
    Ok(seen)
}

/// The daemon, and what is in the instance's control groups but in no container's.
fn pids(instance: &Instance, daemon: u32) -> anyhow::Result<Vec<u32>> {
    let group = format!("/carob-{}/", instance.id);
    let mut pids = vec![daemon];
    for entry in fs::read_dir("/proc").context("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).filter(|pid| *pid != daemon) else {
            continue;
        };
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if groups.contains(&group) && !groups.contains(&format!("{group}kubepods")) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

fn pss_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// User and system time; the fields after the program's name, which may hold anything.
fn ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}
