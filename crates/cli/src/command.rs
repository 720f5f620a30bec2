//! What a command is: names, usage, flags, and what it does. One table row per command.

use std::future::Future;
use std::pin::Pin;

use crate::api::Api;
use crate::context::Context;
use crate::failure::{Failure, message};
use crate::flags::{Groups, Values};
use crate::mapping::Mapper;

/// What a command's function gives back.
pub type Outcome<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// A command.
pub struct Command {
    /// Name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// The usage line after the parents' names.
    pub usage: &'static str,
    /// One line; empty hides the command in lists.
    pub short: &'static str,
    /// More lines of help.
    pub long: &'static str,
    /// Flags besides the global ones.
    pub flags: Groups,
    /// Flags that must be given.
    pub required: &'static [&'static str],
    /// Commands below.
    pub subcommands: &'static [Command],
    /// Whether kubectl does not have it: it is there for those who call the program `carob`.
    pub own: bool,
    /// Exit code of a wrong use. Where 1 means something else, kubectl also words it otherwise.
    pub misused_code: u8,
    /// Whether its help is an answer even when it is shown because a command below it was not named: not an error text.
    pub help_is_answer: bool,
    /// What it does; without it, it shows its help.
    pub run: Option<for<'a> fn(&'a Invocation<'a>) -> Outcome<'a>>,
}

impl Command {
    /// A row to fill in.
    pub const EMPTY: Command = Command {
        name: "",
        aliases: &[],
        usage: "",
        short: "",
        long: "",
        flags: &[],
        required: &[],
        subcommands: &[],
        own: false,
        misused_code: 1,
        help_is_answer: false,
        run: None,
    };

    /// The long help, or the short one.
    pub fn long(&self) -> String {
        if self.long.is_empty() { format!("{}.", self.short) } else { self.long.to_owned() }
    }
}

/// One run of a command.
pub struct Invocation<'a> {
    /// The world.
    pub context: &'a Context,
    /// What was typed.
    pub values: Values,
    /// `kubectl get`.
    pub path: String,
    /// The command.
    pub command: &'static Command,
}

impl Invocation<'_> {
    /// Arguments that are no flags.
    pub fn arguments(&self) -> &[String] {
        &self.values.arguments
    }

    /// A usage error: the words and where help is.
    pub fn usage(&self, words: &str) -> Failure {
        message(format!("{words}\nSee '{} -h' for help and examples", self.path))
    }

    /// The server.
    pub fn api(&self) -> Result<Api<'_>, Failure> {
        Api::new(self.context, &self.values)
    }

    /// The server's resources.
    pub async fn mapper(&self, api: &Api<'_>) -> Result<Mapper, Failure> {
        Mapper::discover(api).await
    }

    /// The namespace, and whether it was given as a flag.
    pub fn namespace(&self) -> Result<(String, bool), Failure> {
        crate::config::namespace(self.context, &self.values)
    }

    /// How the command is dry.
    pub fn dry_run(&self) -> Result<DryRun, Failure> {
        DryRun::of(self)
    }
}

/// How much of a command really happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRun {
    /// Everything.
    No,
    /// Nothing is sent.
    Client,
    /// It is sent, but the server stores nothing.
    Server,
}

impl DryRun {
    fn of(invocation: &Invocation<'_>) -> Result<Self, Failure> {
        let text = invocation.values.text("dry-run");
        let place = "helpers.go:719";
        if let Some(on) = crate::flags::parse::boolean(text) {
            let (to, dry) = if on { ("client", Self::Client) } else { ("none", Self::No) };
            let words = format!(
                "--dry-run={text} is deprecated (boolean value) and can be replaced with --dry-run={to}."
            );
            invocation.context.log_warning(place, &words);
            return Ok(dry);
        }
        match text {
            "none" | "" => Ok(Self::No),
            "client" => Ok(Self::Client),
            "server" => Ok(Self::Server),
            "unchanged" => {
                let words = "--dry-run is deprecated and can be replaced with --dry-run=client.";
                invocation.context.log_warning(place, words);
                Ok(Self::Client)
            }
            other => Err(message(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }

    /// What is put after `pod/x created`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}
