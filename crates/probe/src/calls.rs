//! Attempts that are one system call.

use libc::{EAFNOSUPPORT, EBADF, EBUSY, EINVAL, ENODEV, ENOENT, ENXIO, EPROTONOSUPPORT, ESRCH};

use crate::Attempt;
use crate::process::{call, end};

/// A row: name, errors that mean permission, number of the call, its arguments.
macro_rules! row {
    ($name:literal, [$($permitted:expr),*], $number:ident $(, $argument:expr)*) => {
        Attempt {
            name: $name,
            permitted: &[$($permitted),*],
            run: || call(libc::$number, &[$($argument as i64),*]).map(drop),
        }
    };
}

/// A row that opens a path.
macro_rules! open {
    ($name:literal, $path:literal, $flags:expr) => {
        row!($name, [], SYS_openat, libc::AT_FDCWD, $path.as_ptr(), $flags | libc::O_CLOEXEC)
    };
}

const NO_OPERATION: [u64; 4] = [0; 4];
/// `struct timezone` with minutes that no place has.
const NOWHERE: [i32; 2] = [100_000, 0];
const PRIORITY: [i32; 1] = [1];
const FILE: *const libc::c_char = c"/tmp".as_ptr();
const MISSING: *const libc::c_char = c"/nonexistent/file".as_ptr();

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Attempt> {
    MOUNTS.iter().chain(MACHINE).chain(PROCESSES).chain(NAMESPACES).chain(SOCKETS).chain(FILES)
}

const MOUNTS: &[Attempt] = &[
    row!("mount-move", [EINVAL], SYS_mount, FILE, FILE, 0, libc::MS_MOVE, 0),
    row!("umount", [EINVAL], SYS_umount2, FILE, 0),
    row!("pivot-root", [EINVAL, EBUSY], SYS_pivot_root, FILE, FILE),
    row!("fsopen", [], SYS_fsopen, c"tmpfs".as_ptr(), 0),
    row!("open-tree-copy", [], SYS_open_tree, libc::AT_FDCWD, c"/".as_ptr(), 1),
    row!("mount-setattr", [EINVAL], SYS_mount_setattr, libc::AT_FDCWD, FILE, 0, NO_OPERATION.as_ptr(), 32),
    row!("move-mount", [EINVAL, ENOENT, EBADF], SYS_move_mount, -1, c"".as_ptr(), -1, c"".as_ptr(), 0),
    row!("chroot", [], SYS_chroot, c"/".as_ptr()),
];

const MACHINE: &[Attempt] = &[
    row!("reboot", [EINVAL], SYS_reboot, 0, 0, 0, 0),
    row!("kexec-load", [EINVAL], SYS_kexec_load, 0, 0, 0, 0xffff),
    row!("kexec-file-load", [EINVAL], SYS_kexec_file_load, -1, -1, 0, 0, 0xffff),
    row!("init-module", [libc::ENOEXEC, libc::EFAULT], SYS_init_module, 0, 0, c"".as_ptr()),
    row!("finit-module", [EINVAL, EBADF], SYS_finit_module, -1, c"".as_ptr(), 0xffff),
    row!("delete-module", [ENOENT], SYS_delete_module, c"no_such_module".as_ptr(), libc::O_NONBLOCK),
    row!("swapon", [ENOENT], SYS_swapon, MISSING, 0),
    row!("swapoff", [ENOENT, EINVAL], SYS_swapoff, MISSING),
    row!("settimeofday", [EINVAL], SYS_settimeofday, 0, NOWHERE.as_ptr()),
    Attempt {
        name: "adjtimex",
        permitted: &[EINVAL],
        run: || {
            // `struct timex`: `ADJ_TICK` with a tick of no length. The kernel writes its answer there, too.
            let mut words = [0_u64; 26];
            words[0] = 0x4000;
            call(libc::SYS_adjtimex, &[words.as_mut_ptr() as i64]).map(drop)
        },
    },
    row!("acct", [ENOENT], SYS_acct, MISSING),
    row!("syslog-size", [], SYS_syslog, 10, 0, 0),
    row!("syslog-console-level", [EINVAL], SYS_syslog, 8, 0, 100),
    row!("sethostname", [EINVAL], SYS_sethostname, c"x".as_ptr(), -1),
    row!("setdomainname", [EINVAL], SYS_setdomainname, c"x".as_ptr(), -1),
    #[cfg(target_arch = "x86_64")]
    row!("iopl", [], SYS_iopl, 3),
    #[cfg(target_arch = "x86_64")]
    row!("ioperm", [], SYS_ioperm, 0x80, 1, 1),
    row!("userfaultfd", [], SYS_userfaultfd, 0),
    row!("userfaultfd-user-mode", [], SYS_userfaultfd, 1),
    row!("fanotify", [], SYS_fanotify_init, 0, 0),
];

