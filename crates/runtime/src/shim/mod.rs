//! The Pod's process: small and single-threaded, it holds a Pod's namespaces, starts its containers and commands,
//! reaps them, writes their logs and outlives the daemon.
//!
//! It never enters a container's PID or mount namespace: children are forked into them.

mod connection;
mod containers;
mod event_loop;
mod exec;
pub mod init;
pub mod logs;
mod pause;
mod requests;

use std::io::Write;

use event_loop::Loop;

/// Runs a Pod's process to its end. Call it before anything else starts threads. Standard input is the connection to
/// the daemon that started it.
pub fn shim_main() -> ! {
    let outcome = run();
    if let Err(error) = &outcome {
        note(&format!("pod process ends: {error}"));
    }
    sys::process::exit_now(i32::from(outcome.is_err()))
}

fn run() -> std::io::Result<()> {
    let connection = sys::process::take_inherited(0)?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    sys::process::install_descriptor(std::os::fd::AsFd::as_fd(&null), 0)?;
    drop(null);
    // No directory is kept from being unmounted.
    std::env::set_current_dir("/")?;
    let signals = sys::signal::block_and_watch()?;
    let _ = sys::process::set_name(c"carob-pod");
    // Alone in its session when the daemon's terminal or session goes away.
    let _ = sys::process::start_session();
    sys::process::become_subreaper()?;
    // Among the last to be killed when memory runs out; needs a privilege that not every machine gives.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-998");
    Loop::new(signals, connection)?.run()
}

/// Writes a line for whoever looks into why a Pod's process went wrong (standard error is a file beside its socket).
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
