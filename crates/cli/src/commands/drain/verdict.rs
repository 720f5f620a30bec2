//! Which Pods of a node go when it is drained, and which stand against it: kubectl's filters.

use jiff::Timestamp;
use model::tree::TreeExt;
use serde_json::Value;

use crate::failure::Failure;

/// What becomes of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Goes,
    GoesWith(String),
    Stays,
    StaysWith(String),
    Refused(String),
}

/// What the flags allow.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowed {
    pub force: bool,
    pub ignore_daemon_sets: bool,
    pub delete_data: bool,
    pub skip_after_s: i64,
}

fn controller(pod: &Value) -> Option<&Value> {
    pod.items(&["metadata", "ownerReferences"]).iter().find(|owner| owner["controller"] == true)
}

pub(super) fn daemon_set(pod: &Value) -> Option<&str> {
    let owner = controller(pod)?;
    let is_one = owner.text(&["kind"]) == "DaemonSet" && owner.text(&["apiVersion"]) == "apps/v1";
    is_one.then(|| owner.text(&["name"]))
}

/// Whether a Pod has been ending for longer than is waited for.
pub(super) fn is_given_up(pod: &Value, after_s: i64, now: Timestamp) -> bool {
    let since = model::time::parse(pod.text(&["metadata", "deletionTimestamp"]));
    after_s > 0 && since.is_some_and(|since| now.as_second() - since.as_second() > after_s)
}

/// Decides over one Pod. `missing_owner`: what the server says if its DaemonSet is not there.
pub(super) fn verdict(
    pod: &Value,
    allowed: Allowed,
    missing_owner: Option<&Failure>,
    now: Timestamp,
) -> Verdict {
    if is_given_up(pod, allowed.skip_after_s, now) {
        return Verdict::Stays;
    }
    let finished = matches!(pod.text(&["status", "phase"]), "Succeeded" | "Failed");
    if daemon_set(pod).is_some() && !finished {
        match missing_owner {
            // kubectl's warning about it is lost in the checks that follow.
            Some(failure) if failure.is_not_found() && allowed.force => {}
            Some(failure) => return Verdict::Refused(failure.words()),
            None if !allowed.ignore_daemon_sets => {
                return Verdict::Refused(
                    "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)".to_owned(),
                );
            }
            None => return Verdict::StaysWith("ignoring DaemonSet-managed Pods".to_owned()),
        }
    }
    if pod.at(&["metadata", "annotations", "kubernetes.io/config.mirror"]).is_some() {
        return Verdict::Stays;
    }
    let local = pod.items(&["spec", "volumes"]).iter().any(|volume| volume.at(&["emptyDir"]).is_some());
    if local && !finished && !allowed.delete_data {
        return Verdict::Refused(
            "Pods with local storage (use --delete-emptydir-data to override)".to_owned(),
        );
    }
    if !finished && controller(pod).is_none() {
        if !allowed.force {
            return Verdict::Refused("Pods that declare no controller (use --force to override)".to_owned());
        }
        return Verdict::GoesWith("deleting Pods that declare no controller".to_owned());
    }
    Verdict::Goes
}

/// Messages with the Pods that they are about, in the order of their first Pod.
pub(super) fn grouped(told: &[(String, String)], line: impl Fn(&str, &str) -> String) -> Vec<String> {
    let mut messages: Vec<&str> = Vec::new();
    for (text, _) in told {
        if !messages.contains(&text.as_str()) {
            messages.push(text);
        }
    }
    let pods = |text: &str| {
        let names: Vec<&str> =
            told.iter().filter(|(own, _)| own == text).map(|(_, pod)| pod.as_str()).collect();
        names.join(", ")
    };
    messages.into_iter().map(|text| line(text, &pods(text))).collect()
}

#[cfg(test)]
mod tests {
    use model::{GroupResource, Status};
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_go_stay_or_are_refused() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let owned = |kind: &str| json!({"metadata": {"ownerReferences": [{"kind": kind, "apiVersion": "apps/v1", "name": "x", "controller": true}]}});
        let bare = json!({"metadata": {}});
        let data =
            json!({"metadata": owned("ReplicaSet")["metadata"], "spec": {"volumes": [{"emptyDir": {}}]}});
        let ended = json!({"metadata": {}, "status": {"phase": "Failed"}});
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        let stuck = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let none = Allowed::default();
        let force = Allowed { force: true, ..none };
        let ignore = Allowed { ignore_daemon_sets: true, ..none };
        let (goes, stays) = (Verdict::Goes, Verdict::Stays);
        let refused = |text: &str| Verdict::Refused(text.into());
        let no_controller = "Pods that declare no controller (use --force to override)";
        for (pod, allowed, want) in [
            (&owned("ReplicaSet"), none, goes.clone()),
            (&bare, none, refused(no_controller)),
            (&bare, force, Verdict::GoesWith("deleting Pods that declare no controller".into())),
            (&ended, none, goes.clone()),
            (&mirror, none, stays.clone()),
            (&data, none, refused("Pods with local storage (use --delete-emptydir-data to override)")),
            (&data, Allowed { delete_data: true, ..none }, goes.clone()),
            (
                &owned("DaemonSet"),
                none,
                refused("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"),
            ),
            (&owned("DaemonSet"), ignore, Verdict::StaysWith("ignoring DaemonSet-managed Pods".into())),
            (&stuck, Allowed { skip_after_s: 59, ..none }, stays),
            (&stuck, Allowed { skip_after_s: 60, ..none }, refused(no_controller)),
        ] {
            assert_eq!(verdict(pod, allowed, None, now), want, "{pod} {allowed:?}");
        }
        let missing = Failure::Server(Status::not_found(&GroupResource::new("apps", "daemonsets"), "x"));
        let words = missing.words();
        assert_eq!(verdict(&owned("DaemonSet"), none, Some(&missing), now), refused(&words));
        assert_eq!(verdict(&owned("DaemonSet"), force, Some(&missing), now), goes);
    }

    #[test]
    fn pods_are_told_together() {
        let told = [("a", "1"), ("b", "2"), ("a", "3")].map(|(text, pod)| (text.to_owned(), pod.to_owned()));
        assert_eq!(grouped(&told, |text, pods| format!("{text}: {pods}")), ["a: 1, 3", "b: 2"]);
    }
}
