//! Lifecycle hooks: `exec`, `httpGet`, `sleep`.

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use podlogic::{env, pod};
use tokio::time::Duration;

use crate::shared::Shared;

/// Runs a hook to its end. `pod_ip` is where `httpGet` without a host goes.
///
/// # Errors
/// Says what went wrong; the text ends up in the container's waiting state.
pub async fn run(
    shared: &Shared,
    pod: &Pod,
    container: &Container,
    container_id: &str,
    handler: &LifecycleHandler,
    pod_ip: Option<&str>,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let command = env::expand_static(exec.command.as_ref(), container);
        let output = shared.runtime().exec_sync(container_id, &command, 0).await;
        let output = output.map_err(|error| {
            format!(
                "Exec lifecycle hook ({command:?}) for Container {:?} in Pod {:?} failed - error: {error}",
                container.name,
                pod::describe(pod)
            )
        })?;
        if output.exit_code == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        return Err(format!(
            "Exec lifecycle hook ({command:?}) for Container {:?} in Pod {:?} failed - error: command '{}' exited with \
             {}: {text}, message: {text:?}",
            container.name,
            pod::describe(pod),
            command.join(" "),
            output.exit_code,
        ));
    }
    if let Some(sleep) = &handler.sleep {
        // The user asked for a pause; this is no synchronisation.
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    if let Some(action) = &handler.http_get {
        let _ = (action, pod_ip);
        return Err("HTTP lifecycle hooks are not wired".into());
    }
    Err(format!("invalid handler: container {:?} in pod {:?}", container.name, pod::describe(pod)))
}
