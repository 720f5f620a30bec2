//! The binary: it becomes a node's daemon, a Pod's process, or a kubectl-compatible client, by its first argument.

mod address;
mod admin;
mod arguments;
mod control_plane;
mod daemon;
mod demo;
mod down;
mod image;
mod instance;
mod kubeconfig;
mod late_network;
mod log;
mod node;
mod node_connector;
mod settings;
mod spread;
mod status;
mod up;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use arguments::Command;

/// Verbs of the daemon; everything else is the client's.
const OWN_VERBS: [&str; 7] = ["up", "down", "server", "agent", "status", "image", "demo"];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let first = arguments.get(1).and_then(|argument| argument.to_str()).unwrap_or_default();
    // Before anything is allocated or started: a Pod's process is small and has one thread.
    if first == runtime::POD_PROCESS_ARGUMENT {
        runtime::shim_main();
    }
    let program = arguments.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    if program.to_string_lossy().starts_with("kubectl") || !OWN_VERBS.contains(&first) {
        return cli::main(arguments);
    }
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    // Two providers in one program would make rustls ask which; this one is everybody's.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Command::parse(arguments) {
        Command::Up(options) => up::run(options),
        Command::Down(options) => down::run(&options),
        Command::Server(options) => daemon::run_server(options),
        Command::Agent(options) => daemon::run_agent(options),
        Command::Status(options) => status::run(&options),
        Command::Image(options) => image::run(options),
        Command::Demo(options) => demo::run(&options),
    }
}
