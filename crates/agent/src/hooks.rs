//! Lifecycle hooks: `exec`, `httpGet`, `sleep`.

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use podlogic::pod;
use tokio::time::Duration;

use crate::api::pod_reference;
use crate::http;
use crate::shared::Shared;

/// Longest wait for an HTTP hook's answer; the Pod's grace period bounds `preStop` besides.
const HTTP_LIMIT: Duration = Duration::from_secs(30);

/// Runs a hook to its end. `pod_ip` is where `httpGet` without a host goes.
///
/// # Errors
/// Says what went wrong in upstream's words; the text ends up in the container's waiting state.
pub async fn run(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    container_id: &str,
    handler: &LifecycleHandler,
    pod_ip: Option<&str>,
) -> Result<(), String> {
    let place = format!("for Container {:?} in Pod {:?} failed - error:", container.name, pod::describe(pod));
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let words = command.join(" ");
        let hook = format!("Exec lifecycle hook ([{words}]) {place}");
        return match shared.runtime().exec_sync(container_id, &command, 0).await {
            Ok(output) if output.exit_code == 0 => Ok(()),
            Ok(output) => {
                let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
                let all = [output.stdout, output.stderr].concat();
                let all = String::from_utf8_lossy(&all).into_owned();
                let code = output.exit_code;
                Err(format!("{hook} command '{words}' exited with {code}: {stderr}, message: {all:?}"))
            }
            Err(error) => Err(format!("{hook} {}, message: \"\"", crate::images::as_rpc(&error))),
        };
    }
    if let Some(sleep) = &handler.sleep {
        // The user asked for a pause; this is no synchronisation.
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    let Some(action) = &handler.http_get else {
        return Err(format!("Cannot run handler: invalid handler of container {:?}", container.name));
    };
    let ip = pod_ip.unwrap_or_default();
    let mut outcome = http::get(action, container, ip, "lifecycle", HTTP_LIMIT).await;
    let plain =
        outcome.as_ref().is_err_and(|error| error.contains("server gave HTTP response to HTTPS client"));
    if plain {
        let mut action = action.clone();
        action.scheme = Some("HTTP".into());
        let again = http::get(&action, container, ip, "lifecycle", HTTP_LIMIT).await;
        if again.is_ok() {
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(ip);
            let message = format!(
                "request to HTTPS lifecycle hook {host} got HTTP response, retry with HTTP succeeded"
            );
            shared.recorder.warning(pod_reference(pod), "LifecycleHTTPFallback", message);
            outcome = again;
        }
    }
    let path = action.path.as_deref().unwrap_or_default();
    outcome.map(|_| ()).map_err(|error| format!("HTTP lifecycle hook ({path}) {place} {error}"))
}
