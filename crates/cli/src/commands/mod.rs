//! The commands: one file per verb, one table of all.

pub mod api_resources;
pub mod apply;
pub mod attach;
pub mod create;
pub mod delete;
pub mod describe;
pub mod exec;
pub mod get;
pub mod logs;
pub mod patch;
pub mod pods;
pub mod port_forward;
pub mod raw;
pub mod run;
pub mod version;
pub mod wait;

use crate::command::Command;

/// The program: every command in the order of their names.
pub static ROOT: Command = Command {
    name: "kubectl",
    long: "Controls a Kubernetes cluster.",
    subcommands: &[
        api_resources::RESOURCES,
        api_resources::VERSIONS,
        apply::COMMAND,
        attach::COMMAND,
        create::COMMAND,
        delete::COMMAND,
        describe::COMMAND,
        exec::COMMAND,
        get::COMMAND,
        logs::COMMAND,
        patch::COMMAND,
        port_forward::COMMAND,
        run::COMMAND,
        version::COMMAND,
        wait::COMMAND,
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
