//! `create token`: a service account's token.

use std::time::Duration;

use http::Method;
use model::tree::TreeExt;
use serde_json::json;

use super::generators::name;
use crate::command::{Command, Invocation};
use crate::commands::boxed;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::printers;

/// The command.
pub const COMMAND: Command = Command {
    name: "token",
    usage: "token SERVICE_ACCOUNT_NAME",
    short: "Request a service account token",
    flags: &[
        shared::OUTPUT,
        &[
            Flag::new("audience", Kind::Array, "", "Audience of the token; may be repeated"),
            Flag::new(
                "bound-object-kind",
                Kind::Text,
                "",
                "Kind of an object to bind the token to: Node, Pod, Secret",
            ),
            Flag::new("bound-object-name", Kind::Text, "", "Name of the object to bind the token to"),
            Flag::new("bound-object-uid", Kind::Text, "", "UID of the object to bind the token to"),
            Flag::new(
                "duration",
                Kind::Duration,
                "0s",
                "How long the token is to be valid; 0 leaves it to the server",
            ),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let name = name(invocation)?;
    let format = printers::outcome_format(values)?;
    let duration = values.duration("duration");
    if values.text("duration").starts_with('-') {
        return Err(message("--duration must be greater than or equal to 0"));
    }
    if duration.subsec_nanos() != 0 {
        return Err(message("--duration cannot be expressed in units less than seconds"));
    }
    let audiences = values.texts("audience");
    if audiences.iter().any(String::is_empty) {
        return Err(message("--audience must not be an empty string"));
    }
    check_bound(invocation)?;
    let mut spec = json!({"audiences": audiences});
    if duration > Duration::ZERO {
        spec["expirationSeconds"] = duration.as_secs().into();
    }
    let kind = values.text("bound-object-kind");
    if !kind.is_empty() {
        let mut bound = json!({"kind": kind, "apiVersion": "v1", "name": values.text("bound-object-name")});
        if !values.text("bound-object-uid").is_empty() {
            bound["uid"] = values.text("bound-object-uid").into();
        }
        spec["boundObjectRef"] = bound;
    }
    let (namespace, _) = invocation.namespace()?;
    let path =
        client::Path::collection("", "v1", "serviceaccounts", Some(&namespace)).join(name).join("token");
    let request = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec});
    let answer = invocation.api()?.write(Method::POST, path.as_str(), &request).await;
    let answer = answer.map_err(|failure| match failure {
        Failure::Server(status) => message(format!("failed to create token: {}", status.message)),
        other => other,
    })?;
    if let printers::Format::Printer(_) = format {
        return printers::outcome(invocation, &format, &answer, "created");
    }
    let token = answer.text(&["status", "token"]);
    if token.is_empty() {
        return Err(message("failed to create token: no token in server response"));
    }
    // People want a line, scripts the token alone.
    invocation.context.out(&format!("{token}{}", if invocation.context.terminal { "\n" } else { "" }));
    Ok(())
}

fn check_bound(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let text = |flag: &str| invocation.values.text(flag);
    if text("bound-object-kind").is_empty() {
        for flag in ["bound-object-name", "bound-object-uid"] {
            if !text(flag).is_empty() {
                return Err(message(format!("--{flag} can only be set if --bound-object-kind is provided")));
            }
        }
        return Ok(());
    }
    if !matches!(text("bound-object-kind"), "Node" | "Pod" | "Secret") {
        return Err(message("supported --bound-object-kind values are Node, Pod, Secret"));
    }
    if text("bound-object-name").is_empty() {
        return Err(message("--bound-object-name is required if --bound-object-kind is provided"));
    }
    Ok(())
}
