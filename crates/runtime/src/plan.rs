//! From CRI configurations to specifications: defaults as containerd 2 sets them. Pure, apart from looking at device
//! nodes and cgroup paths that the caller hands in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cri::image::ImageConfig;
use cri::runtime::{ContainerConfig, MountPropagation, SeccompProfile};
use cri::sandbox::{NamespaceMode, PodSandboxConfig};
use sys::cgroup_bpf::{MKNOD, READ, Rule, WRITE};
use sys::mount::attribute::{NO_DEV, NO_EXEC, NO_SUID, READ_ONLY, STRICT_ATIME};

use crate::spec::{DeviceSpec, MountSource, MountSpec, PidNamespace, UserSpec};

/// Containers' capabilities unless told otherwise: CHOWN, DAC_OVERRIDE, FSETID, FOWNER, MKNOD, NET_RAW, SETGID, SETUID,
/// SETFCAP, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT, KILL, AUDIT_WRITE.
const CAPABILITIES_DEFAULT: u64 = 0xa804_25fb;

const PATH_DEFAULT: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Files that the sandbox gives to its containers.
#[derive(Debug, Clone)]
pub struct SandboxFiles {
    /// `/etc/hostname`.
    pub hostname: PathBuf,
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// `/dev/shm`.
    pub shm: PathBuf,
}

/// The set of a container's capabilities, limited to what this process has. Unknown names are an error.
pub fn capabilities(config: &ContainerConfig, available: u64) -> Result<u64, String> {
    let context = &config.security_context;
    if context.privileged {
        return Ok(available);
    }
    let number = |name: &String| -> Result<u64, String> {
        let short = name.to_uppercase();
        let short = short.strip_prefix("CAP_").unwrap_or(&short);
        let known = sys::capability::NAMES.iter().position(|known| *known == short);
        known.map(|number| 1 << number).ok_or_else(|| format!("unknown capability \"CAP_{short}\""))
    };
    let all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    let mut set = CAPABILITIES_DEFAULT;
    // ALL first, so that single names narrow or widen it, whatever their order.
    if all(&context.add_capabilities) {
        set = available;
    }
    if all(&context.drop_capabilities) {
        set = 0;
    }
    for name in context.add_capabilities.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")) {
        set |= number(name)?;
    }
    for name in context.drop_capabilities.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")) {
        set &= !number(name)?;
    }
    Ok(set & available)
}

/// The command line.
pub fn arguments(config: &ContainerConfig, image: &ImageConfig) -> Result<Vec<String>, String> {
    let (mut command, mut args) = (config.command.clone(), config.args.clone());
    if command.is_empty() {
        if args.is_empty() {
            args.clone_from(&image.cmd);
        }
        command.clone_from(&image.entrypoint);
    }
    command.extend(args);
    if command.is_empty() { Err("no command specified".to_owned()) } else { Ok(command) }
}

/// The environment; later entries win, each at its first place.
pub fn environment(config: &ContainerConfig, image: &ImageConfig, hostname: &str) -> Vec<String> {
    let mut result: Vec<String> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut add = |entry: String| {
        let name = entry.split('=').next().unwrap_or_default().to_owned();
        match places.get(&name) {
            Some(place) => result[*place] = entry,
            None => {
                places.insert(name, result.len());
                result.push(entry);
            }
        }
    };
    add(PATH_DEFAULT.to_owned());
    image.env.iter().for_each(|entry| add(entry.clone()));
    if config.tty {
        add("TERM=xterm".to_owned());
    }
    add(format!("HOSTNAME={hostname}"));
    config.envs.iter().for_each(|(name, value)| add(format!("{name}={value}")));
    result
}

/// The identity: what the Pod asks for, else the image's.
pub fn user(config: &ContainerConfig, image: &ImageConfig) -> Result<UserSpec, String> {
    let context = &config.security_context;
    let mut user = match (context.run_as_user, context.run_as_username.as_str()) {
        (Some(user), _) => user.to_string(),
        (None, name) => name.to_owned(),
    };
    match context.run_as_group {
        Some(group) if user.is_empty() => {
            return Err(format!("user group \"{group}\" is specified without user"));
        }
        Some(group) => user = format!("{user}:{group}"),
        None if user.is_empty() => user.clone_from(&image.user),
        None => {}
    }
    let groups = context.supplemental_groups.iter().map(|group| u32::try_from(*group));
    let supplemental_groups =
        groups.collect::<Result<_, _>>().map_err(|_| "supplemental group is out of range".to_owned())?;
    Ok(UserSpec { user, supplemental_groups, strict: context.strict_supplemental_groups })
}

