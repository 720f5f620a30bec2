//! `carob down`: ends Pods and daemon; works when the daemon is dead, too.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::admin::{self, Call};
use crate::arguments::{DownOptions, ServerOptions};
use crate::instance::Instance;
use crate::kubeconfig;
use crate::node;
use crate::settings::Settings;

/// How long the daemon gets to end after it was told to.
const PATIENCE: Duration = Duration::from_secs(30);
const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();
const LOOK: Duration = Duration::from_millis(5);
const GROUP_TRIES: u32 = 200;
const GROUP_PAUSE: Duration = Duration::from_millis(10);

/// Stops everything.
#[allow(clippy::print_stdout)] // the command's answer
pub fn run(options: &DownOptions) -> anyhow::Result<ExitCode> {
    let instance = Instance::open(&options.instance)?;
    let grace_s = i64::try_from(options.grace.as_secs_f64().ceil() as u64).unwrap_or(i64::MAX);
    let server = ServerOptions { instance: options.instance.clone(), ..ServerOptions::default() };
    let settings = Settings::new(&server)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match instance.daemon_pid() {
        Some(pid) => {
            if let Err(error) = admin::call(&instance.admin_socket(), &Call::Down { grace_s }, |_| {}) {
                eprintln!("warning: the daemon does not answer ({error:#}); ending it");
                sys::process::signal_pid(pid, SIGKILL).context("ending the daemon")?;
            }
            runtime.block_on(ended(&instance, pid))?;
            if Path::new(&instance.run_dir()).join("pods").exists() {
                runtime.block_on(sweep(&settings, grace_s))?;
            }
        }
        None => runtime.block_on(sweep(&settings, grace_s))?,
    }
    runtime.block_on(remove_groups(&instance));
    let _ = fs::remove_dir_all(instance.run_dir());
    if options.purge {
        kubeconfig::remove(&settings)?;
        purge(&settings)?;
        println!("{} is stopped and its data deleted", settings.name);
    } else {
        println!("{} is stopped", settings.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns when the process is gone; it is killed if it takes too long.
async fn ended(instance: &Instance, pid: i32) -> anyhow::Result<()> {
    let gone = async {
        while instance.daemon_pid().is_some() || lives(pid) {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(PATIENCE, gone).await.is_err() {
        eprintln!("warning: the daemon takes too long; killing it");
        sys::process::signal_pid(pid, SIGKILL).context("killing the daemon")?;
        while instance.daemon_pid().is_some() {
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Whether a process is there and not just waiting to be reaped. A first thread that has ended is not the end: what the
/// process holds is let go of by the last one.
fn lives(pid: i32) -> bool {
    if fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1) {
        return true;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

/// Ends what a dead daemon left running: a node without a source of Pods takes it over and ends it.
async fn sweep(settings: &Settings, grace_s: i64) -> anyhow::Result<()> {
    if !settings.instance.run_dir().exists() {
        return Ok(());
    }
    node::sweep(settings, grace_s).await
}

/// Removes the instance's control groups, which are empty now: under version 2 they are in one tree, under version 1 in
/// one per controller. What is still in use stays, and is named.
async fn remove_groups(instance: &Instance) {
    let root = Path::new("/sys/fs/cgroup");
    let name = instance.cgroup_root();
    let name = name.trim_start_matches('/');
    let controllers = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for group in
        controllers.chain([root.to_owned()]).map(|parent| parent.join(name)).filter(|group| group.is_dir())
    {
        // The kernel needs a moment to take a process that has ended out of its group.
        let mut removed = remove_group(&group);
        for _ in 0..GROUP_TRIES {
            if removed.is_ok() {
                break;
            }
            tokio::time::sleep(GROUP_PAUSE).await;
            removed = remove_group(&group);
        }
        if let Err(error) = removed {
            eprintln!("warning: control group {} cannot be removed: {error}", group.display());
        }
    }
}

fn remove_group(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Deletes the instance's data, and the node's directories of this prefix.
fn purge(settings: &Settings) -> anyhow::Result<()> {
    let instance = &settings.instance;
    let mut folders = vec![instance.data_dir.clone()];
    // Logs of the Pods of this node; other runtimes' are not ours.
    for folder in ["/var/lib/kubelet/pods", "/var/log/pods", "/var/log/containers"] {
        folders.push(instance.path(folder));
    }
    for folder in folders {
        sys::tree::remove(&folder).with_context(|| format!("deleting {}", folder.display()))?;
    }
    Ok(())
}
