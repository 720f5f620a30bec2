//! One attempt of a probe: command, HTTP, TCP or gRPC.

use cri::ErrorKind;
use k8s_openapi::api::core::v1::{Container, Probe};
use podlogic::env;
use stdx::duration::format_go;
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use crate::http;
use crate::probes::grpc;
use crate::shared::Shared;

/// Bytes of a command's output that are shown.
const OUTPUT_BYTES_MAX: usize = 10 << 10;
/// Attempts at a probe that errs (which is not a failure).
const ATTEMPTS_MAX: usize = 3;

/// What is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Container, for commands.
    pub container_id: String,
    /// Address, for everything else.
    pub pod_ip: String,
}

/// What an attempt brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// Well.
    Success,
    /// Well, but worth a warning.
    Warning(String),
    /// Not well.
    Failure(String),
    /// Nobody knows.
    Error(String),
}

/// Makes an attempt; errors are tried again at once.
pub async fn attempt(
    shared: &Shared,
    probe: &Probe,
    container: &Container,
    target: &Target,
    limit: Duration,
) -> Attempt {
    let mut outcome = Attempt::Error("missing probe handler".into());
    for _ in 0..ATTEMPTS_MAX {
        outcome = once(shared, probe, container, target, limit).await;
        if !matches!(outcome, Attempt::Error(_)) {
            break;
        }
    }
    outcome
}

async fn once(
    shared: &Shared,
    probe: &Probe,
    container: &Container,
    target: &Target,
    limit: Duration,
) -> Attempt {
    if let Some(exec) = &probe.exec {
        let command = env::expand_static(exec.command.as_ref(), container);
        return run(shared, &command, target, limit).await;
    }
    if let Some(action) = &probe.http_get {
        return match http::resolve_port(&action.port, container) {
            Err(error) => Attempt::Error(error),
            Ok(_) => judge(http::get(action, container, &target.pod_ip, "probe", limit).await),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let port = match http::resolve_port(&action.port, container) {
            Ok(port) => port,
            Err(error) => return Attempt::Error(error),
        };
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.pod_ip);
        return connect(&http::join_host_port(host, port), limit).await;
    }
    if let Some(action) = &probe.grpc {
        let service = action.service.as_deref().unwrap_or_default();
        return match u16::try_from(action.port) {
            Ok(port) => grpc::check(&http::join_host_port(&target.pod_ip, port), service, limit).await,
            Err(_) => Attempt::Error(format!("invalid port number: {}", action.port)),
        };
    }
    Attempt::Error(format!("missing probe handler for container {}", container.name))
}

fn judge(answer: Result<http::Answer, String>) -> Attempt {
    match answer {
        Err(error) => Attempt::Failure(error),
        Ok(http::Answer { code: 200..300, .. }) => Attempt::Success,
        Ok(http::Answer { code: 300..400, body }) => {
            Attempt::Warning(format!("Probe terminated redirects, Response body: {body}"))
        }
        Ok(http::Answer { code, .. }) => {
            Attempt::Failure(format!("HTTP probe failed with statuscode: {code}"))
        }
    }
}

async fn run(shared: &Shared, command: &[String], target: &Target, limit: Duration) -> Attempt {
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    match shared.runtime().exec_sync(&target.container_id, command, limit_ms).await {
        Ok(output) if output.exit_code == 0 => Attempt::Success,
        Ok(output) => {
            let mut text = [output.stdout, output.stderr].concat();
            text.truncate(OUTPUT_BYTES_MAX);
            Attempt::Failure(String::from_utf8_lossy(&text).into_owned())
        }
        Err(error) if error.kind == ErrorKind::DeadlineExceeded => Attempt::Failure(format!(
            "command timed out: {:?} timed out after {}",
            command.join(" "),
            format_go(limit)
        )),
        Err(error) => Attempt::Error(crate::images::as_rpc(&error)),
    }
}

async fn connect(address: &str, limit: Duration) -> Attempt {
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Attempt::Success,
        Ok(Err(error)) => Attempt::Failure(http::dial_error(address, &error)),
        Err(_) => Attempt::Failure(format!("dial tcp {address}: i/o timeout")),
    }
}
