//! Control groups of version 2: Debian's kernel in a virtual machine, with carob as nearly the only program. The probe of
//! the isolation tests runs there, too, beside the record of the reference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use e2e::isolation::variants::{self, VARIANTS};
use e2e::isolation::weaker_than_recorded;
use testkit::command::succeed;
use testkit::{Running, cache, packages};

use crate::isolation;

/// The containers that the probe runs in. Not all: each takes its time where every instruction is emulated.
const PROBED: [&str; 3] = ["default", "add-sys-admin", "restricted"];
/// What stands for the links of the node's namespaces until the machine runs.
const NAMESPACES: &str = "NAMESPACES-OF-THE-NODE";
/// What stands before each line of a report: this, the container's name and `=`.
const REPORT: &str = "REPORT ";

/// Kernel modules that a node needs, beside those that they need themselves.
const MODULES: [&str; 22] = [
    "overlay",
    "veth",
    "bridge",
    "br_netfilter",
    "nf_tables",
    "nft_ct",
    "nft_nat",
    "nft_masq",
    "nft_chain_nat",
    "nft_fib",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_log",
    "nft_limit",
    "nft_redir",
    "nf_conntrack",
    "nft_numgen",
];

/// First program of the machine: leaves the initial file system, because containers cannot pivot out of it.
const INIT: &str = r#"#!/bin/sh
mkdir -p /proc /sys /dev /new
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in MODULES; do modprobe $module 2>/dev/null || echo "no module $module"; done
mount -t tmpfs -o size=80% tmpfs /new
cp -a /bin /etc /test.sh /probe /new/
mkdir -p /new/proc /new/sys /new/dev /new/tmp /new/run /new/root /new/var
umount /proc; umount /sys; umount /dev
exec switch_root /new /bin/sh /test.sh
"#;

/// What is checked inside. Each step's end is printed; the verdict comes last.
const TEST: &str = r#"#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
hostname vm; ip link set lo up
ip link add up0 type bridge; ip addr add 192.0.2.10/24 dev up0; ip link set up0 up
ip route add default via 192.0.2.1
export HOME=/root KUBECONFIG=/root/kubeconfig PATH=/bin
verdict() { echo "VERDICT: $*"; sync; poweroff -f; sleep 60; }
step() { echo "STEP $(cut -d ' ' -f 1 /proc/uptime): $1"; shift; "$@" || { tail -n 40 /var/lib/carob/carob.log; carob describe pods; verdict "failed: $*"; }; }
step up carob up --node-ip 192.0.2.10 --node-name vm --write-kubeconfig $KUBECONFIG --timeout 240s
cat > /tmp/pod.yaml <<'Y'
apiVersion: v1
kind: Pod
metadata: {name: demo}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: demo
    image: carob-demo
    imagePullPolicy: Never
    resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 500m, memory: 64Mi}}
