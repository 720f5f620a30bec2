//! What a program sees of its surroundings.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Directories below which files that can be written are looked for, and how deep their names are kept.
const WRITABLE_BELOW: [(&str, usize); 2] = [("/proc", 3), ("/sys", 2)];
/// Deeper than this nothing is looked for.
const DEPTH_MAX: usize = 8;

/// Paths that upstream hides, and some that it makes read-only.
const HIDDEN: [&str; 16] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
];

/// Limits of resources by number: as in `/proc/self/limits`.
const LIMITS: [(&str, &str); 6] = [
    ("Max open files", "files"),
    ("Max processes", "processes"),
    ("Max locked memory", "locked-memory"),
    ("Max core file size", "core-size"),
    ("Max realtime priority", "real-time-priority"),
    ("Max nice priority", "nice-priority"),
];

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn names_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn set(name: &str, members: impl IntoIterator<Item = impl Into<String>>) -> String {
    let members: BTreeSet<String> = members.into_iter().map(Into::into).collect();
    let members: Vec<String> = members.into_iter().collect();
    format!("set {name}: {}", members.join(" "))
}

/// Every fact.
pub fn all(node_namespaces: &[String]) -> Vec<String> {
    // First, before anything is opened here.
    let mut lines = vec![set("descriptors", descriptors())];
    lines.extend(status());
    lines.push(set("namespaces-of-the-node", shared_namespaces(node_namespaces)));
    lines.extend(mounts());
    lines.push(set("devices", devices()));
    lines.push(set("not-hidden", HIDDEN.into_iter().filter(|path| shows_something(path))));
    for (root, kept) in WRITABLE_BELOW {
        let mut found = BTreeSet::new();
        writable_below(Path::new(root), 1, kept, &mut found);
        lines.push(set(&format!("writable-below-{}", &root[1..]), found));
    }
    lines.extend(limits());
    lines.push(format!("least oom-score: {}", read("/proc/self/oom_score_adj").trim()));
    lines.push(set("processes", processes()));
    lines.push(set("interfaces", names_in("/sys/class/net")));
    let sockets = read("/proc/net/unix").lines().filter(|line| line.contains('@')).count();
    lines.push(format!("most abstract-sockets: {sockets}"));
    let directory = std::env::current_dir().map(|path| path.display().to_string());
    lines.push(format!("same directory: {}", directory.unwrap_or_else(|error| error.to_string())));
    lines
}

/// Open descriptors beside the three streams, by what they are.
fn descriptors() -> Vec<String> {
    let own = format!("/proc/{}/fd", std::process::id());
    names_in("/proc/self/fd")
        .into_iter()
        .filter(|number| !["0", "1", "2"].contains(&number.as_str()))
        .filter_map(|number| fs::read_link(format!("/proc/self/fd/{number}")).ok())
        .map(|target| target.display().to_string().replace(' ', "_"))
        .filter(|target| *target != own)
        .collect()
}

/// Identity, capabilities and the filter of this process.
fn status() -> Vec<String> {
    let text = read("/proc/self/status");
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let mut lines = Vec::new();
    for (name, key) in [
        ("inheritable", "CapInh"),
        ("permitted", "CapPrm"),
        ("effective", "CapEff"),
        ("bounding", "CapBnd"),
        ("ambient", "CapAmb"),
    ] {
        let bits = u64::from_str_radix(&field(key), 16).unwrap_or(u64::MAX);
        let named = sys::capability::NAMES.iter().enumerate().filter(|(number, _)| bits & (1 << number) != 0);
        lines.push(set(&format!("capabilities-{name}"), named.map(|(_, name)| *name)));
    }
    lines.push(format!("least seccomp-mode: {}", field("Seccomp")));
    lines.push(format!("least no-new-privileges: {}", field("NoNewPrivs")));
    lines.push(format!("most tracer: {}", field("TracerPid")));
    for (name, key) in [("user", "Uid"), ("group", "Gid"), ("mask", "Umask")] {
        lines.push(format!("same {name}: {}", field(key)));
    }
    lines.push(set("groups", field("Groups").split(' ').filter(|group| !group.is_empty())));
    let map = read("/proc/self/uid_map");
    lines.push(format!("same users-mapped: {}", map.split_whitespace().collect::<Vec<_>>().join(" ")));
    lines
}

