//! Flags: one table per command drives parsing, help and errors. Parsing follows Go's pflag: `--flag value`,
//! `--flag=value`, `-f value`, `-fvalue`, `-f=value`, combined short flags, flags among arguments, `--` ends them.

pub mod help;
pub mod parse;
pub mod shared;

use std::time::Duration;

pub use parse::parse;

/// What a flag's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; bare means `true`.
    Bool,
    /// Text; the last one counts.
    Text,
    /// Texts, comma-separated and repeated.
    Texts,
    /// Texts, repeated, commas kept.
    Array,
    /// As [`Kind::Array`], shown in help as one text.
    Many,
    /// As [`Kind::Texts`], shown in help without brackets.
    Pairs,
    /// A whole number.
    Integer,
    /// Go's writing of a duration.
    Duration,
}

/// A flag.
#[derive(Debug)]
pub struct Flag {
    /// Long name.
    pub long: &'static str,
    /// Short name.
    pub short: Option<char>,
    /// Kind of its value.
    pub kind: Kind,
    /// Value if it is not given.
    pub default: &'static str,
    /// Value if it is given without one.
    pub bare: Option<&'static str>,
    /// One line of help; empty hides the flag.
    pub help: &'static str,
}

impl Flag {
    /// A switch.
    pub const fn switch(long: &'static str, help: &'static str) -> Self {
        Self { long, short: None, kind: Kind::Bool, default: "false", bare: Some("true"), help }
    }

    /// A flag with a value.
    pub const fn new(long: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Self {
        let bare = if matches!(kind, Kind::Bool) { Some("true") } else { None };
        Self { long, short: None, kind, default, bare, help }
    }

    /// The same with a short name.
    pub const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// The same with a value that it has when given without one.
    pub const fn bare(mut self, value: &'static str) -> Self {
        self.bare = Some(value);
        self
    }

    /// The name in error messages: `-n, --namespace`.
    pub fn display(&self) -> String {
        match self.short {
            Some(short) => format!("-{short}, --{}", self.long),
            None => format!("--{}", self.long),
        }
    }
}

/// Flags in groups, as commands share them.
pub type Groups = &'static [&'static [Flag]];

/// What was typed.
#[derive(Debug, Clone, Default)]
pub struct Values {
    groups: Vec<&'static [Flag]>,
    set: Vec<(&'static str, String)>,
    /// Arguments that are no flags.
    pub arguments: Vec<String>,
    /// How many arguments came before `--`; `None` without it.
    pub before_dash: Option<usize>,
    /// Whether help was asked for.
    pub help: bool,
}

impl Values {
    fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.groups.iter().rev().flat_map(|group| group.iter()).find(|flag| flag.long == name)
    }

    /// The same flags with other arguments.
    #[must_use]
    pub fn with_arguments(&self, arguments: &[String]) -> Self {
        Self { arguments: arguments.to_vec(), ..self.clone() }
    }

    /// Whether the flag was given.
    pub fn given(&self, name: &str) -> bool {
        self.set.iter().any(|(own, _)| *own == name)
    }

    /// Text of a flag: the last one given, or its default.
    pub fn text(&self, name: &str) -> &str {
        let given = self.set.iter().rev().find(|(own, _)| *own == name).map(|(_, value)| value.as_str());
        given.unwrap_or_else(|| self.flag(name).map_or("", |flag| flag.default))
    }

    /// Text of a flag of every command; its default where the command has a flag of its own under this name.
    pub fn global(&self, name: &str) -> &str {
        let own = self.groups.iter().skip(shared::GLOBAL.len()).flat_map(|group| group.iter());
        if own.into_iter().any(|flag| flag.long == name) { "" } else { self.text(name) }
    }

    /// Whether a switch is on.
    pub fn on(&self, name: &str) -> bool {
        parse::boolean(self.text(name)).unwrap_or(false)
    }

    /// A number.
    pub fn integer(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// A duration; zero if it is negative or none. Whole numbers are seconds, as in `--request-timeout=5`.
    pub fn duration(&self, name: &str) -> Duration {
        let text = self.text(name);
        match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => stdx::duration::parse_go(text).unwrap_or_default(),
        }
    }

    /// Every value of a repeated flag, commas split where the flag says so.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let split = self.flag(name).is_some_and(|flag| matches!(flag.kind, Kind::Texts | Kind::Pairs));
        let given = self.set.iter().filter(|(own, _)| *own == name).map(|(_, value)| value);
        if !split {
            return given.cloned().collect();
        }
        let parts = given.flat_map(|value| value.split(',').map(str::to_owned));
        parts.filter(|part| !part.is_empty()).collect()
    }
}
