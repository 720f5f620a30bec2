//! How a session ended, as clients are told: a `metav1.Status` since v4, a text before.

use serde_json::{Value, json};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Runs a command.
    Exec,
    /// Joins the container's own process.
    Attach,
}

/// How the end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text, and only of failures.
    Text,
    /// A `Status` as the runtime writes it.
    Status,
    /// A `Status` that has passed kubelet's translation from SPDY (v5).
    Translated,
}

impl Form {
    /// The form of a protocol.
    pub fn of(protocol: &str) -> Self {
        match protocol {
            "v5.channel.k8s.io" => Form::Translated,
            "v4.channel.k8s.io" | "v4.base64.channel.k8s.io" => Form::Status,
            _ => Form::Text,
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command's exit code.
    Exit(i32),
    /// It could not be run.
    Failed(String),
}

fn internal_error(cause: &str) -> (Value, String) {
    let message = format!("Internal error occurred: {cause}");
    let status = json!({"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError",
        "details": {"causes": [{"message": cause}]}, "code": 500});
    (status, message)
}

/// What goes onto the error channel; empty for nothing.
pub fn message(task: Task, form: Form, command: &[String], outcome: &Outcome) -> Vec<u8> {
    let (status, text) = match outcome {
        // Attaching ends well whatever the process made of itself.
        Outcome::Exit(code) if *code == 0 || task == Task::Attach => {
            (json!({"metadata": {}, "status": "Success"}), String::new())
        }
        Outcome::Exit(code) => {
            let how = match form {
                Form::Translated => format!("command terminated with exit code {code}"),
                _ => format!("error executing command [{}], exit code {code}", command.join(" ")),
            };
            let text = format!("command terminated with non-zero exit code: {how}");
            let causes = json!([{"reason": "ExitCode", "message": code.to_string()}]);
            let status = json!({"metadata": {}, "status": "Failure", "message": text,
                "reason": "NonZeroExitCode", "details": {"causes": causes}});
            (status, text)
        }
        Outcome::Failed(why) => {
            let doing = match task {
                Task::Exec => "executing command in",
                Task::Attach => "attaching to",
            };
            let (status, text) = internal_error(&format!("error {doing} container: {why}"));
            // The translation wraps the text it was given once more.
            if form == Form::Translated { internal_error(&text) } else { (status, text) }
        }
    };
    match form {
        Form::Text => text.into_bytes(),
        Form::Status | Form::Translated => status.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_every_form() {
        let command = ["sh".to_owned(), "-c".into(), "exit 7".into()];
        let check = |task: Task, protocol: &str, outcome: &Outcome, expected: &str| {
            let text = String::from_utf8(message(task, Form::of(protocol), &command, outcome)).unwrap();
            match serde_json::from_str::<Value>(&text) {
                Ok(status) => {
                    assert_eq!(status, serde_json::from_str::<Value>(expected).unwrap(), "{protocol}")
                }
                Err(_) => assert_eq!(text, expected, "{protocol}"),
            }
        };
        let success = r#"{"metadata":{},"status":"Success"}"#;
        for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
            check(Task::Exec, protocol, &Outcome::Exit(0), success);
            check(Task::Attach, protocol, &Outcome::Exit(7), success);
        }
        check(Task::Exec, "channel.k8s.io", &Outcome::Exit(0), "");
        let failure = |message: &str| {
            format!(
                r#"{{"metadata":{{}},"status":"Failure","message":"{message}","reason":"NonZeroExitCode",
                "details":{{"causes":[{{"reason":"ExitCode","message":"7"}}]}}}}"#
            )
        };
        let old =
            "command terminated with non-zero exit code: error executing command [sh -c exit 7], exit code 7";
        check(Task::Exec, "v4.channel.k8s.io", &Outcome::Exit(7), &failure(old));
        check(Task::Exec, "", &Outcome::Exit(7), old);
        let new = "command terminated with non-zero exit code: command terminated with exit code 7";
        check(Task::Exec, "v5.channel.k8s.io", &Outcome::Exit(7), &failure(new));
    }

    #[test]
    fn failures_are_wrapped_as_upstream_wraps_them() {
        let failed = Outcome::Failed("no such thing".into());
        let read = |protocol: &str, task: Task| -> Value {
            serde_json::from_slice(&message(task, Form::of(protocol), &[], &failed)).unwrap()
        };
        let once = "Internal error occurred: error executing command in container: no such thing";
        assert_eq!(read("v4.channel.k8s.io", Task::Exec)["message"], once);
        assert_eq!(
            read("v5.channel.k8s.io", Task::Exec)["message"],
            format!("Internal error occurred: {once}")
        );
        let attach = "Internal error occurred: error attaching to container: no such thing";
        assert_eq!(read("v4.channel.k8s.io", Task::Attach)["message"], attach);
        assert_eq!(read("v4.channel.k8s.io", Task::Attach)["code"], 500);
    }
}
