//! Fields behind feature gates that are off in v1.36: dropped on writing, unless the stored Pod has them already
//! (`dropDisabledFields`).

use model::tree::TreeExt;
use serde_json::Value;

use crate::rules::fill;
use crate::rules::pod::each_container;

/// Drops them from a Pod's or a template's spec.
pub fn drop(spec: &mut Value, old: Option<&Value>) {
    let in_use = |test: &dyn Fn(&Value) -> bool| old.is_some_and(test);
    for source in ["clusterTrustBundle", "podCertificate"] {
        if !in_use(&|old| has_projection(old, source)) {
            for volume in fill::items(spec, "volumes") {
                let Some(projected) = fill::some(volume, "projected") else { continue };
                for projection in fill::items(projected, "sources") {
                    fill::drop(projection, source);
                }
            }
        }
    }
    if !in_use(&|old| old.at(&["schedulingGroup"]).is_some()) {
        fill::drop(spec, "schedulingGroup");
    }
    if !in_use(&has_stop_signal) {
        each_container(spec, |container| {
            let Some(lifecycle) = fill::some(container, "lifecycle") else { return };
            if fill::drop(lifecycle, "stopSignal") {
                fill::drop_empty(container, "lifecycle");
            }
        });
    }
}

fn has_projection(spec: &Value, source: &str) -> bool {
    let sources = spec.items(&["volumes"]).iter().flat_map(|volume| volume.items(&["projected", "sources"]));
    sources.into_iter().any(|projection| projection.at(&[source]).is_some())
}

fn has_stop_signal(spec: &Value) -> bool {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|key| spec.items(&[*key]))
        .any(|container| container.at(&["lifecycle", "stopSignal"]).is_some())
}
