//! What went wrong, and how kubectl says it: the words on standard error and the exit code.

use client::transport::Error as TransportError;
use model::{Reason, Status};

/// Why a command ends without success.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The server said no. The text may carry what was being done in front of the server's words.
    Server(Status),
    /// No answer: the server's address and what happened.
    Connection {
        /// `127.0.0.1:6443`.
        host: String,
        /// What happened.
        error: TransportError,
    },
    /// Words of the client; `error: ` is put in front.
    Message(String),
    /// Words printed as they are.
    Plain(String),
    /// Several of them.
    Many(Vec<Failure>),
    /// A failure as kubectl tells it, and what `carob` adds: whole lines.
    Taught {
        /// What kubectl tells.
        failure: Box<Failure>,
        /// What follows it.
        hint: String,
    },
    /// Everything is said; only the exit code is left.
    Exit(u8),
    /// A remote command's exit code, with words.
    Command {
        /// Code.
        code: u8,
        /// Words.
        message: String,
    },
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Server(status)
    }
}

/// A failure with the client's own words.
pub fn message(text: impl Into<String>) -> Failure {
    Failure::Message(text.into())
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Exit(code) | Failure::Command { code, .. } => *code,
            Failure::Taught { failure, .. } => failure.code(),
            _ => 1,
        }
    }

    /// Whether the server said that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Failure::Server(status) if status.is(Reason::NotFound))
    }

    /// The same failure with words in front of the server's or the client's.
    #[must_use]
    pub fn in_front(self, words: &str) -> Self {
        match self {
            Failure::Server(mut status) => {
                status.message = format!("{words}: {}", status.message);
                Failure::Server(status)
            }
            Failure::Message(text) => Failure::Message(format!("{words}: {text}")),
            other => other,
        }
    }

    /// The same failure with lines that follow it.
    #[must_use]
    pub fn taught(self, hint: String) -> Self {
        if hint.is_empty() { self } else { Failure::Taught { failure: Box::new(self), hint } }
    }

    /// The error's own words, without kubectl's prefix.
    pub fn words(&self) -> String {
        match self {
            Failure::Server(status) => status.message.clone(),
            Failure::Connection { error, .. } => error.to_string(),
            Failure::Message(text) | Failure::Plain(text) => text.clone(),
            Failure::Command { message, .. } => message.clone(),
            Failure::Exit(_) => String::new(),
            Failure::Taught { failure, .. } => failure.words(),
            Failure::Many(list) => {
                let words: Vec<String> = list.iter().map(Failure::words).collect();
                if words.len() == 1 { words[0].clone() } else { format!("[{}]", words.join(", ")) }
            }
        }
    }

    /// What is printed on standard error, with its line end; empty if nothing is.
    pub fn text(&self) -> String {
        let mut text = match self {
            Failure::Exit(_) => String::new(),
            Failure::Server(status) if status.is(Reason::Invalid) => invalid(status),
            Failure::Server(_) | Failure::Connection { .. } => self.line(),
            Failure::Message(text) if text.starts_with("error: ") => text.clone(),
            Failure::Message(text) => format!("error: {text}"),
            Failure::Plain(text) => text.clone(),
            Failure::Command { message, .. } => message.clone(),
            Failure::Many(list) if list.len() == 1 => return list[0].text(),
            Failure::Many(list) => list.iter().map(Failure::line_and_hint).collect(),
            Failure::Taught { failure, hint } => failure.text() + hint,
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    /// One of several failures: its line, and what is taught about it.
    fn line_and_hint(&self) -> String {
        match self {
            Failure::Taught { failure, hint } => failure.line_and_hint() + hint,
            other => other.line().trim_end_matches('\n').to_owned() + "\n",
        }
    }

    /// One line of several failures.
    fn line(&self) -> String {
        match self {
            Failure::Server(status) => match status.reason {
                Reason::Unauthorized => {
                    format!("error: You must be logged in to the server ({})", status.message)
                }
                Reason::Unknown => format!("Error from server: {}", status.message),
                reason => format!("Error from server ({}): {}", reason.as_str(), status.message),
            },
            Failure::Connection { host, error } => {
                let words = error.to_string();
                if words.contains("connection refused") {
                    return format!(
                        "The connection to the server {host} was refused - did you specify the right host or port?"
                    );
                }
                // Go's words for what rustls says otherwise.
                let words = words.replace(
                    "invalid peer certificate: UnknownIssuer",
                    "x509: certificate signed by unknown authority",
                );
                format!("Unable to connect to the server: {words}")
            }
            other => other.words(),
        }
    }
}

/// What the server said, in one line: the text of upstream's error value.
pub fn words_of(status: &Status) -> String {
    status.message.clone()
}

/// `The Pod "x" is invalid: …`, one line for one cause, a list for several.
fn invalid(status: &Status) -> String {
    let mut text = "The request is invalid".to_owned();
    let Some(details) = &status.details else {
        if !status.message.is_empty() {
            text = format!("{text}: {}", status.message);
        }
        return text;
    };
    if !details.kind.is_empty() || !details.name.is_empty() {
        text = format!("The {} {:?} is invalid", details.kind, details.name);
    } else if !status.message.is_empty() && details.causes.is_empty() {
        text = format!("{text}: {}", status.message);
    }
    let mut causes: Vec<String> = Vec::new();
    for cause in &details.causes {
        let line = format!("{}: {}", cause.field, cause.message);
        if !causes.contains(&line) {
            causes.push(line);
        }
    }
    match causes.as_slice() {
        [] => text,
        [one] => format!("{text}: {one}\n"),
        many => {
            let list: String = many.iter().map(|line| format!("* {line}\n")).collect();
            format!("{text}: \n{list}")
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Cause, GroupResource};

    use super::*;

    #[test]
    fn failures_read_as_kubectls() {
        let pods = GroupResource::new("", "pods");
        let refused = TransportError::Connect("dial tcp 127.0.0.1:6443: connect: connection refused".into());
        let cause =
            |field: &str| Cause { field: field.into(), message: "Required value".into(), ..Cause::default() };
        let not_found = || Failure::Server(Status::not_found(&pods, "x"));
        for (failure, want) in [
            (not_found(), "Error from server (NotFound): pods \"x\" not found\n"),
            (message("no"), "error: no\n"),
            (
                Failure::Connection { host: "127.0.0.1:6443".into(), error: refused },
                "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?\n",
            ),
            (
                Failure::Many(vec![not_found(), message("b")]),
                "Error from server (NotFound): pods \"x\" not found\nb\n",
            ),
            (
                Failure::Server(Status::invalid("", "Pod", "x", vec![cause("a"), cause("b")])),
                "The Pod \"x\" is invalid: \n* a: Required value\n* b: Required value\n",
            ),
            (
                Failure::Server(Status::invalid("", "Pod", "x", vec![cause("a")])),
                "The Pod \"x\" is invalid: a: Required value\n",
            ),
            (
                not_found().in_front("error when creating \"f\""),
                "Error from server (NotFound): error when creating \"f\": pods \"x\" not found\n",
            ),
            (Failure::Exit(3), ""),
        ] {
            assert_eq!(failure.text(), want);
        }
    }
}
