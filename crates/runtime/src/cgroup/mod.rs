//! Control groups, version 1 (also hybrid) and 2: made, limited, measured, emptied and removed here and nowhere else.
//!
//! A group is named by its path below the hierarchy's root, e.g. `/carob-1a2b3c4d/kubepods/burstable/pod<uid>`. On
//! version 1 it is a directory in each of several hierarchies; on version 2 one directory.

mod plan;
mod v1;
mod v2;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cri::sandbox::LinuxContainerResources;
use serde::{Deserialize, Serialize};
use sys::cgroup_bpf::Rule;

pub use plan::weight_from_shares;

/// Where the controllers are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchies {
    /// One mount per controller (some share one): name → mount point.
    V1(BTreeMap<String, PathBuf>),
    /// The unified hierarchy's mount point.
    V2(PathBuf),
}

/// What a process needs to know to work with one group: serialized into container specifications.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Directories of the group, one per hierarchy that is used; on version 2 exactly one.
    pub directories: Vec<PathBuf>,
    /// Whether it is a version 2 group.
    pub unified: bool,
    /// Controller of each directory; on version 2 empty.
    pub controllers: Vec<String>,
}

impl Group {
    /// The directory where a controller's files are.
    fn directory(&self, controller: &str) -> Option<&Path> {
        if self.unified {
            return self.directories.first().map(PathBuf::as_path);
        }
        let index =
            self.controllers.iter().position(|name| name.split(',').any(|name| name == controller))?;
        Some(&self.directories[index])
    }

