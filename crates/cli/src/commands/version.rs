//! `version`.

use model::tree::TreeExt;
use serde_json::json;

use super::boxed;
use crate::command::{Command, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind};

/// The Kubernetes version whose client this is.
pub const CLIENT: &str = "v1.36.2";
const KUSTOMIZE: &str = "v5.8.1";

/// The command.
pub const COMMAND: Command = Command {
    name: "version",
    usage: "version [flags]",
    short: "Print the client and server version information",
    long: "Print the client and server version information for the current context.",
    flags: &[&[
        Flag::switch("client", "Only the client's version: no server is asked"),
        Flag::new("output", Kind::Text, "", "yaml or json").short('o'),
    ]],
    run: boxed!(run),
    ..Command::EMPTY
};

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    if !invocation.arguments().is_empty() {
        return Err(message(format!("extra arguments: [{}]", invocation.arguments().join(" "))));
    }
    let output = values.text("output");
    if !matches!(output, "" | "yaml" | "json") {
        return Err(message("--output must be 'yaml' or 'json'"));
    }
    let client = json!({
        "major": "1", "minor": "36", "gitVersion": CLIENT, "gitCommit": "", "gitTreeState": "clean", "buildDate": "",
        "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    });
    let mut all = json!({"clientVersion": client, "kustomizeVersion": KUSTOMIZE});
    let mut failure = None;
    if !values.on("client") {
        match invocation.api()?.get("/version").await {
            Ok(server) => all["serverVersion"] = server,
            Err(error) => failure = Some(error),
        }
    }
    match output {
        "yaml" => invocation.context.out(&crate::yaml::to_string(&all)),
        "json" => invocation.context.out(&(serde_json::to_string_pretty(&all).unwrap_or_default() + "\n")),
        _ => {
            let mut text = format!("Client Version: {CLIENT}\nKustomize Version: {KUSTOMIZE}\n");
            if all.get("serverVersion").is_some() {
                text.push_str(&format!("Server Version: {}\n", all.text(&["serverVersion", "gitVersion"])));
            }
            invocation.context.out(&text);
        }
    }
    failure.map_or(Ok(()), Err)
}
