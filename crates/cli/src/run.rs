//! From a command line to an exit code.

use std::sync::atomic::Ordering;

use crate::command::{Command, Invocation};
use crate::commands::ROOT;
use crate::context::Context;
use crate::failure::{Failure, message};
use crate::flags::{self, Groups, help, shared};
use crate::manifest::diagnose::distance;

/// Runs a command line (without the program's name) and gives the exit code.
pub async fn run(context: &Context, arguments: &[String]) -> u8 {
    match dispatch(context, arguments).await {
        Ok(()) => 0,
        Err(failure) => {
            context.err(&failure.text());
            failure.code()
        }
    }
}

/// Whether kubectl, too, has the command, or the program is not called so.
fn is_there(context: &Context, command: &Command) -> bool {
    !(command.own && context.is_kubectl())
}

/// Finds the command that the words name; the rest are its arguments.
fn find(context: &Context, arguments: &[String]) -> (Vec<&'static Command>, Vec<String>) {
    let mut path: Vec<&'static Command> = vec![&ROOT];
    let mut rest = arguments.to_vec();
    loop {
        let command = path[path.len() - 1];
        if command.subcommands.is_empty() {
            return (path, rest);
        }
        let groups: Vec<Groups> = vec![shared::GLOBAL, command.flags];
        let Some(at) = flags::parse::positions(&groups, &rest).first().copied() else { return (path, rest) };
        let word = rest[at].as_str();
        let named =
            |sub: &&Command| (sub.name == word || sub.aliases.contains(&word)) && is_there(context, sub);
        let Some(sub) = command.subcommands.iter().find(named) else { return (path, rest) };
        rest.remove(at);
        path.push(sub);
    }
}

async fn dispatch(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let (found, rest) = find(context, arguments);
    let command = found[found.len() - 1];
    let mut path = context.program.clone();
    for command in &found[1..] {
        path = format!("{path} {}", command.name);
    }
    let groups: Vec<Groups> = vec![shared::GLOBAL, command.flags];
    let values = flags::parse(&groups, &rest).map_err(|error| match command.misused_code {
        1 => message(format!("{error}\nSee '{path} --help' for usage.")),
        code => {
            let message = format!("error: {error}\nSee '{path} -h' for help and examples");
            Failure::Command { code, message }
        }
    })?;
    if values.help {
        context.out(&help::command(command, &path, context.is_kubectl()));
        return Ok(());
    }
    let Some(run) = command.run else {
        return without_run(context, command, &path, &values.arguments);
    };
    let missing: Vec<String> =
        command.required.iter().filter(|name| !values.given(name)).map(|name| format!("{name:?}")).collect();
    if !missing.is_empty() {
        return Err(message(format!("required flag(s) {} not set", missing.join(", "))));
    }
    let invocation = Invocation { context, values, path, command };
    run(&invocation).await?;
    match context.warnings.load(Ordering::Relaxed) {
        count if count > 0 && invocation.values.on("warnings-as-errors") => {
            let plural = if count == 1 { "" } else { "s" };
            Err(message(format!("{count} warning{plural} received")))
        }
        _ => Ok(()),
    }
}

/// A command that only has commands below.
fn without_run(context: &Context, command: &Command, path: &str, words: &[String]) -> Result<(), Failure> {
    let below = path.contains(' ');
    let Some(word) = words.first() else {
        let help = help::command(command, path, context.is_kubectl());
        if below {
            // A group of commands alone does nothing: that is an error.
            if command.help_is_answer {
                context.out(&help)
            } else {
                context.err(&help)
            }
            return Err(Failure::Exit(1));
        }
        context.out(&help);
        return Ok(());
    };
    if below {
        let words = words.join(" ");
        return Err(message(format!("unknown command {words:?}\nSee '{path} -h' for help and examples")));
    }
    let mut text = format!("unknown command {word:?} for {path:?}");
    let known = suggestions(context, command, word);
    if !known.is_empty() {
        text.push_str("\n\nDid you mean this?\n");
        known.iter().for_each(|name| text.push_str(&format!("\t{name}\n")));
    }
    Err(message(text))
}

/// Names within two letters, or that begin with the word, as cobra has it.
fn suggestions(context: &Context, command: &Command, word: &str) -> Vec<&'static str> {
    let word = word.to_lowercase();
    let near =
        |name: &str| distance(&word, &name.to_lowercase()) <= 2 || name.to_lowercase().starts_with(&word);
    command
        .subcommands
        .iter()
        .filter(|sub| !sub.short.is_empty() && near(sub.name) && is_there(context, sub))
        .map(|sub| sub.name)
        .collect()
}
