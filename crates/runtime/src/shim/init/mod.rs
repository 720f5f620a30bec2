//! What runs in a forked child until it becomes the container's program: root, mounts, devices, identity, limits.
//!
//! The parent is single-threaded, so ordinary code may run here. Results go to the parent over a socket that closes
//! when the program is executed.

mod devices;
mod lookup;
mod mounts;
mod security;

use std::convert::Infallible;
use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sys::path::Missing;

use crate::identity::{Identity, resolve};
use crate::protocol::encode;
use crate::spec::{ContainerSpec, ExecSpec, ProcessSpec, UserSpec};

/// From the child to the Pod's process.
#[derive(Debug, Serialize, Deserialize)]
pub enum ChildMessage {
    /// Who the process is going to be.
    User(i64, i64, Vec<i64>),
    /// A terminal's master comes with this message.
    Terminal,
    /// The program is executed now. The end of the stream after this means success.
    Ready,
    /// It failed.
    Failed(String),
}

/// Standard streams of a child; those missing are `/dev/null` or the terminal.
#[derive(Default)]
pub struct Stdio {
    /// Standard input.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: Option<OwnedFd>,
    /// Standard error.
    pub stderr: Option<OwnedFd>,
}

type Step<T> = Result<T, String>;

/// Adds what was being done to a kernel error.
fn context<T>(result: std::io::Result<T>, doing: impl FnOnce() -> String) -> Step<T> {
    result.map_err(|error| format!("{}: {}", doing(), words(&error)))
}

/// The kernel's words for an error, as C libraries print them and without the number.
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

fn send(sync: BorrowedFd<'_>, message: &ChildMessage, descriptors: &[BorrowedFd<'_>]) {
    if let Ok(frame) = encode(message) {
        let mut at = 0;
        while at < frame.len() {
            match sys::socket::send(sync, &frame[at..], if at == 0 { descriptors } else { &[] }) {
                Ok(count) => at += count,
                // The parent is gone, and this process is about to be as well.
                Err(_) => return,
            }
        }
    }
}

fn end_with(sync: BorrowedFd<'_>, outcome: Step<Infallible>) -> ! {
    let Err(message) = outcome;
    send(sync, &ChildMessage::Failed(message), &[]);
    sys::process::exit_now(1)
}

/// The first process of a container.
pub fn run_container(spec: &ContainerSpec, stdio: &Stdio, sync: BorrowedFd<'_>) -> ! {
    end_with(sync, container(spec, stdio, sync))
}

fn container(spec: &ContainerSpec, stdio: &Stdio, sync: BorrowedFd<'_>) -> Step<Infallible> {
    hide_from_others()?;
    sys::signal::reset_all();
    sys::process::set_umask(0);
    if !spec.group.unified {
        context(spec.group.enter(), || "join cgroup".to_owned())?;
    }
    if spec.own_group_namespace {
        let flags = sys::process::CLONE_NEWCGROUP;
        context(sys::namespace::unshare(flags), || "make cgroup namespace".to_owned())?;
    }
    // Lowering needs a capability that some machines do not give; the daemon has said so once.
    set_oom_score(&spec.process);
    let sources = mounts::open_sources(spec)?;
    context(sys::mount::set_propagation(sys::mount::MS_SLAVE), || "change propagation of /".to_owned())?;
    let root = mounts::mount_root(spec)?;
    let identity = identity_in(root.as_fd(), &spec.user)?;
    mounts::mount_all(spec, root.as_fd(), sources)?;
    if spec.populate_dev {
        devices::populate(spec, root.as_fd())?;
    } else {
        devices::make_all(&spec.devices, root.as_fd())?;
    }
    // Missing working directories are made, as upstream does; one that cannot be made fails on entering it.
    let _ = sys::path::open_or_make(root.as_fd(), &spec.process.directory, Missing::Directory);
    context(sys::process::change_directory(root.as_fd()), || "enter root".to_owned())?;
    context(sys::mount::pivot_into_current_directory(), || "pivot_root".to_owned())?;
    mounts::hide(spec)?;
    sys::process::set_umask(0o022);
    // See `finish`: nothing is left here that owns a descriptor.
    drop(root);
    finish(&spec.process, &identity, stdio, sync, true)
}

/// A command in a running container. The caller has already chosen the PID namespace.
pub fn run_exec(
    spec: &ExecSpec,
    container: BorrowedFd<'_>,
    group: &crate::cgroup::Group,
    own_group_namespace: bool,
    stdio: &Stdio,
    sync: BorrowedFd<'_>,
) -> ! {
    let perform = || -> Step<Infallible> {
        hide_from_others()?;
        sys::signal::reset_all();
        if !group.unified {
            context(group.enter(), || "join cgroup".to_owned())?;
        }
        set_oom_score(&spec.process);
        let mut flags = sys::process::CLONE_NEWNS;
        if own_group_namespace {
            flags |= sys::process::CLONE_NEWCGROUP;
        }
        context(sys::namespace::join(container, flags), || "join the container's namespaces".to_owned())?;
        let root = context(sys::path::open_location(Path::new("/")), || "open root".to_owned())?;
        let identity = identity_in(root.as_fd(), &spec.user)?;
        drop(root);
        finish(&spec.process, &identity, stdio, sync, false)
    };
    end_with(sync, perform())
}

