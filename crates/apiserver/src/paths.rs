//! Paths that are no resources: health, version, discovery, metrics, OpenAPI, token issuer's documents.

use std::sync::Arc;

use http::Method;
use model::Status;
use serde_json::json;

use crate::discovery;
use crate::pipeline::answer::{Answer, raw};
use crate::pipeline::context::Context;

/// Answers a path.
///
/// # Errors
/// 404 for paths that are not served, 405 for other methods than GET.
pub async fn dispatch(context: &Arc<Context>) -> Result<Answer, Status> {
    let path = context.route.path.trim_end_matches('/');
    if !matches!(context.method, Method::GET | Method::HEAD) {
        return Err(if known(path) { Status::method_not_supported() } else { Status::no_such_resource() });
    }
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        [check @ ("healthz" | "livez" | "readyz"), rest @ ..] => health(context, check, rest).await,
        ["version"] => Ok(Answer::Other(200, version(context))),
        ["metrics"] => {
            let text = context.server.metrics.text(&context.server);
            Ok(Answer::Response(raw(200, "text/plain; version=0.0.4; charset=utf-8", text)))
        }
        ["api" | "apis" | "openapi", ..] | [] | [""] => discovery::dispatch(context, &parts),
        [".well-known", "openid-configuration"] => issuer(context, true),
        ["openid", "v1", "jwks"] => issuer(context, false),
        _ => Err(Status::no_such_resource()),
    }
}

fn known(path: &str) -> bool {
    ["/healthz", "/livez", "/readyz", "/version", "/metrics", "/api", "/openapi"]
        .iter()
        .any(|own| path.starts_with(own))
}

fn issuer(context: &Context, configuration: bool) -> Result<Answer, Status> {
    let tokens = context.server.options.tokens.as_ref().ok_or_else(Status::no_such_resource)?;
    let (document, keys) = tokens.documents();
    if configuration {
        return Ok(Answer::Other(200, document));
    }
    let bytes = serde_json::to_vec(&keys).map_err(Status::internal)?;
    Ok(Answer::Response(raw(200, "application/jwk-set+json", bytes)))
}

fn version(context: &Context) -> serde_json::Value {
    let version = &context.server.options.version;
    json!({
        "major": "1", "minor": "36", "gitVersion": version.git_version, "gitCommit": version.git_commit,
        "gitTreeState": "clean", "buildDate": version.build_date, "goVersion": "", "compiler": version.compiler,
        "platform": version.platform, "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
    })
}

/// `/livez`, `/readyz`, `/healthz`, their `?verbose` and `?exclude=`, and single checks below them.
async fn health(context: &Context, endpoint: &str, rest: &[&str]) -> Result<Answer, Status> {
    let server = &context.server;
    let mut results: Vec<(String, Result<(), String>)> =
        vec![("ping".into(), Ok(())), ("log".into(), Ok(()))];
    let store = server.objects().store().revision().await;
    results.push(("etcd".into(), store.map(drop).map_err(|error| error.to_string())));
    // Liveness is not about what has not started yet.
    if endpoint != "livez" {
        results.extend(server.checks().into_iter().map(|(name, check)| (name, check())));
    }
    if endpoint == "readyz" {
        let down = server.is_draining();
        results.push(("shutdown".into(), if down { Err("process is shutting down".into()) } else { Ok(()) }));
    }
    if !rest.is_empty() {
        let name = rest.join("/");
        let found = results.into_iter().find(|(own, _)| *own == name).ok_or_else(Status::no_such_resource)?;
        results = vec![found];
    }
    let excluded: Vec<&str> = context.query.all("exclude").collect();
    let mut lines = String::new();
    let mut failed = false;
    for (name, result) in &results {
        if excluded.contains(&name.as_str()) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match result {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(_) => {
                failed = true;
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    if failed {
        let text = format!("{lines}{endpoint} check failed\n");
        return Ok(Answer::Response(raw(500, "text/plain; charset=utf-8", text)));
    }
    let verbose = context.query.get("verbose").is_some();
    let text = if verbose { format!("{lines}{endpoint} check passed\n") } else { "ok".to_owned() };
    Ok(Answer::Response(raw(200, "text/plain; charset=utf-8", text)))
}