const PROCESSES: &[Attempt] = &[
    row!("personality-no-randomize", [], SYS_personality, 0x4_0000),
    row!("personality-read-executes", [], SYS_personality, 0x40_0000),
    row!("add-key", [], SYS_add_key, c"user".as_ptr(), c"carob-probe".as_ptr(), c"x".as_ptr(), 1, -2),
    row!("keyctl", [libc::ENOKEY], SYS_keyctl, 0, -3, 0),
    row!("request-key", [libc::ENOKEY], SYS_request_key, c"user".as_ptr(), c"carob-none".as_ptr(), 0, 0),
    row!("ptrace-parent", [], SYS_ptrace, 0x4206, parent(), 0, 0),
    row!("ptrace-first", [], SYS_ptrace, 0x4206, 1, 0, 0),
    row!("kcmp-parent", [], SYS_kcmp, parent(), parent(), 0, 0, 0),
    row!("scheduler-real-time", [], SYS_sched_setscheduler, 0, libc::SCHED_FIFO, PRIORITY.as_ptr()),
    row!("priority-raise", [], SYS_setpriority, libc::PRIO_PROCESS, 0, -20),
    row!("io-priority-real-time", [], SYS_ioprio_set, 1, 0, 1 << 13),
    row!("become-other-user", [], SYS_setuid, 12345),
    row!("kill-parent-check", [], SYS_kill, parent(), 0),
    row!("move-pages-first", [ESRCH, libc::EFAULT], SYS_move_pages, 1, 0, 0, 0, 0, 4),
];

/// The process that started this one.
fn parent() -> i32 {
    // SAFETY: reads a number.
    unsafe { libc::getppid() }
}

/// `clone` with these flags; the new process ends at once.
fn clone(flags: i32) -> Result<(), i32> {
    match call(libc::SYS_clone, &[i64::from(flags | libc::SIGCHLD)])? {
        0 => end(0),
        _ => Ok(()),
    }
}

/// Joins a namespace of the first process.
fn join(path: &std::ffi::CStr, flags: i32) -> Result<(), i32> {
    let open = [i64::from(libc::AT_FDCWD), path.as_ptr() as i64, i64::from(libc::O_RDONLY)];
    let descriptor = call(libc::SYS_openat, &open)?;
    call(libc::SYS_setns, &[descriptor, i64::from(flags)]).map(drop)
}

macro_rules! clone {
    ($name:literal, $flags:ident) => {
        Attempt { name: $name, permitted: &[], run: || clone(libc::$flags) }
    };
}

macro_rules! join {
    ($name:literal, $path:literal, $flags:ident) => {
        Attempt { name: $name, permitted: &[], run: || join($path, libc::$flags) }
    };
}

/// `struct clone_args` with the flag of a user namespace.
const NEW_USER: [u64; 11] = {
    let mut words = [0; 11];
    words[0] = libc::CLONE_NEWUSER as u64;
    words
};

const NAMESPACES: &[Attempt] = &[
    row!("unshare-mount", [], SYS_unshare, libc::CLONE_NEWNS),
    row!("unshare-user", [], SYS_unshare, libc::CLONE_NEWUSER),
    row!("unshare-pid", [], SYS_unshare, libc::CLONE_NEWPID),
    row!("unshare-network", [], SYS_unshare, libc::CLONE_NEWNET),
    row!("unshare-ipc", [], SYS_unshare, libc::CLONE_NEWIPC),
    row!("unshare-uts", [], SYS_unshare, libc::CLONE_NEWUTS),
    row!("unshare-cgroup", [], SYS_unshare, libc::CLONE_NEWCGROUP),
    row!("unshare-time", [], SYS_unshare, 0x80),
    clone!("clone-mount", CLONE_NEWNS),
    clone!("clone-user", CLONE_NEWUSER),
    clone!("clone-pid", CLONE_NEWPID),
    clone!("clone-network", CLONE_NEWNET),
    clone!("clone-ipc", CLONE_NEWIPC),
    clone!("clone-uts", CLONE_NEWUTS),
    clone!("clone-cgroup", CLONE_NEWCGROUP),
    Attempt {
        name: "clone3-user",
        permitted: &[],
        run: || match call(libc::SYS_clone3, &[NEW_USER.as_ptr() as i64, 88])? {
            0 => end(0),
            _ => Ok(()),
        },
    },
    join!("join-mount-of-first", c"/proc/1/ns/mnt", CLONE_NEWNS),
    join!("join-pid-of-first", c"/proc/1/ns/pid", CLONE_NEWPID),
    join!("join-network-of-first", c"/proc/1/ns/net", CLONE_NEWNET),
    join!("join-ipc-of-first", c"/proc/1/ns/ipc", CLONE_NEWIPC),
    join!("join-uts-of-first", c"/proc/1/ns/uts", CLONE_NEWUTS),
    join!("join-cgroup-of-first", c"/proc/1/ns/cgroup", CLONE_NEWCGROUP),
];