    /// Moves the calling process into the group.
    pub fn enter(&self) -> io::Result<()> {
        for directory in &self.directories {
            write_file(&directory.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// How many of the group's processes the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let file = if self.unified { "memory.events.local" } else { "memory.oom_control" };
        let read = |file: &str| {
            self.directory("memory").and_then(|directory| std::fs::read_to_string(directory.join(file)).ok())
        };
        read(file).or_else(|| read("memory.events")).and_then(|text| keyed(&text, "oom_kill")).unwrap_or(0)
    }

    /// Processes of the group and of the groups below.
    pub fn processes(&self) -> Vec<i32> {
        let directory = if self.unified { self.directory("") } else { self.directory("freezer") };
        let mut processes = Vec::new();
        if let Some(directory) = directory.or(self.directories.first().map(PathBuf::as_path)) {
            collect_processes(directory, 0, &mut processes);
        }
        processes
    }

    /// Kills everything in the group; nothing can escape by forking.
    pub fn kill_all(&self) {
        if self.unified {
            let Some(directory) = self.directory("") else { return };
            if write_file(&directory.join("cgroup.kill"), "1").is_ok() {
                return;
            }
            self.signal_all(sys::process::SIGKILL);
        } else {
            v1::kill_all(self);
        }
    }

    /// Sends a signal to each process of the group.
    pub fn signal_all(&self, signal: i32) {
        for pid in self.processes() {
            let _ = sys::process::signal_pid(pid, signal);
        }
    }

    /// Removes the group's directories and those below. What is not there is no error.
    pub fn remove(&self) -> io::Result<()> {
        let mut result = Ok(());
        for directory in &self.directories {
            if let Err(error) = remove_tree(directory, 0) {
                result = Err(io::Error::new(
                    error.kind(),
                    format!("remove cgroup {}: {error}", directory.display()),
                ));
            }
        }
        result
    }

    /// Applies limits that are set; zero and empty ones are left alone.
    pub fn apply(&self, resources: &LinuxContainerResources) -> io::Result<()> {
        if self.unified { v2::apply(self, resources) } else { v1::apply(self, resources) }
    }

    /// Restricts devices.
    pub fn restrict_devices(&self, rules: &[Rule]) -> io::Result<()> {
        if self.unified { v2::restrict_devices(self, rules) } else { v1::restrict_devices(self, rules) }
    }

    /// (CPU time in ns, memory used in bytes, working set in bytes).
    pub fn usage(&self) -> (u64, u64, u64) {
        let read = |controller: &str, file: &str| {
            self.directory(controller)
                .and_then(|directory| std::fs::read_to_string(directory.join(file)).ok())
                .unwrap_or_default()
        };
        let (cpu, memory, inactive) = if self.unified {
            (
                keyed(&read("cpu", "cpu.stat"), "usage_usec").unwrap_or(0) * 1000,
                number(&read("memory", "memory.current")),
                "inactive_file",
            )
        } else {
            (
                number(&read("cpuacct", "cpuacct.usage")),
                number(&read("memory", "memory.usage_in_bytes")),
                "total_inactive_file",
            )
        };
        let inactive = keyed(&read("memory", "memory.stat"), inactive).unwrap_or(0);
        (cpu, memory, memory.saturating_sub(inactive))
    }
}

/// Makes groups below one root.
#[derive(Debug, Clone)]
pub struct Manager {
    hierarchies: Hierarchies,
}

impl Manager {
    /// Finds out how control groups are mounted here.
    pub fn detect() -> io::Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        hierarchies(&mounts).map(|hierarchies| Self { hierarchies }).ok_or_else(|| {
            io::Error::other("no cgroup hierarchy is mounted below /sys/fs/cgroup; mount cgroup2 there")
        })
    }

    /// How they are mounted.
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// The group at `path`, whether it is there or not. `limits` decides which rarely used controllers take part.
    pub fn group(&self, path: &str, limits: &LinuxContainerResources) -> Group {
        let path = path.trim_start_matches('/');
        match &self.hierarchies {
            Hierarchies::V2(mount) => {
                Group { directories: vec![mount.join(path)], unified: true, controllers: Vec::new() }
            }
            Hierarchies::V1(mounts) => v1::group(mounts, path, limits),
        }
    }

    /// Every directory that a group at `path` could have, for removal.
    pub fn group_everywhere(&self, path: &str) -> Group {
        let everything = LinuxContainerResources {
            cpuset_cpus: "0".to_owned(),
            hugepage_limits: vec![(String::new(), 0)],
            ..LinuxContainerResources::default()
        };
        self.group(path, &everything)
    }

    /// Makes a group and those above it, and applies limits.
    pub fn make(&self, path: &str, limits: &LinuxContainerResources) -> io::Result<Group> {
        let group = self.group(path, limits);
        match &self.hierarchies {
            Hierarchies::V2(mount) => v2::make(mount, &group.directories[0])?,
            Hierarchies::V1(_) => v1::make(&group)?,
        }
        group.apply(limits)?;
        Ok(group)
    }

    /// Paths of Pods' and containers' groups below `root` that are none of the known directories. What containers make
    /// below their own groups is theirs.
    pub fn strays(&self, root: &str, known: &BTreeSet<PathBuf>) -> BTreeSet<String> {
        let mounts: BTreeSet<&PathBuf> = match &self.hierarchies {
            Hierarchies::V2(mount) => BTreeSet::from([mount]),
            Hierarchies::V1(mounts) => mounts.values().collect(),
        };
        let mut strays = BTreeSet::new();
        for mount in mounts {
            let mut look = |path: &str, inner: &[&str]| {
                for name in directories_in(&mount.join(path.trim_start_matches('/'))) {
                    let own = format!("{path}/{name}");
                    let is_known = known.contains(&mount.join(own.trim_start_matches('/')));
                    if !is_known && !inner.contains(&name.as_str()) {
                        strays.insert(own);
                    }
                }
            };
            let pods = format!("{root}/kubepods");
            look(&pods, &["burstable", "besteffort"]);
            for class in ["burstable", "besteffort"] {
                look(&format!("{pods}/{class}"), &[]);
            }
            for pod in known.iter().filter_map(|own| own.strip_prefix(mount).ok()) {
                // A known Pod's own groups; a container's are not looked into.
                let is_pod = pod.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pod"));
                if is_pod {
                    look(&format!("/{}", pod.display()), &[]);
                }
            }
        }
        strays
    }

    /// Makes moving processes between groups quick while the result is held: a move normally waits for an RCU grace
    /// period (about 10 ms). The kernel's switch for this, `favordynmods`, is an option of any hierarchy but works for
    /// all of them; an empty one that is mounted nowhere changes nothing else and goes away with its descriptor.
    pub fn hurry(name: &str) -> io::Result<OwnedFd> {
        sys::mount::make("cgroup", &[("none", ""), ("name", name), ("favordynmods", "")], 0)
    }

    /// Moves the calling process into a group of its own below `root`, so that on version 2 the groups above can have
    /// controllers enabled for their children.
    pub fn enter_daemon(&self, root: &str) -> io::Result<()> {
        let path = format!("{root}/daemon");
        let group = self.group(&path, &LinuxContainerResources::default());
        for directory in &group.directories {
            std::fs::create_dir_all(directory)?;
        }
        group.enter()
    }
}

/// Reads the mounts from `/proc/self/mountinfo`. Hybrid machines (version 1 with an empty unified mount) are version 1.
fn hierarchies(mountinfo: &str) -> Option<Hierarchies> {
    let mut controllers = BTreeMap::new();
    let mut unified = None;
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let mount = PathBuf::from(before.split(' ').nth(4)?);
        let mut fields = after.split(' ');
        match fields.next() {
            Some("cgroup2") if unified.is_none() => unified = Some(mount),
            Some("cgroup") => {
                for option in fields.nth(1).unwrap_or_default().split(',') {
                    if v1::CONTROLLERS.contains(&option) {
                        controllers.entry(option.to_owned()).or_insert_with(|| mount.clone());
                    }
                }
            }
            _ => {}
        }
    }
    if controllers.is_empty() { unified.map(Hierarchies::V2) } else { Some(Hierarchies::V1(controllers)) }
}

