//! The kubectl-compatible commands and their output: the only place that prints.

pub mod api;
pub mod builder;
pub mod command;
pub mod commands;
pub mod config;
pub mod context;
pub mod describe;
pub mod failure;
pub mod flags;
pub mod jsonpath;
pub mod manifest;
pub mod mapping;
pub mod printers;
pub mod progress;
pub mod remote;
pub mod run;
pub mod template;
pub mod text;
pub mod why;
pub mod yaml;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use context::Context;

pub(crate) use yaml::number as yaml_number;

/// Runs a client verb: `arguments` as the process got them, the program's name first.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned());
    let first = arguments.next().unwrap_or_default();
    let name = Path::new(&first).file_name().map(|name| name.to_string_lossy().into_owned());
    let program = match name {
        Some(name) if name.starts_with("kubectl") => "kubectl".to_owned(),
        _ => "carob".to_owned(),
    };
    let arguments: Vec<String> = arguments.collect();
    let context = Context::of_process(program);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            context.err(&format!("error: starting: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run::run(&context, &arguments));
    // A thread may still wait for the terminal's input: it is not worth waiting for.
    runtime.shutdown_background();
    ExitCode::from(code)
}
