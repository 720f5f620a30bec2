//! What an instance left behind: after its end there is nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command;

/// Names that stand for one instance in what it makes.
#[derive(Debug, Clone)]
pub struct Traces {
    /// The instance's id.
    pub id: String,
    /// Its prefix.
    pub prefix: String,
    /// Links on its bridge, taken before its end.
    links: Vec<String>,
}

impl Traces {
    /// Notes what belongs to an instance now.
    pub fn of(id: &str, prefix: &Path) -> Self {
        let links = names_in(&format!("/sys/class/net/cb-{id}/brif"));
        Self { id: id.to_owned(), prefix: prefix.display().to_string(), links }
    }

    /// Everything that is still there, one line each.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        left.extend(self.processes());
        left.extend(self.mounts());
        left.extend(self.links());
        left.extend(self.cgroups());
        left.extend(self.tables());
        let run = format!("/run/carob/{}", self.id);
        if Path::new(&run).exists() {
            left.push(format!("directory {run}: {}", names_in(&run).join(" ")));
        }
        left
    }

    fn processes(&self) -> Vec<String> {
        let mut left = Vec::new();
        for pid in names_in("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        {
            if pid == std::process::id().to_string() {
                continue;
            }
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let cgroup = String::from_utf8_lossy(&read("cgroup")).into_owned();
            // A process that has ended and waits for its parent has no command line.
            let ours = cgroup.contains(&format!("/carob-{}", self.id)) || command.contains(&self.id);
            let daemon = command.contains(&self.prefix) && command.contains("carob");
            if !command.is_empty() && (ours || daemon) {
                left.push(format!("process {pid}: {command}"));
            }
        }
        left
    }

    fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let ours =
            |line: &&str| line.contains(&self.prefix) || line.contains(&format!("/run/carob/{}", self.id));
        table.lines().filter(ours).map(|line| format!("mount {line}")).collect()
    }

    fn links(&self) -> Vec<String> {
        let bridge = format!("cb-{}", self.id);
        let ours = |name: &String| *name == bridge || self.links.contains(name);
        names_in("/sys/class/net").into_iter().filter(ours).map(|name| format!("link {name}")).collect()
    }

    fn cgroups(&self) -> Vec<String> {
        let mut left = Vec::new();
        for hierarchy in names_in("/sys/fs/cgroup").into_iter().chain([String::from(".")]) {
            let path = format!("/sys/fs/cgroup/{hierarchy}/carob-{}", self.id);
            if Path::new(&path).exists() {
                left.push(format!("cgroup {path}"));
            }
        }
        left
    }

    fn tables(&self) -> Vec<String> {
        match command::succeed(Command::new("nft").args(["list", "ruleset"])) {
            Ok(rules) => {
                let ours = |line: &&str| line.contains(&self.id);
                rules.lines().filter(ours).map(|line| format!("nft {}", line.trim())).collect()
            }
            Err(error) => vec![format!("nft cannot be asked: {error:#}")],
        }
    }
}

/// Processes of a control group (any hierarchy) and of those below it.
pub fn processes_in(cgroup: &str) -> Vec<i32> {
    let pids = names_in("/proc").into_iter().filter_map(|name| name.parse::<i32>().ok());
    let inside = |pid: &i32| {
        let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        table.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| path.starts_with(cgroup))
    };
    pids.filter(inside).collect()
}

fn names_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
