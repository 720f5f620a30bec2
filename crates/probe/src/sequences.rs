//! Attempts of several steps. What was done is undone, or belongs to a process that ends.

use libc::{AT_FDCWD, EINVAL, ENODEV, ENXIO};

use crate::Attempt;
use crate::process::call;

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Attempt> {
    ROWS.iter().chain(DEVICES)
}

macro_rules! row {
    ($name:literal, [$($permitted:expr),*], $run:expr) => {
        Attempt { name: $name, permitted: &[$($permitted),*], run: $run }
    };
}

/// A place of our own that exists in the image.
const PLACE: &std::ffi::CStr = c"/tmp";

const ROWS: &[Attempt] = &[
    row!("mount-tmpfs", [ENODEV], || mounted(c"tmpfs", c"tmpfs", 0)),
    row!("mount-proc", [ENODEV], || mounted(c"proc", c"proc", 0)),
    row!("mount-sysfs", [ENODEV], || mounted(c"sysfs", c"sysfs", 0)),
    row!("mount-cgroup2", [ENODEV], || mounted(c"cgroup2", c"cgroup2", 0)),
    row!("mount-mqueue", [ENODEV], || mounted(c"mqueue", c"mqueue", 0)),
    row!("mount-bind-root", [], || mounted(c"/", c"none", libc::MS_BIND)),
    row!("remount-sysctl-writable", [], remount),
    row!("user-namespace-mount-tmpfs", [], || in_user_namespace(c"tmpfs", c"tmpfs", 0)),
    row!("user-namespace-mount-proc", [], || in_user_namespace(c"proc", c"proc", 0)),
    row!("user-namespace-mount-sysfs", [], || in_user_namespace(c"sysfs", c"sysfs", 0)),
    row!("user-namespace-mount-cgroup2", [], || in_user_namespace(c"cgroup2", c"cgroup2", 0)),
    row!("user-namespace-bind-root", [], || in_user_namespace(c"/", c"none", libc::MS_BIND)),
    row!("user-namespace-remount-sysctl", [], || {
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
        remount()
    }),
    row!("user-namespace-umount-mask", [], || {
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
        call(libc::SYS_umount2, &[c"/proc/kcore".as_ptr() as i64, i64::from(libc::MNT_DETACH)]).map(drop)
    }),
    row!("file-by-handle", [], by_handle),
    row!("bpf-map", [], || {
        let mut attributes = [0_u32; 32];
        // An array of one entry of four bytes.
        attributes[..4].copy_from_slice(&[2, 4, 4, 1]);
        call(libc::SYS_bpf, &[0, attributes.as_ptr() as i64, 128]).map(drop)
    }),
    row!("perf-event", [], || {
        let mut attributes = [0_u64; 16];
        // The processor's clock, without the kernel.
        attributes[0] = 1 | (128 << 32);
        attributes[5] = 1 << 5 | 1 << 6;
        call(libc::SYS_perf_event_open, &[attributes.as_ptr() as i64, 0, -1, -1, 0]).map(drop)
    }),
    row!("io-uring", [], || {
        let parameters = [0_u64; 15];
        call(libc::SYS_io_uring_setup, &[1, parameters.as_ptr() as i64]).map(drop)
    }),
    row!("read-memory-of-parent", [], || {
        let (mut place, source) = ([0_u8; 8], [0_u8; 8]);
        let (own, other) = ([place.as_mut_ptr() as u64, 8], [source.as_ptr() as u64, 8]);
        let parent = i64::from(std::os::unix::process::parent_id());
        let arguments = [parent, own.as_ptr() as i64, 1, other.as_ptr() as i64, 1, 0];
        call(libc::SYS_process_vm_readv, &arguments).map(drop)
    }),
    row!("descriptor-of-parent", [], || {
        let parent = i64::from(std::os::unix::process::parent_id());
        let process = call(libc::SYS_pidfd_open, &[parent, 0])?;
        call(libc::SYS_pidfd_getfd, &[process, 1, 0]).map(drop)
    }),
    row!("bind-low-port", [libc::EADDRINUSE], || {
        let socket = socket()?;
        let mut address = [0_u8; 16];
        address[..4].copy_from_slice(&[libc::AF_INET as u8, 0, 0, 81]);
        call(libc::SYS_bind, &[socket, address.as_ptr() as i64, 16]).map(drop)
    }),
    row!("change-interface", [], change_interface),
    row!("socket-mark", [], || set_option(libc::SOL_SOCKET, libc::SO_MARK)),
    row!("socket-transparent", [], || set_option(libc::SOL_IP, libc::IP_TRANSPARENT)),
    row!("limit-raise", [], || {
        let mut limit = [0_u64; 2];
        let place = limit.as_mut_ptr() as i64;
        call(libc::SYS_prlimit64, &[0, i64::from(libc::RLIMIT_MEMLOCK), 0, place])?;
        // Without a bound already, a larger one cannot be asked for.
        limit[1] = limit[1].saturating_add(1);
        limit[0] = 0;
        call(libc::SYS_prlimit64, &[0, i64::from(libc::RLIMIT_MEMLOCK), limit.as_ptr() as i64]).map(drop)
    }),
    row!("capabilities-raise", [], || {
        let (header, data) = ([0x2008_0522_u32, 0], [u32::MAX, u32::MAX, 0, 0x1ff, 0x1ff, 0]);
        call(libc::SYS_capset, &[header.as_ptr() as i64, data.as_ptr() as i64]).map(drop)
    }),
    row!("attribute-trusted", [libc::EOPNOTSUPP], || set_attribute(c"trusted.carob")),
    row!("file-immutable", [libc::ENOTTY, libc::EOPNOTSUPP], immutable),
    row!("scheduler-of-parent", [], || {
        let priority = [0_i32];
        let parent = i64::from(std::os::unix::process::parent_id());
        call(libc::SYS_sched_setscheduler, &[parent, 0, priority.as_ptr() as i64]).map(drop)
    }),
];

