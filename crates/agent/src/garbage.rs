//! Removes what a living Pod has no more use for: ended containers but the newest two of a name (their states are
//! shown), their logs, and older sandboxes that are empty.

use std::path::Path;

use cri::runtime::ContainerState;
use cri::sandbox::PodSandboxState;
use k8s_openapi::api::core::v1::Pod;
use podlogic::Observed;

use crate::directories;
use crate::files;
use crate::shared::Shared;

/// Instances kept per container: the present one and the one before.
const INSTANCES_KEPT: usize = 2;

/// Ended containers to remove. Pure.
pub fn surplus(observed: &Observed) -> Vec<(String, String, String)> {
    let mut seen: Vec<(&str, usize)> = Vec::new();
    let mut surplus = Vec::new();
    for own in &observed.containers {
        let name = own.metadata.name.as_str();
        let count = match seen.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                seen.push((name, 1));
                1
            }
        };
        if count > INSTANCES_KEPT && own.state == ContainerState::Exited {
            surplus.push((own.id.clone(), own.metadata.name.clone(), own.log_path.clone()));
        }
    }
    surplus
}

/// Collects.
pub async fn collect(shared: &Shared, pod: &Pod, observed: &Observed, sandbox_ids: &mut Vec<String>) {
    let surplus = surplus(observed);
    for (id, name, log) in &surplus {
        if remove_container(shared, pod, id, name).await {
            remove_logs(Path::new(log)).await;
        }
    }
    for sandbox in observed.sandboxes.iter().skip(1).filter(|own| own.state == PodSandboxState::NotReady) {
        let needed = observed
            .containers
            .iter()
            .any(|own| own.pod_sandbox_id == sandbox.id && !surplus.iter().any(|(id, ..)| *id == own.id));
        if needed {
            continue;
        }
        match shared.runtime().remove_pod_sandbox(&sandbox.id).await {
            Ok(()) => sandbox_ids.retain(|id| *id != sandbox.id),
            Err(error) => tracing::warn!(sandbox = sandbox.id, %error, "removing an older sandbox"),
        }
    }
}

/// Removes an ended container and the link to its log. Answers whether it is gone.
pub async fn remove_container(shared: &Shared, pod: &Pod, id: &str, name: &str) -> bool {
    // Whoever dies before the container is gone leaves nothing that nobody knows of.
    directories::unlink_log(shared, pod, name, id).await;
    let outcome = shared.runtime().remove_container(id).await;
    if let Err(error) = &outcome {
        tracing::warn!(container = id, %error, "removing an ended container");
    }
    outcome.is_ok()
}

/// Removes a log and its rotated parts.
async fn remove_logs(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
    let name = name.to_string_lossy().into_owned();
    let Ok(entries) = files::read_dir(folder).await else { return };
    for entry in entries {
        let own = entry.file_name().to_string_lossy().into_owned();
        let is_part = own.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if is_part && let Err(error) = files::remove_file(entry.path()).await {
            tracing::warn!(path = %entry.path().display(), %error, "removing the log of an ended container");
        }
    }
}