Y
step apply carob apply -f /tmp/pod.yaml
step ready carob wait --for=condition=Ready pod/demo --timeout=120s
group=$(dirname $(find /sys/fs/cgroup -path '*kubepods*' -name memory.max | xargs grep -l '^67108864$' | tail -n 1))
echo "group $group"
step memory test "$(cat $group/memory.max)" = 67108864
step cpu test "$(cat $group/cpu.max)" = "50000 100000"
step processes sh -c "cat $group/cgroup.procs $group/*/cgroup.procs | grep -q '[0-9]'"
step exec carob exec demo -- /carob demo --help
step delete carob delete pod demo --timeout=60s
step empty test -z "$(find /sys/fs/cgroup -path '*kubepods*pod*' -type d)"
step import carob image import /probe/image.tar
links=$(for link in /proc/self/ns/*; do readlink $link; done)
quoted=$(for link in $links; do printf '"%s",' "$link"; done)
for name in CONTAINERS; do
  sed "s/\"NAMESPACES\"/${quoted%,}/" /probe/$name.json > /tmp/$name.json
  step apply-$name carob apply -f /tmp/$name.json
done
for name in CONTAINERS; do
  step ready-$name carob wait --for=condition=Ready pod/$name --timeout=240s
  mkfifo /tmp/$name; carob logs -f $name > /tmp/$name &
  while read -r line; do
    echo "REPORT$name=$line"
    [ "$line" != "END" ] || break
  done < /tmp/$name
  kill $!
  echo "STEP $(cut -d ' ' -f 1 /proc/uptime): exec-$name"
  carob exec $name -- /probe $links | sed "s/^/REPORT$name exec=/"
done
step down carob down --purge
verdict ok
"#;

/// The kernel's files: its image, and the directory of its modules.
fn kernel() -> anyhow::Result<(PathBuf, PathBuf)> {
    let text = succeed(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let name = text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).context("no kernel")?;
    let tree = packages::tree("kernel", &[name])?;
    let version = name.trim_start_matches("linux-image-");
    Ok((tree.join("boot").join(format!("vmlinuz-{version}")), tree.join("lib/modules").join(version)))
}

/// The modules and those that they need, in a directory where `modprobe` finds them.
fn copy_modules(from: &Path, to: &Path) -> anyhow::Result<()> {
    let root = from.ancestors().nth(3).context("a root")?;
    let version = from.file_name().context("a version")?;
    let busybox = packages::tree("busybox", &["busybox-static"])?.join("bin/busybox");
    succeed(Command::new(busybox).args(["depmod", "-b"]).arg(root).arg(version))?;
    fs::create_dir_all(to)?;
    let table = fs::read_to_string(from.join("modules.dep"))?;
    for line in table.lines() {
        let (file, needed) = line.split_once(':').context("a line of modules.dep")?;
        let name = Path::new(file).file_stem().map(|stem| stem.to_string_lossy().replace('-', "_"));
        if !name.is_some_and(|name| MODULES.contains(&name.as_str())) {
            continue;
        }
        for path in std::iter::once(file).chain(needed.split_whitespace()) {
            let target = to.join(path);
            fs::create_dir_all(target.parent().context("a directory")?)?;
            fs::copy(from.join(path), target)?;
        }
    }
    fs::copy(from.join("modules.dep"), to.join("modules.dep")).map(drop).context("copying modules.dep")
}

/// Packs the initial file system.
fn initial(work: &Path, modules: &Path) -> anyhow::Result<PathBuf> {
    let root = work.join("root");
    fs::create_dir_all(root.join("bin"))?;
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    copy_modules(modules, &root.join("lib/modules").join(modules.file_name().context("a version")?))?;
    fs::copy(packages::tree("busybox", &["busybox-static"])?.join("bin/busybox"), root.join("bin/busybox"))?;
    for applet in
        succeed(Command::new(root.join("bin/busybox")).arg("--list"))?.lines().filter(|own| *own != "busybox")
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
    }
    succeed(Command::new("strip").arg("-o").arg(root.join("bin/carob")).arg(testkit::carob::binary()?))?;
    fs::write(root.join("init"), INIT.replace("MODULES", &MODULES.join(" ")))?;
    fs::create_dir_all(root.join("probe"))?;
    fs::rename(isolation::archive(&root), root.join("probe/image.tar"))?;
    for variant in VARIANTS.iter().filter(|variant| PROBED.contains(&variant.name)) {
        let pod = variant.pod(isolation::IMAGE, &variants::stay(&[NAMESPACES.to_owned()]));
        fs::write(root.join("probe").join(variant.name).with_extension("json"), pod.to_string())?;
    }
    let test = [
        ("CONTAINERS", PROBED.join(" ").as_str()),
        ("NAMESPACES", NAMESPACES),
        ("REPORT", REPORT),
        ("END", probe::END),
    ]
    .into_iter()
    .fold(TEST.to_owned(), |text, (word, value)| text.replace(word, value));
    fs::write(root.join("test.sh"), test)?;
    succeed(Command::new("chmod").arg("755").args(["init", "test.sh"]).current_dir(&root))?;
    let file = work.join("initial.cpio");
    let pack = format!("find . | cpio --quiet -o -H newc > {}", file.display());
    succeed(Command::new("sh").args(["-c", &pack]).current_dir(&root))?;
    Ok(file)
}

/// What is weaker than the record, which is one of version 1, in what the machine printed.
fn weaker(said: &str) -> Vec<String> {
    let recorded = isolation::record();
    let mut found = Vec::new();
    for name in PROBED.into_iter().flat_map(|name| [name.to_owned(), format!("{name} exec")]) {
        let start = format!("{REPORT}{name}=");
        let lines: Vec<&str> = said.lines().filter_map(|line| line.trim_end().strip_prefix(&start)).collect();
        let report = isolation::report(&name, &lines.join("\n"));
        found.extend(weaker_than_recorded(&name, &report, &recorded[&name]));
        // As containerd does it where groups are of version 2.
        let shared = report.get("set namespaces-of-the-node").unwrap_or("cgroup");
        if shared.split(' ').any(|kind| kind == "cgroup") {
            found.push(format!("{name}: its control groups are seen from the node's root"));
        }
    }
    found
}

#[test]
fn cgroup_v2_vm() {
    testkit::require_root();
    let work = tempfile::tempdir_in(cache::root().expect("a cache")).expect("a directory");
    let (image, modules) = kernel().expect("a kernel");
    let initial = initial(work.path(), &modules).expect("an initial file system");
    let tree = packages::tree(
        "qemu",
        &["qemu-system-x86", "qemu-system-data", "seabios", "ipxe-qemu", "qemu-system-common"],
    );
    let tree = tree.expect("qemu");
    let mut command = packages::program_in(&tree, "usr/bin/qemu-system-x86_64");
    command.env("QEMU_MODULE_DIR", tree.join("usr/lib/x86_64-linux-gnu/qemu"));
    for folder in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
        command.arg("-L").arg(tree.join(folder));
    }
    command.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "2048", "-nodefaults", "-no-reboot"]);
    command
        .args(["-display", "none", "-serial", "stdio", "-kernel"])
        .arg(&image)
        .arg("-initrd")
        .arg(&initial);
    command.args(["-append", "console=ttyS0 quiet panic=-1 systemd.unified_cgroup_hierarchy=1"]);
    let mut machine = Running::start(&mut command).expect("qemu starts");
    machine.patience(std::time::Duration::from_secs(420));
    let line = machine.line_with("VERDICT: ");
    assert!(line.contains("VERDICT: ok"), "{}", machine.said());
    let found = weaker(&machine.said());
    assert!(found.is_empty(), "weaker than the reference:\n{}", found.join("\n"));
}
