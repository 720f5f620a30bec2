//! What a program inside a container sees and may do: a table of attempts to leave it, and facts about its surroundings.
//!
//! Every attempt is harmless where it is allowed: the kernel asks for the permission first and then finds nothing to do,
//! or what was done is undone at once. Each runs in a process of its own. The result is text, one line for each row, so
//! that the same program gives the reference under another runtime:
//!
//! ```text
//! try mount-tmpfs: refused EPERM
//! set capabilities-effective: CHOWN KILL
//! least seccomp-mode: 2
//! most rlimit-nofile-hard: 1048576
//! same user: 0 0 0 0
//! ```
//!
//! The first word says how two runtimes compare: an attempt may be refused where the other allows it, a set may be
//! smaller, a number may be larger (`least`) or smaller (`most`), a text is the same.

mod calls;
mod facts;
mod filter;
pub mod overwrite;
mod process;
mod sequences;

pub use process::Outcome;

/// The last line, so that a reader knows that nothing is missing.
pub const END: &str = "end of the probe";

/// An attempt.
struct Attempt {
    name: &'static str,
    /// Errors that come only after the permission was given.
    permitted: &'static [i32],
    /// What it does; the error is `errno`.
    run: fn() -> Result<(), i32>,
}

/// Everything, as lines. `node_namespaces` are the node's as the links below `/proc/self/ns` read, in any order.
///
/// Facts come first, because attempts that are allowed may change them for a moment.
pub fn run(node_namespaces: &[String]) -> Vec<String> {
    let mut lines = facts::all(node_namespaces);
    for attempt in calls::all().chain(sequences::all()) {
        let outcome = process::separately(attempt.run);
        lines.push(format!("try {}: {}", attempt.name, outcome.or_permitted(attempt.permitted)));
    }
    let passed: Vec<String> = filter::passed().iter().map(ToString::to_string).collect();
    lines.push(format!("set calls-not-filtered: {}", passed.join(" ")));
    lines.push(END.to_owned());
    lines
}