fn unshare(flags: i32) -> Result<(), i32> {
    call(libc::SYS_unshare, &[i64::from(flags)]).map(drop)
}

/// Mounts something on a directory, and unmounts it.
fn mounted(source: &std::ffi::CStr, kind: &std::ffi::CStr, flags: libc::c_ulong) -> Result<(), i32> {
    let place = PLACE.as_ptr() as i64;
    let arguments = [source.as_ptr() as i64, place, kind.as_ptr() as i64, flags as i64, 0];
    call(libc::SYS_mount, &arguments)?;
    call(libc::SYS_umount2, &[place, i64::from(libc::MNT_DETACH)]).map(drop)
}

/// The same, as the first user of a new user namespace.
fn in_user_namespace(
    source: &std::ffi::CStr,
    kind: &std::ffi::CStr,
    flags: libc::c_ulong,
) -> Result<(), i32> {
    unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP)?;
    mounted(source, kind, flags)
}

/// Makes `/proc/sys` writable, and read-only again if it was.
fn remount() -> Result<(), i32> {
    let change = |flags: libc::c_ulong| {
        let flags =
            (flags | libc::MS_BIND | libc::MS_REMOUNT | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC)
                as i64;
        call(libc::SYS_mount, &[0, c"/proc/sys".as_ptr() as i64, 0, flags, 0])
    };
    change(0)?;
    change(libc::MS_RDONLY).map(drop)
}

/// Opens a directory by its handle, as if it were some other file of the node.
fn by_handle() -> Result<(), i32> {
    let (mut handle, mut mount) = ([0_u32; 34], 0_i32);
    handle[0] = 128;
    let (cwd, path) = (i64::from(AT_FDCWD), c"/dev/shm".as_ptr() as i64);
    let place = handle.as_mut_ptr() as i64;
    call(libc::SYS_name_to_handle_at, &[cwd, path, place, &raw mut mount as i64, 0])?;
    let directory = call(libc::SYS_openat, &[cwd, path, i64::from(libc::O_RDONLY)])?;
    call(libc::SYS_open_by_handle_at, &[directory, place, i64::from(libc::O_RDONLY)]).map(drop)
}

fn socket() -> Result<i64, i32> {
    call(libc::SYS_socket, &[i64::from(libc::AF_INET), i64::from(libc::SOCK_STREAM), 0])
}

fn set_option(level: i32, option: i32) -> Result<(), i32> {
    let socket = socket()?;
    let one = 1_i32;
    call(libc::SYS_setsockopt, &[socket, i64::from(level), i64::from(option), &raw const one as i64, 4])
        .map(drop)
}