/// The PID namespace.
pub fn pid_namespace(config: &ContainerConfig) -> PidNamespace {
    let options = &config.security_context.namespace_options;
    match options.pid {
        NamespaceMode::Container => PidNamespace::Own,
        NamespaceMode::Pod => PidNamespace::Pod,
        NamespaceMode::Node => PidNamespace::Node,
        NamespaceMode::Target => PidNamespace::Target(options.target_id.clone()),
    }
}

/// The seccomp program, if any. Privileged containers have none.
pub fn seccomp(
    config: &ContainerConfig,
    default: impl FnOnce() -> Vec<u64>,
) -> Result<Option<Vec<u64>>, String> {
    use crate::seccomp_profile::{compile, parse};
    let context = &config.security_context;
    if context.privileged {
        return Ok(None);
    }
    match &context.seccomp {
        SeccompProfile::Unconfined => Ok(None),
        SeccompProfile::RuntimeDefault => Ok(Some(default())),
        SeccompProfile::Localhost(path) => {
            let failed = |error: String| {
                format!("failed to generate seccomp spec opts: cannot load seccomp profile {path:?}: {error}")
            };
            let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
            Ok(Some(compile(&parse(&text).map_err(failed)?)))
        }
    }
}

fn file_system(target: &str, kind: &str, options: &[(&str, &str)], attributes: u64) -> MountSpec {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let source = MountSource::FileSystem { kind: kind.to_owned(), options };
    MountSpec { target: target.into(), source, attributes }
}

fn bind(target: impl Into<PathBuf>, path: &Path, attributes: u64) -> MountSpec {
    let source = MountSource::Bind {
        path: path.to_owned(),
        propagation: sys::mount::MS_PRIVATE,
        recursive_attributes: false,
    };
    MountSpec { target: target.into(), source, attributes }
}

/// Every mount of a container, in order: the defaults, the sandbox's files, the Pod's. A mount of the Pod replaces a
/// default one at the same place.
pub fn mounts(config: &ContainerConfig, sandbox: &PodSandboxConfig, files: &SandboxFiles) -> Vec<MountSpec> {
    let context = &config.security_context;
    let options = &context.namespace_options;
    let strict = NO_SUID | NO_EXEC | NO_DEV;
    let readonly = if context.privileged { 0 } else { READ_ONLY };
    // The node's own keeps the attributes that it has.
    let (shm, shm_attributes) = match options.ipc {
        NamespaceMode::Node => (Path::new("/dev/shm"), 0),
        _ => (files.shm.as_path(), strict),
    };
    let file_attributes = if context.readonly_rootfs { READ_ONLY } else { 0 };
    let mut defaults = vec![
        file_system("/proc", "proc", &[], strict),
        file_system("/dev", "tmpfs", &[("mode", "755"), ("size", "65536k")], NO_SUID | STRICT_ATIME),
        file_system(
            "/dev/pts",
            "devpts",
            &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")],
            NO_SUID | NO_EXEC,
        ),
        file_system("/dev/mqueue", "mqueue", &[], strict),
        file_system("/sys", "sysfs", &[], strict | readonly),
        MountSpec {
            target: "/sys/fs/cgroup".into(),
            source: MountSource::ControlGroups,
            attributes: strict | readonly,
        },
        bind("/dev/shm", shm, shm_attributes),
    ];
    if !sandbox.hostname.is_empty() || options.network == NamespaceMode::Node {
        defaults.push(bind("/etc/hostname", &files.hostname, file_attributes));
    }
    defaults.push(bind("/etc/resolv.conf", &files.resolv_conf, file_attributes));
    let clean = |path: &str| Path::new("/").join(path).components().collect::<PathBuf>();
    let replaced: Vec<PathBuf> = config.mounts.iter().map(|mount| clean(&mount.container_path)).collect();
    // Below a replaced /dev nothing is ours either.
    let own = |target: &Path| !replaced.iter().any(|path| target == path || is_special(path, target));
    defaults.retain(|mount| own(&mount.target));
    let mut extra: Vec<MountSpec> = config
        .mounts
        .iter()
        .map(|mount| MountSpec {
            target: clean(&mount.container_path),
            attributes: if mount.readonly { READ_ONLY } else { 0 },
            source: MountSource::Bind {
                path: mount.host_path.clone().into(),
                propagation: match mount.propagation {
                    MountPropagation::Private => sys::mount::MS_PRIVATE,
                    MountPropagation::HostToContainer => sys::mount::MS_SLAVE,
                    MountPropagation::Bidirectional => sys::mount::MS_SHARED,
                },
                recursive_attributes: mount.recursive_read_only,
            },
        })
        .collect();
    // Outer ones first, or they would cover the inner ones.
    extra.sort_by_key(|mount| mount.target.components().count());
    defaults.extend(extra);
    defaults
}

