//! Whether a container that ended is started again: `restartPolicy` of Pod and container, and the container's
//! `restartPolicyRules`.

use cri::runtime::ContainerState;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::Observed;
use crate::pod;

/// Whether an exit with this code leads to a restart.
pub fn restarts_after(container: &Container, pod: &Pod, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.as_deref().unwrap_or_default().contains(&exit_code);
        let matches = match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if matches && matches!(rule.action.as_str(), "Restart" | "RestartAllContainers") {
            return true;
        }
    }
    match container.restart_policy.as_deref().unwrap_or_else(|| pod::restart_policy(pod)) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// Whether some exit could lead to a restart (what counts for a container that has to be killed).
pub fn restarts_on_failure(container: &Container, pod: &Pod) -> bool {
    container.restart_policy.as_deref().unwrap_or_else(|| pod::restart_policy(pod)) != "Never"
}

/// Whether a container has to be started (again): never started, created only, lost, or ended and to be restarted.
pub fn should_start(container: &Container, pod: &Pod, observed: &Observed) -> bool {
    if pod::is_deleted(pod) {
        return false;
    }
    let Some(status) = observed.latest(&container.name) else { return true };
    match status.state {
        ContainerState::Running => false,
        ContainerState::Created | ContainerState::Unknown => true,
        ContainerState::Exited => restarts_after(container, pod, status.exit_code),
    }
}