fn directories_in(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Writes a control file, naming it in the error.
fn write_file(path: &Path, value: &str) -> io::Result<()> {
    let result = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
    result.map_err(|error| {
        let named = format!("write {value:?} to {}: {error}", path.display());
        io::Error::new(error.kind(), named)
    })
}

/// The value behind `key` in a flat keyed file.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        if name == key { value.trim().parse().ok() } else { None }
    })
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// Containers may make groups below their own, but hardly deeper than this.
const DEPTH_MAX: usize = 32;

fn collect_processes(directory: &Path, depth: usize, processes: &mut Vec<i32>) {
    if let Ok(text) = std::fs::read_to_string(directory.join("cgroup.procs")) {
        processes.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    if depth == DEPTH_MAX {
        return;
    }
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_processes(&entry.path(), depth + 1, processes);
        }
    }
}

fn remove_tree(directory: &Path, depth: usize) -> io::Result<()> {
    match std::fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if depth == DEPTH_MAX => return Err(error),
        Err(_) => {}
    }
    for entry in std::fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path(), depth + 1)?;
        }
    }
    std::fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_apart() {
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let hybrid = "31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      32 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      33 24 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
        assert_eq!(hierarchies(v2), Some(Hierarchies::V2("/sys/fs/cgroup".into())));
        let Some(Hierarchies::V1(mounts)) = hierarchies(hybrid) else { panic!("hybrid is version 1") };
        assert_eq!(mounts.keys().collect::<Vec<_>>(), ["cpu", "cpuacct"]);
        assert_eq!(hierarchies("1 1 0:1 / / rw - ext4 /dev/vda rw\n"), None);
        let group = Manager { hierarchies: Hierarchies::V1(mounts) }.group("/a/b", &Default::default());
        assert_eq!(group.directories, [PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/a/b")]);
        assert_eq!(group.directory("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct/a/b")));
        assert_eq!(group.directory("memory"), None);
    }

    #[test]
    fn strays_are_told_from_what_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("carob-x/kubepods");
        for path in ["burstable/podA/c1/own", "burstable/podA/c2", "besteffort/podB/c3", "podC/c4", "c5"] {
            std::fs::create_dir_all(root.join(path)).unwrap();
        }
        let manager = Manager { hierarchies: Hierarchies::V2(folder.path().to_owned()) };
        let known = ["burstable/podA", "burstable/podA/c1", "c5"].map(|path| root.join(path));
        let strays = manager.strays("/carob-x", &known.into_iter().collect());
        let expected = ["besteffort/podB", "burstable/podA/c2", "podC"];
        assert_eq!(strays, expected.map(|path| format!("/carob-x/kubepods/{path}")).into_iter().collect());
    }

    #[test]
    fn keyed_files_are_read() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(keyed(text, "oom_kill"), Some(3));
        assert_eq!(keyed(text, "oom"), None);
    }
}