/// Kinds of the namespaces that are the node's own.
fn shared_namespaces(node: &[String]) -> Vec<String> {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let own = |kind: &&str| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}"));
        link.is_ok_and(|link| node.contains(&link.display().to_string()))
    };
    kinds.into_iter().filter(own).map(str::to_owned).collect()
}

/// Mount points by what may be done on them.
fn mounts() -> Vec<String> {
    let text = read("/proc/self/mountinfo");
    let mut all = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let Some(end) = fields.iter().position(|field| *field == "-") else { continue };
        // What covers a hidden path is nobody's way out, and which are there depends on the kernel.
        if HIDDEN.contains(&fields[4]) {
            continue;
        }
        let whole = fields.get(end + 3).copied().unwrap_or_default();
        let options: Vec<&str> = fields[5].split(',').chain(whole.split(',')).collect();
        let shared = fields[6..end].iter().any(|field| field.starts_with("shared:"));
        all.push((fields[4].to_owned(), options, shared));
    }
    let without = |option: &str| {
        all.iter()
            .filter(|(_, options, _)| !options.contains(&option))
            .map(|(path, ..)| path.clone())
            .collect::<Vec<_>>()
    };
    vec![
        set("mounts-writable", without("ro")),
        set("mounts-with-set-user", without("nosuid")),
        set("mounts-with-devices", without("nodev")),
        set("mounts-with-programs", without("noexec")),
        set("mounts-shared", all.iter().filter(|own| own.2).map(|own| own.0.clone())),
    ]
}

/// Names in `/dev`, without those that processes put there.
fn devices() -> Vec<String> {
    let mut names: Vec<String> = names_in("/dev")
        .into_iter()
        .filter(|name| !["shm", "mqueue", "pts"].contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

/// Whether a file has text, or a directory entries.
fn shows_something(path: &str) -> bool {
    match fs::metadata(path) {
        Err(_) => false,
        Ok(metadata) if metadata.is_dir() => !names_in(path).is_empty(),
        Ok(_) => {
            use std::io::Read;
            let mut byte = [0];
            let options = || {
                use std::os::unix::fs::OpenOptionsExt;
                fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)
            };
            // An error of reading shows that the file itself is there.
            options().is_ok_and(|mut file| !matches!(file.read(&mut byte), Ok(0)))
        }
    }
}

/// Notes files that this process may write, by the first parts of their names. Nothing is opened.
fn writable_below(folder: &Path, depth: usize, kept: usize, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Processes, and what belongs to this one.
        if depth == 1
            && (name.bytes().all(|byte| byte.is_ascii_digit()) || ["self", "thread-self"].contains(&&*name))
        {
            continue;
        }
        let shown = path.components().take(kept + 1).collect::<std::path::PathBuf>().display().to_string();
        if kind.is_dir() && depth < DEPTH_MAX && !found.contains(&shown) {
            writable_below(&path, depth + 1, kept, found);
        } else if kind.is_file() && !found.contains(&shown) && may_write(&path) {
            found.insert(shown);
        }
    }
}

fn may_write(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    let arguments = [i64::from(libc::AT_FDCWD), path.as_ptr() as i64, i64::from(libc::W_OK)];
    crate::process::call(libc::SYS_faccessat, &arguments).is_ok()
}

/// Hard limits; none is the largest number.
fn limits() -> Vec<String> {
    let text = read("/proc/self/limits");
    let hard = |title: &str| {
        let line = text.lines().find(|line| line.starts_with(title))?;
        let word = line[title.len()..].split_whitespace().nth(1)?;
        if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() }
    };
    LIMITS
        .iter()
        .map(|(title, name)| format!("most limit-{name}: {}", hard(title).unwrap_or_default()))
        .collect()
}

/// Names of the processes that can be seen.
fn processes() -> Vec<String> {
    let pids = names_in("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    pids.map(|pid| read(&format!("/proc/{pid}/comm")).trim().replace(' ', "_")).collect()
}