/// Until the program is executed, this process is the node's: what it has open, its root and its program are not for
/// processes of the container, which may be the same user with the same capabilities.
fn hide_from_others() -> Step<()> {
    context(sys::process::set_dumpable(false), || "hide from other processes".to_owned())
}

fn set_oom_score(process: &ProcessSpec) {
    if let Some(score) = process.oom_score_adj {
        let _ = std::fs::write("/proc/self/oom_score_adj", score.to_string());
    }
}

/// Images are not trusted: their files are read inside their root, and no further than this.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn identity_in(root: BorrowedFd<'_>, user: &UserSpec) -> Step<Identity> {
    let read = |path: &str| -> String {
        use std::io::Read;
        let Ok(file) = sys::path::open_in_root(root, Path::new(path), sys::path::O_RDONLY) else {
            return String::new();
        };
        let file = std::fs::File::from(file);
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return String::new();
        }
        let mut text = Vec::new();
        let _ = file.take(FILE_BYTES_MAX).read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    resolve(user, &read("/etc/passwd"), &read("/etc/group"))
}

/// Everything after the root is in place: streams, identity, program. Callers hold no object that owns a descriptor.
fn finish(
    process: &ProcessSpec,
    identity: &Identity,
    stdio: &Stdio,
    sync: BorrowedFd<'_>,
    first: bool,
) -> Step<Infallible> {
    let groups = identity.groups.iter().map(|gid| i64::from(*gid)).collect();
    send(sync, &ChildMessage::User(identity.uid.into(), identity.gid.into(), groups), &[]);
    let _ = sys::process::start_session();
    let _ = sys::process::join_new_session_keyring(c"_ses");
    if process.terminal {
        terminal(identity, sync, first)?;
    } else {
        streams(stdio, identity)?;
    }
    // A working directory or a program below /proc/self/fd must not lead to what the Pod's process has open.
    context(sys::process::close_all_but(sync), || "close descriptors".to_owned())?;
    let enter = || std::env::set_current_dir(&process.directory);
    let entered = enter();
    security::become_user(process, identity)?;
    if entered.is_err() {
        // The directory may be open to the user only (a network file system, for instance).
        let shown = process.directory.display();
        context(enter(), || format!("chdir to cwd ({:?}) set in config.json failed", shown.to_string()))?;
    }
    if !context(sys::process::directory_is_below_root(), || "find the working directory".to_owned())? {
        return Err(
            "current working directory is outside of container mount namespace root -- possible container \
                    breakout detected"
                .to_owned(),
        );
    }
    let mut environment = process.environment.clone();
    if !environment.iter().any(|entry| entry.starts_with("HOME=") && entry.len() > 5) {
        environment.retain(|entry| entry != "HOME=");
        environment.push(format!("HOME={}", identity.home));
    }
    let program = lookup::find(&process.arguments[0], &environment)?;
    let strings = |list: &[String]| -> Step<Vec<CString>> {
        list.iter()
            .map(|text| CString::new(text.as_str()).map_err(|_| format!("{text:?} contains a NUL byte")))
            .collect()
    };
    let (arguments, environment) = (strings(&process.arguments)?, strings(&environment)?);
    context(sys::process::close_on_exec_from(3), || "mark descriptors".to_owned())?;
    security::load_filter_late(process)?;
    send(sync, &ChildMessage::Ready, &[]);
    let error = sys::process::execute(&program, &arguments, &environment);
    // The container counts as started: upstream's program says this on its standard error and exits with 255.
    let shown = program.to_string_lossy();
    let _ = writeln!(std::io::stderr(), "exec {shown}: {}", words(&error));
    sys::process::exit_now(255)
}

/// A terminal of the container's own: it becomes the controlling one, all three streams, and `/dev/console`.
fn terminal(identity: &Identity, sync: BorrowedFd<'_>, first: bool) -> Step<()> {
    let (master, slave) = context(sys::pty::open(Path::new("/dev/pts/ptmx")), || "open terminal".to_owned())?;
    let _ = sys::pty::set_owner(&slave, identity.uid, 5);
    if first {
        devices::bind_console(slave.as_fd())?;
    }
    send(sync, &ChildMessage::Terminal, &[master.as_fd()]);
    context(sys::pty::take_control(slave.as_fd()), || "take terminal".to_owned())?;
    for number in 0..3 {
        context(sys::process::install_descriptor(slave.as_fd(), number), || "connect terminal".to_owned())?;
    }
    Ok(())
}

fn streams(stdio: &Stdio, identity: &Identity) -> Step<()> {
    let null = context(devices::null(), || "open /dev/null".to_owned())?;
    for (number, stream) in [&stdio.stdin, &stdio.stdout, &stdio.stderr].into_iter().enumerate() {
        let descriptor = match stream {
            Some(stream) => {
                // So that the program can open /dev/stdout again.
                let _ = sys::pty::set_owner(stream, identity.uid, identity.gid);
                stream.as_fd()
            }
            None => null.as_fd(),
        };
        let installed = sys::process::install_descriptor(descriptor, number as i32);
        context(installed, || format!("connect stream {number}"))?;
    }
    Ok(())
}