/// Whether a mount of the node's /dev, /proc or /sys brings what we would mount below it.
fn is_special(replaced: &Path, target: &Path) -> bool {
    let special = ["/dev", "/sys"].iter().any(|path| replaced == Path::new(path));
    special && target.starts_with(replaced) && target != Path::new("/dev/shm")
}

/// Whether `/dev` is ours to fill.
pub fn populate_dev(mounts: &[MountSpec]) -> bool {
    mounts.iter().any(|mount| {
        mount.target == Path::new("/dev") && matches!(mount.source, MountSource::FileSystem { .. })
    })
}

const CHARACTER_DEVICE: u32 = 0o020_000;

/// Nodes that every container has.
pub fn default_devices() -> Vec<DeviceSpec> {
    [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9), ("tty", 0)]
        .iter()
        .map(|(name, minor)| DeviceSpec {
            path: Path::new("/dev").join(name),
            mode: CHARACTER_DEVICE | 0o666,
            major: if *name == "tty" { 5 } else { 1 },
            minor: *minor,
            uid: 0,
            gid: 0,
        })
        .collect()
}

/// The device rules: nothing, but any node may be made, and the usual ones used. The machine's console (5:1) is not among
/// them: `/dev/console` of a container with a terminal is that terminal.
pub fn device_rules(privileged: bool, devices: &[(DeviceSpec, String)]) -> Vec<Rule> {
    let all = READ | WRITE | MKNOD;
    let rule = |kind, major, minor, access| Rule { allow: true, kind, major, minor, access };
    if privileged {
        return vec![rule(b'a', None, None, all)];
    }
    let mut rules = vec![rule(b'c', None, None, MKNOD), rule(b'b', None, None, MKNOD)];
    for (major, minor) in [(1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9), (5, 2)] {
        rules.push(rule(b'c', Some(major), Some(minor), all));
    }
    rules.push(rule(b'c', Some(136), None, all));
    for (device, permissions) in devices {
        let kind = if device.mode & 0o170_000 == 0o060_000 { b'b' } else { b'c' };
        let bits = [('r', READ), ('w', WRITE), ('m', MKNOD)];
        let access =
            bits.iter().filter(|(letter, _)| permissions.contains(*letter)).map(|(_, bit)| bit).sum();
        rules.push(rule(kind, Some(device.major), Some(device.minor), access));
    }
    rules
}