const SOCKETS: &[Attempt] = &[
    row!("socket-raw", [], SYS_socket, libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
    row!("socket-packet", [EAFNOSUPPORT], SYS_socket, libc::AF_PACKET, libc::SOCK_RAW, 0),
    row!("socket-vsock", [EAFNOSUPPORT, ENODEV], SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0),
    row!("socket-crypto", [EAFNOSUPPORT], SYS_socket, libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
    row!("socket-key", [EAFNOSUPPORT, EPROTONOSUPPORT], SYS_socket, libc::AF_KEY, libc::SOCK_RAW, 2),
    row!("socket-express", [EAFNOSUPPORT], SYS_socket, 44, libc::SOCK_RAW, 0),
    row!("socket-audit", [EPROTONOSUPPORT], SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, 9),
];

const READ: i32 = libc::O_RDONLY | libc::O_NONBLOCK;
const WRITE: i32 = libc::O_WRONLY | libc::O_NONBLOCK;

const FILES: &[Attempt] = &[
    open!("write-core-pattern", c"/proc/sys/kernel/core_pattern", WRITE),
    open!("write-modprobe", c"/proc/sys/kernel/modprobe", WRITE),
    open!("write-panic", c"/proc/sys/kernel/panic", WRITE),
    open!("write-randomize", c"/proc/sys/kernel/randomize_va_space", WRITE),
    open!("write-overcommit", c"/proc/sys/vm/overcommit_memory", WRITE),
    open!("write-file-max", c"/proc/sys/fs/file-max", WRITE),
    open!("write-binary-formats", c"/proc/sys/fs/binfmt_misc/register", WRITE),
    open!("write-ip-forward", c"/proc/sys/net/ipv4/ip_forward", WRITE),
    open!("write-message-max", c"/proc/sys/kernel/msgmax", WRITE),
    open!("write-sysrq", c"/proc/sysrq-trigger", WRITE),
    open!("write-interrupts", c"/proc/irq/default_smp_affinity", WRITE),
    open!("write-bus", c"/proc/bus/pci/devices", WRITE),
    open!("write-uevent-helper", c"/sys/kernel/uevent_helper", WRITE),
    open!("write-huge-pages", c"/sys/kernel/mm/transparent_hugepage/enabled", WRITE),
    open!("write-profiling", c"/sys/kernel/profiling", WRITE),
    open!("write-power-state", c"/sys/power/state", WRITE),
    open!("write-queue", c"/sys/class/net/lo/mtu", WRITE),
    open!("write-release-agent", c"/sys/fs/cgroup/memory/release_agent", WRITE),
    open!("write-memory-limit", c"/sys/fs/cgroup/memory/memory.limit_in_bytes", WRITE),
    open!("write-memory-max", c"/sys/fs/cgroup/memory.max", WRITE),
    open!("write-cgroup-processes", c"/sys/fs/cgroup/cgroup.procs", WRITE),
    open!("write-devices-allow", c"/sys/fs/cgroup/devices/devices.allow", WRITE),
    open!("read-kernel-messages", c"/proc/kmsg", READ),
    Attempt {
        name: "read-memory-image",
        permitted: &[],
        run: || {
            let file = call(libc::SYS_openat, &[-100, c"/proc/kcore".as_ptr() as i64, i64::from(READ)])?;
            let mut byte = [0_u8];
            // What covers it can be opened, and holds nothing.
            match call(libc::SYS_read, &[file, byte.as_mut_ptr() as i64, 1])? {
                0 => Err(libc::ENODATA),
                _ => Ok(()),
            }
        },
    },
    open!("read-security-events", c"/sys/kernel/security/lsm", READ),
    open!("read-traces", c"/sys/kernel/debug/sched/debug", READ),
    open!("read-first-environment", c"/proc/1/environ", READ),
    open!("read-first-memory", c"/proc/1/mem", READ),
    open!("write-first-memory", c"/proc/1/mem", WRITE),
    open!("enter-first-root", c"/proc/1/root/", READ | libc::O_DIRECTORY),
    open!("lower-own-oom-score", c"/proc/self/oom_score_adj", WRITE),
    open!("write-device-messages", c"/dev/kmsg", WRITE),
    open!("read-device-memory", c"/dev/mem", READ),
    open!("read-device-port", c"/dev/port", READ),
    Attempt {
        name: "open-own-terminal",
        permitted: &[ENXIO],
        run: || call(libc::SYS_openat, &[-100, c"/dev/tty".as_ptr() as i64, i64::from(READ)]).map(drop),
    },
];
