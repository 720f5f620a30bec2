//! Help texts, made of the tables.

use super::{Flag, Groups};
use crate::command::Command;
use crate::commands::GROUPS;

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
        Kind::Texts | Kind::Array => format!("[{}]", flag.default),
        Kind::Many => "''".into(),
        _ => flag.default.to_owned(),
    };
    let name = match flag.short {
        Some(short) => format!("-{short}, --{}", flag.long),
        None => format!("--{}", flag.long),
    };
    format!("    {name}={default}:\n\t{}\n", flag.help)
}

/// The narrowest column of names in a list of commands, and the space after it.
const NAMES_MIN: usize = 11;
const NAMES_GAP: usize = 3;

/// The help of a command. `path`: the names that lead to it, the program's first. `as_kubectl`: what kubectl does not
/// have is not shown.
pub fn command(command: &Command, path: &str, as_kubectl: bool) -> String {
    let mut text = format!("{}\n", command.long());
    if !command.aliases.is_empty() {
        text.push_str(&format!("\nAliases:\n{}, {}\n", command.name, command.aliases.join(", ")));
    }
    for (title, commands) in lists(command, path, as_kubectl) {
        text.push_str(&format!("\n{title}:\n"));
        let width = command.subcommands.iter().map(|sub| sub.name.len()).max().unwrap_or(0).max(NAMES_MIN);
        let width = width + NAMES_GAP;
        for sub in commands {
            text.push_str(&format!("  {:width$}{}\n", sub.name, sub.short));
        }
    }
    let options = options(command.flags);
    if !options.is_empty() {
        text.push_str(&format!("\nOptions:\n{options}"));
    }
    let mut usage = match command.usage {
        "" => format!("{path} [flags]"),
        usage => format!("{} {usage}", path.rsplit_once(' ').map_or("", |(parents, _)| parents))
            .trim_start()
            .to_owned(),
    };
    if !usage.contains("[options]") {
        usage.push_str(" [options]");
    }
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

/// The commands below a command under their titles; the program's own are in groups.
fn lists<'a>(command: &'a Command, path: &str, as_kubectl: bool) -> Vec<(&'static str, Vec<&'a Command>)> {
    let shown = |sub: &&Command| !(sub.short.is_empty() || sub.own && as_kubectl);
    let subs: Vec<&Command> = command.subcommands.iter().filter(shown).collect();
    if subs.is_empty() {
        return Vec::new();
    }
    if path.contains(' ') {
        return vec![("Available Commands", subs)];
    }
    let mut found = Vec::new();
    for (title, names) in GROUPS {
        let named = |name: &&str| subs.iter().copied().find(|sub| sub.name == *name);
        found.push((*title, names.iter().filter_map(named).collect::<Vec<_>>()));
    }
    // kubectl has this title even if there are no plugins.
    found.push(("Subcommands provided by plugins", Vec::new()));
    let grouped = |sub: &&Command| GROUPS.iter().any(|(_, names)| names.contains(&sub.name));
    let rest = subs.iter().copied().filter(|sub| !grouped(sub) && sub.name != "options").collect();
    found.push(("Other Commands", rest));
    found
}
