//! The commands: one file per verb, one table of all.

pub mod api_resources;
pub mod apply;
pub mod attach;
pub mod auth;
pub mod autoscale;
pub mod config;
pub mod cp;
pub mod create;
pub mod delete;
pub mod describe;
pub mod diff;
pub mod drain;
pub mod edit;
pub mod events;
pub mod exec;
pub mod explain;
pub mod expose;
pub mod get;
pub mod label;
pub mod last_applied;
pub mod logs;
pub mod patch;
pub mod pods;
pub mod port_forward;
pub mod raw;
pub mod rollout;
pub mod rollout_history;
pub mod run;
pub mod set;
pub mod small;
pub mod taint;
pub mod version;
pub mod wait;

use crate::command::Command;

/// The groups of commands in the program's help, in kubectl's order; what is in none of them is in the last one.
pub const GROUPS: &[(&str, &[&str])] = &[
    ("Basic Commands (Beginner)", &["create", "expose", "run", "set"]),
    ("Basic Commands (Intermediate)", &["explain", "get", "edit", "delete"]),
    ("Deploy Commands", &["rollout", "scale", "autoscale"]),
    (
        "Cluster Management Commands",
        &["certificate", "cluster-info", "top", "cordon", "uncordon", "drain", "taint"],
    ),
    (
        "Troubleshooting and Debugging Commands",
        &["describe", "logs", "attach", "exec", "port-forward", "proxy", "cp", "auth", "debug", "events"],
    ),
    ("Advanced Commands", &["diff", "apply", "patch", "replace", "wait", "kustomize"]),
    ("Settings Commands", &["label", "annotate", "completion"]),
];

/// The program: every command in the order of their names.
pub static ROOT: Command = Command {
    name: "kubectl",
    long: "Controls a Kubernetes cluster.",
    subcommands: &[
        label::ANNOTATE,
        api_resources::RESOURCES,
        api_resources::VERSIONS,
        apply::COMMAND,
        attach::COMMAND,
        auth::COMMAND,
        autoscale::COMMAND,
        small::CLUSTER_INFO,
        config::COMMAND,
        drain::CORDON,
        cp::COMMAND,
        create::COMMAND,
        delete::COMMAND,
        describe::COMMAND,
        diff::COMMAND,
        drain::DRAIN,
        edit::COMMAND,
        events::COMMAND,
        exec::COMMAND,
        explain::COMMAND,
        expose::COMMAND,
        get::COMMAND,
        label::LABEL,
        logs::COMMAND,
        small::OPTIONS,
        patch::COMMAND,
        port_forward::COMMAND,
        small::REPLACE,
        rollout::COMMAND,
        run::COMMAND,
        small::SCALE,
        set::COMMAND,
        taint::COMMAND,
        events::TOP,
        drain::UNCORDON,
        version::COMMAND,
        wait::COMMAND,
        crate::why::COMMAND,
    ],
    ..Command::EMPTY
};

/// Boxes a command's future.
macro_rules! boxed {
    ($function:path) => {
        Some(|invocation| Box::pin($function(invocation)))
    };
}
pub(crate) use boxed;
