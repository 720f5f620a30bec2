//! Which instance of a container a log request means (kubelet's `validateContainerLogStatus`).

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use podlogic::pod;

fn status_of<'p>(pod: &'p Pod, container: &str) -> Option<&'p ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|own| own.name == container)
}

fn id_of(terminated: Option<&ContainerStateTerminated>) -> Option<&str> {
    terminated?.container_id.as_deref().filter(|id| !id.is_empty())
}

/// The runtime's id of the instance.
///
/// # Errors
/// Upstream's text when there is none.
pub fn container_id(found: &Pod, container: &str, previous: bool) -> Result<String, String> {
    let name = pod::name(found);
    let this = format!("container {container:?} in pod {name:?}");
    let status = status_of(found, container).ok_or_else(|| format!("{this} is not available"))?;
    let state = status.state.clone().unwrap_or_default();
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let ended = || format!("{this} is terminated");
    let id = if previous {
        id_of(last).ok_or_else(|| format!("previous terminated {this} not found"))?
    } else if state.running.is_some() {
        status.container_id.as_deref().unwrap_or_default()
    } else if let Some(terminated) = &state.terminated {
        id_of(Some(terminated)).or_else(|| id_of(last)).ok_or_else(ended)?
    } else if last.is_some() {
        id_of(last).ok_or_else(ended)?
    } else if let Some(waiting) = state.waiting {
        return Err(match waiting.reason.unwrap_or_default().as_str() {
            "ErrImagePull" => format!("{this} is waiting to start: image can't be pulled"),
            "ImagePullBackOff" => format!("{this} is waiting to start: trying and failing to pull image"),
            reason => format!("{this} is waiting to start: {reason}"),
        });
    } else {
        return Err(format!("{this} is waiting to start - no logs yet"));
    };
    Ok(id.split_once("://").map_or(id, |(_, id)| id).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn states_lead_to_instances() {
        let check = |status: Value, previous: bool, expected: Result<&str, &str>| {
            let text = status.to_string();
            let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": []},
                "status": {"containerStatuses": [status]}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let found = container_id(&pod, "c", previous);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text} {previous}");
        };
        let status = |id: &str, state: Value, last: Value| {
            json!({"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": id, "state": state, "lastState": last})
        };
        let (run, none) = (json!({"running": {}}), json!({}));
        let end = |id: &str| json!({"terminated": {"exitCode": 0, "containerID": id}});
        let wait = |reason: &str| json!({"waiting": {"reason": reason}});
        check(status("carob://a", run.clone(), none.clone()), false, Ok("a"));
        check(status("carob://a", run.clone(), end("carob://b")), true, Ok("b"));
        check(
            status("carob://a", run, none.clone()),
            true,
            Err("previous terminated container \"c\" in pod \"p\" not found"),
        );
        check(status("", end("carob://a"), none.clone()), false, Ok("a"));
        check(status("", end(""), end("carob://b")), false, Ok("b"));
        check(status("", end(""), none.clone()), false, Err("container \"c\" in pod \"p\" is terminated"));
        check(status("", wait("CrashLoopBackOff"), end("carob://b")), false, Ok("b"));
        let waiting = "container \"c\" in pod \"p\" is waiting to start";
        for (reason, text) in [
            ("ContainerCreating", ": ContainerCreating"),
            ("ErrImagePull", ": image can't be pulled"),
            ("ImagePullBackOff", ": trying and failing to pull image"),
        ] {
            check(status("", wait(reason), none.clone()), false, Err(&format!("{waiting}{text}")));
        }
        check(status("", none.clone(), none), false, Err(&format!("{waiting} - no logs yet")));
        check(
            json!({"name": "d", "image": "", "imageID": "", "ready": true, "restartCount": 0}),
            false,
            Err("container \"c\" in pod \"p\" is not available"),
        );
    }
}
