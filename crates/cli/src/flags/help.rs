//! Help texts, made of the tables.

use super::{Flag, Groups};
use crate::command::Command;

/// The options section of a command's help.
pub fn options(groups: Groups) -> String {
    let mut flags: Vec<&Flag> = groups.iter().flat_map(|group| group.iter()).collect();
    flags.retain(|flag| !flag.help.is_empty());
    flags.sort_by_key(|flag| flag.long);
    flags.iter().map(|flag| option(flag)).collect::<Vec<_>>().join("\n")
}

fn option(flag: &Flag) -> String {
    use super::Kind;
    let default = match flag.kind {
        Kind::Text if flag.default != "none" || flag.bare.is_none() => format!("'{}'", flag.default),
        Kind::Text => format!("'{}'", flag.default),
        Kind::Texts | Kind::Array => "[]".into(),
        _ => flag.default.to_owned(),
    };
    let name = match flag.short {
        Some(short) => format!("-{short}, --{}", flag.long),
        None => format!("--{}", flag.long),
    };
    format!("    {name}={default}:\n\t{}\n", flag.help)
}

/// The help of a command. `path`: the names that lead to it, the program's first. `as_kubectl`: what kubectl does not
/// have is not shown.
pub fn command(command: &Command, path: &str, as_kubectl: bool) -> String {
    let mut text = format!("{}\n", command.long());
    if !command.subcommands.is_empty() {
        text.push_str("\nAvailable Commands:\n");
        let width = command.subcommands.iter().map(|sub| sub.name.len()).max().unwrap_or(0);
        for sub in command.subcommands.iter().filter(|sub| !(sub.short.is_empty() || sub.own && as_kubectl)) {
            text.push_str(&format!("  {:width$}   {}\n", sub.name, sub.short));
        }
    }
    let options = options(command.flags);
    if !options.is_empty() {
        text.push_str(&format!("\nOptions:\n{options}"));
    }
    let usage = match command.usage {
        "" => format!("{path} [flags] [options]"),
        usage => {
            format!("{} {usage}", path.rsplit_once(' ').map_or("", |(parents, _)| parents)).trim().to_owned()
                + " [options]"
        }
    };
    text.push_str(&format!("\nUsage:\n  {usage}\n\n"));
    let program = path.split(' ').next().unwrap_or_default();
    if !command.subcommands.is_empty() {
        text.push_str(&format!(
            "Use \"{path} <command> --help\" for more information about a given command.\n"
        ));
    }
    text.push_str(&format!(
        "Use \"{program} options\" for a list of global command-line options (applies to all commands).\n"
    ));
    text
}
