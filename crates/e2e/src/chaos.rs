//! What tests that kill share: how long they go on, a seed that repeats them, Pods' processes, a node's own files.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use rustix::process::{Pid, Signal};
use stdx::entropy::Entropy;
use testkit::Carob;
use testkit::leftovers::processes_in;

/// A repeatable source of randomness: seeded by this variable, else by the machine. The seed is printed.
///
/// # Panics
/// If the variable holds no number.
pub fn seeded(variable: &str) -> Entropy {
    let seed = match testkit::variable(variable) {
        Some(text) => text.parse().unwrap_or_else(|_| panic!("{variable} has to be a number, not {text:?}")),
        None => Entropy::system().below(1 << 32),
    };
    eprintln!("repeat this run with {variable}={seed}");
    Entropy::seeded(seed)
}

/// A number from this variable, or the default.
///
/// # Panics
/// If the variable holds no number.
pub fn number(variable: &str, default: u64) -> u64 {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number"));
    testkit::variable(variable).map_or(default, parse)
}

/// Waits for a random time.
pub async fn pause(random: &Entropy, below_ms: u64) {
    tokio::time::sleep(std::time::Duration::from_millis(random.below(below_ms.max(1)))).await;
}

/// The process that holds a Pod with running containers: their parent, among the instance's Pod processes.
pub fn pod_process(carob: &Carob, uid: &str) -> Option<Pid> {
    let shims = processes_in(&format!("/carob-{}/shims", carob.id()));
    let classes = ["besteffort/", "burstable/", ""];
    let groups = classes.map(|class| format!("/carob-{}/kubepods/{class}pod{uid}", carob.id()));
    let parent = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse::<i32>().ok()
    };
    let contained = groups.iter().flat_map(|group| processes_in(group));
    contained.filter_map(parent).find(|pid| shims.contains(pid)).and_then(Pid::from_raw)
}

/// Kills a Pod's process; false if it has none.
pub fn kill_pod_process(carob: &Carob, uid: &str) -> bool {
    pod_process(carob, uid).is_some_and(|pid| rustix::process::kill_process(pid, Signal::KILL).is_ok())
}

/// A Pod's uid as the node knows it: a static Pod's is in its mirror's annotation.
pub fn node_uid(pod: &Pod) -> String {
    let notes = pod.metadata.annotations.clone().unwrap_or_default();
    let own = pod.metadata.uid.clone().unwrap_or_default();
    notes.get("kubernetes.io/config.hash").cloned().unwrap_or(own)
}

/// The logs of a container that are on the node, oldest instance first: the text of each, without CRI's prefixes.
///
/// # Panics
/// If one cannot be read, or a line is not in CRI's format.
pub fn logs(carob: &Carob, pod: &Pod, container: &str) -> Vec<(u32, String)> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let folder = carob.path(&format!("var/log/pods/default_{name}_{}/{container}", node_uid(pod)));
    let mut found: Vec<(u32, String)> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .flatten()
        .filter_map(|entry| Some((instance(&entry.path())?, entry.path())))
        .map(|(number, path)| (number, plain(&path)))
        .collect();
    found.sort();
    found
}

fn instance(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()
}

fn plain(path: &PathBuf) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = String::new();
    for line in text.lines() {
        let content = line.splitn(4, ' ').nth(3);
        lines += content.unwrap_or_else(|| panic!("{}: {line:?} is no line of CRI's", path.display()));
        lines.push('\n');
    }
    lines
}