/// Settings of the kernel that each IPC namespace has for itself, beside those below `fs.mqueue`.
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The Pod's settings of the kernel, after those that let its containers use low ports and ping without privileges, as
/// upstream's runtime does by default.
///
/// # Errors
/// For a setting that is not of one of the Pod's own namespaces: to write it would change the node.
pub fn sysctls(config: &PodSandboxConfig) -> Result<Vec<(String, String)>, String> {
    let options = &config.linux.security_context.namespace_options;
    let wanted = &config.linux.sysctls;
    let mut settings = Vec::new();
    if options.network != NamespaceMode::Node {
        for (name, value) in
            [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")]
        {
            if !wanted.contains_key(name) {
                settings.push((name.to_owned(), value.to_owned()));
            }
        }
    }
    for (name, value) in wanted {
        let of_ipc = IPC_SYSCTLS.contains(&name.as_str()) || name.starts_with("fs.mqueue.");
        match (of_ipc, name.starts_with("net.")) {
            (true, _) if options.ipc == NamespaceMode::Node => {
                return Err(format!("sysctl {name:?} is not allowed in the hosts ipc namespace"));
            }
            (_, true) if options.network == NamespaceMode::Node => {
                return Err(format!("sysctl {name:?} not allowed in host network namespace"));
            }
            (false, false) => return Err(format!("sysctl {name:?} is not in a separate kernel namespace")),
            _ => settings.push((name.clone(), value.clone())),
        }
    }
    Ok(settings)
}

/// `/etc/resolv.conf` of a sandbox.
pub fn resolv_conf(dns: &cri::sandbox::DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

/// The signal for a graceful stop: the container's, else the image's, else SIGTERM.
pub fn stop_signal(config: &str, image: &str) -> i32 {
    [config, image].into_iter().find_map(parse_signal).unwrap_or(sys::process::SIGTERM)
}

fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        return offset
            .parse::<i32>()
            .ok()
            .filter(|offset| (0..=30).contains(offset))
            .map(|offset| 34 + offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX-") {
        return offset
            .parse::<i32>()
            .ok()
            .filter(|offset| (0..=30).contains(offset))
            .map(|offset| 64 - offset);
    }
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match name {
        "RTMIN" => Some(34),
        "RTMAX" => Some(64),
        _ => NAMES.iter().position(|known| *known == name).map(|index| index as i32 + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(change: impl FnOnce(&mut ContainerConfig)) -> ContainerConfig {
        let mut config = ContainerConfig::default();
        change(&mut config);
        config
    }

    #[test]
    fn capabilities_add_and_drop() {
        let all = (1 << 41) - 1;
        let check = |add: &[&str], drop: &[&str], expected: u64| {
            let config = container(|config| {
                let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
                config.security_context.add_capabilities = owned(add);
                config.security_context.drop_capabilities = owned(drop);
            });
            assert_eq!(capabilities(&config, all).unwrap(), expected, "add {add:?} drop {drop:?}");
        };
        check(&[], &[], CAPABILITIES_DEFAULT);
        check(&["SYS_ADMIN"], &[], CAPABILITIES_DEFAULT | 1 << 21);
        check(&[], &["ALL"], 0);
        check(&["NET_BIND_SERVICE"], &["ALL"], 1 << 10);
        check(&["ALL"], &[], all);
        check(&["ALL"], &["CHOWN"], all & !1);
        check(&["CAP_NET_ADMIN"], &["net_raw"], (CAPABILITIES_DEFAULT | 1 << 12) & !(1 << 13));
        let unknown = container(|config| config.security_context.add_capabilities = vec!["FLY".to_owned()]);
        assert!(capabilities(&unknown, all).unwrap_err().contains("CAP_FLY"));
    }

    #[test]
    fn settings_of_the_node_are_not_a_pods() {
        use NamespaceMode::{Node, Pod};
        let rows = [
            ("net.core.somaxconn", Pod, Pod, None),
            ("kernel.shmmax", Pod, Pod, None),
            ("fs.mqueue.msg_max", Pod, Pod, None),
            ("net.core.somaxconn", Node, Pod, Some("not allowed in host network namespace")),
            ("kernel.shmmax", Pod, Node, Some("is not allowed in the hosts ipc namespace")),
            ("kernel.core_pattern", Pod, Pod, Some("is not in a separate kernel namespace")),
            ("vm.overcommit_memory", Pod, Pod, Some("is not in a separate kernel namespace")),
            ("kernel.net.x", Pod, Pod, Some("is not in a separate kernel namespace")),
            ("net/core/somaxconn", Pod, Pod, Some("is not in a separate kernel namespace")),
        ];
        for (name, network, ipc, expected) in rows {
            let mut config = PodSandboxConfig::default();
            config.linux.security_context.namespace_options.network = network;
            config.linux.security_context.namespace_options.ipc = ipc;
            config.linux.sysctls = [(name.to_owned(), "1".to_owned())].into();
            let expected = expected.map(|words| format!("sysctl {name:?} {words}"));
            assert_eq!(sysctls(&config).err(), expected);
        }
    }

    #[test]
    fn commands_follow_the_image() {
        let image = ImageConfig {
            entrypoint: vec!["/entry".to_owned()],
            cmd: vec!["default".to_owned()],
            ..ImageConfig::default()
        };
        let check = |command: &[&str], args: &[&str], expected: &[&str]| {
            let config = container(|config| {
                config.command = command.iter().map(|text| (*text).to_owned()).collect();
                config.args = args.iter().map(|text| (*text).to_owned()).collect();
            });
            assert_eq!(arguments(&config, &image).unwrap(), expected);
        };
        check(&[], &[], &["/entry", "default"]);
        check(&[], &["x"], &["/entry", "x"]);
        check(&["sh"], &[], &["sh"]);
        check(&["sh"], &["-c"], &["sh", "-c"]);
        assert!(arguments(&ContainerConfig::default(), &ImageConfig::default()).is_err());
    }

    #[test]
    fn environments_are_merged() {
        let image =
            ImageConfig { env: vec!["PATH=/bin".to_owned(), "A=1".to_owned()], ..ImageConfig::default() };
        let config = container(|config| config.envs = vec![("A".to_owned(), "2=3".to_owned())]);
        assert_eq!(environment(&config, &image, "pod"), ["PATH=/bin", "A=2=3", "HOSTNAME=pod"]);
    }

    #[test]
    fn users_come_from_pod_or_image() {
        let image = ImageConfig { user: "app:staff".to_owned(), ..ImageConfig::default() };
        let check = |uid: Option<i64>, gid: Option<i64>, expected: Option<&str>| {
            let config = container(|config| {
                config.security_context.run_as_user = uid;
                config.security_context.run_as_group = gid;
            });
            assert_eq!(user(&config, &image).ok().map(|user| user.user).as_deref(), expected);
        };
        check(None, None, Some("app:staff"));
        check(Some(1000), None, Some("1000"));
        check(Some(1000), Some(2000), Some("1000:2000"));
        check(None, Some(2000), None);
    }

    #[test]
    fn pod_mounts_replace_defaults_and_outer_ones_come_first() {
        let files = SandboxFiles {
            hostname: "/s/hostname".into(),
            resolv_conf: "/s/resolv.conf".into(),
            shm: "/s/shm".into(),
        };
        let mount = |path: &str| cri::runtime::Mount {
            container_path: path.to_owned(),
            host_path: "/h".to_owned(),
            ..Default::default()
        };
        let config = container(|config| config.mounts = vec![mount("/a/b"), mount("/a"), mount("/dev/shm/")]);
        let planned = mounts(&config, &PodSandboxConfig::default(), &files);
        let targets: Vec<_> = planned.iter().map(|mount| mount.target.to_str().unwrap()).collect();
        assert_eq!(
            targets,
            [
                "/proc",
                "/dev",
                "/dev/pts",
                "/dev/mqueue",
                "/sys",
                "/sys/fs/cgroup",
                "/etc/resolv.conf",
                "/a",
                "/a/b",
                "/dev/shm"
            ]
        );
        assert!(populate_dev(&planned));
        let config = container(|config| config.mounts = vec![mount("/dev")]);
        let planned = mounts(&config, &PodSandboxConfig::default(), &files);
        assert!(!populate_dev(&planned));
        assert!(!planned.iter().any(|mount| mount.target == Path::new("/dev/pts")));
    }

    #[test]
    fn shared_memory_holds_neither_programs_nor_devices() {
        let files = SandboxFiles { hostname: "/h".into(), resolv_conf: "/r".into(), shm: "/s/shm".into() };
        for (ipc, expected) in [(NamespaceMode::Pod, NO_SUID | NO_EXEC | NO_DEV), (NamespaceMode::Node, 0)] {
            let config = container(|config| config.security_context.namespace_options.ipc = ipc);
            let planned = mounts(&config, &PodSandboxConfig::default(), &files);
            let shm = planned.iter().find(|mount| mount.target == Path::new("/dev/shm")).unwrap();
            assert_eq!(shm.attributes, expected, "{ipc:?}");
        }
    }

    #[test]
    fn of_the_terminals_the_console_of_the_machine_cannot_be_used() {
        let rules = device_rules(false, &[]);
        let usable = |minor| {
            rules.iter().any(|rule| {
                rule.major == Some(5) && rule.minor == Some(minor) && rule.access & (READ | WRITE) != 0
            })
        };
        assert!(usable(0) && usable(2) && !usable(1));
        assert_eq!(device_rules(true, &[]).len(), 1);
    }

    #[test]
    fn signals_are_named_or_numbered() {
        for (config, image, expected) in [
            ("", "", 15),
            ("SIGQUIT", "", 3),
            ("", "SIGUSR1", 10),
            ("9", "x", 9),
            ("RTMIN+3", "", 37),
            ("bad", "INT", 2),
        ] {
            assert_eq!(stop_signal(config, image), expected, "{config} {image}");
        }
    }
}