/// Gives the loopback interface the flags that it has.
fn change_interface() -> Result<(), i32> {
    let socket = socket()?;
    let mut request = [0_u8; 40];
    request[..2].copy_from_slice(b"lo");
    for number in [0x8913_i64, 0x8914] {
        call(libc::SYS_ioctl, &[socket, number, request.as_mut_ptr() as i64])?;
    }
    Ok(())
}

const SCRATCH: &std::ffi::CStr = c"/tmp/probe-scratch";

/// Does something with a file, and removes it.
fn with_file(work: impl Fn(i64) -> Result<(), i32>) -> Result<(), i32> {
    let flags = i64::from(libc::O_CREAT | libc::O_RDWR);
    let file = call(libc::SYS_openat, &[i64::from(AT_FDCWD), SCRATCH.as_ptr() as i64, flags, 0o600])?;
    let result = work(file);
    remove_scratch();
    result
}

fn remove_scratch() {
    let _ = call(libc::SYS_unlinkat, &[i64::from(AT_FDCWD), SCRATCH.as_ptr() as i64, 0]);
}

fn set_attribute(name: &std::ffi::CStr) -> Result<(), i32> {
    let name = name.as_ptr() as i64;
    with_file(|file| call(libc::SYS_fsetxattr, &[file, name, c"x".as_ptr() as i64, 1, 0]).map(drop))
}

fn immutable() -> Result<(), i32> {
    with_file(|file| {
        let change = |flags: &mut u64, number: i64| {
            call(libc::SYS_ioctl, &[file, number, std::ptr::from_mut(flags) as i64])
        };
        let (get, set) = (0x8008_6601, 0x4008_6602);
        let mut flags = 0;
        change(&mut flags, get)?;
        let before = flags;
        flags |= 0x10;
        change(&mut flags, set)?;
        flags = before;
        change(&mut flags, set).map(drop)
    })
}

/// Makes a device node and opens it. That no such device exists comes after the permission.
fn device(kind: libc::mode_t, major: u32, minor: u32) -> Result<(), i32> {
    remove_scratch();
    let number = libc::makedev(major, minor) as i64;
    let path = SCRATCH.as_ptr() as i64;
    let cwd = i64::from(AT_FDCWD);
    call(libc::SYS_mknodat, &[cwd, path, i64::from(kind | 0o600), number])?;
    let flags = i64::from(libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY);
    let opened = call(libc::SYS_openat, &[cwd, path, flags]);
    remove_scratch();
    opened.map(drop)
}

macro_rules! device {
    ($name:literal, $kind:ident, $major:literal, $minor:literal) => {
        row!($name, [ENXIO, ENODEV, EINVAL, libc::EBUSY, libc::EIO, libc::ENOMEDIUM], || {
            device(libc::$kind, $major, $minor)
        })
    };
}

const DEVICES: &[Attempt] = &[
    row!("make-node", [], || {
        remove_scratch();
        let path = SCRATCH.as_ptr() as i64;
        let kind = i64::from(libc::S_IFCHR | 0o600);
        call(libc::SYS_mknodat, &[i64::from(AT_FDCWD), path, kind, libc::makedev(1, 1) as i64])?;
        remove_scratch();
        Ok(())
    }),
    device!("device-null", S_IFCHR, 1, 3),
    device!("device-memory", S_IFCHR, 1, 1),
    device!("device-port", S_IFCHR, 1, 4),
    device!("device-kernel-messages", S_IFCHR, 1, 11),
    device!("device-terminal-1", S_IFCHR, 4, 1),
    device!("device-console", S_IFCHR, 5, 1),
    device!("device-input", S_IFCHR, 13, 64),
    device!("device-scsi-generic", S_IFCHR, 21, 0),
    device!("device-kvm", S_IFCHR, 10, 232),
    device!("device-fuse", S_IFCHR, 10, 229),
    device!("device-tun", S_IFCHR, 10, 200),
    device!("device-loop-control", S_IFCHR, 10, 237),
    device!("device-mapper-control", S_IFCHR, 10, 236),
    device!("device-vhost-net", S_IFCHR, 10, 238),
    device!("device-virtual-pts", S_IFCHR, 136, 0),
    device!("disk-ram", S_IFBLK, 1, 0),
    device!("disk-loop", S_IFBLK, 7, 0),
    device!("disk-scsi", S_IFBLK, 8, 0),
    device!("disk-virtio-253", S_IFBLK, 253, 0),
    device!("disk-virtio-254", S_IFBLK, 254, 0),
    device!("disk-nvme", S_IFBLK, 259, 0),
];
