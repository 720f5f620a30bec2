//! Admission on the node: one Pod after the other, against those that already hold resources.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use podlogic::admission::{self, Rejection};
use podlogic::pod;

use crate::shared::Shared;

/// Admits a Pod, or says why not. `adopted`: it ran here before the agent started, so it is not judged anew.
///
/// # Errors
/// The reason and message of the rejection.
pub fn admit(shared: &Shared, pod: &Arc<Pod>, adopted: bool) -> Result<(), Rejection> {
    let node = shared.node.read().clone();
    let mut admitted = shared.admitted.lock();
    if !adopted {
        let own = pod::uid(pod);
        let others: Vec<&Pod> =
            admitted.iter().filter(|(uid, _)| uid.as_str() != own).map(|(_, pod)| pod.as_ref()).collect();
        admission::admit(pod, &others, &shared.allocatable, node.as_deref())?;
    }
    admitted.insert(pod::uid(pod).to_owned(), Arc::clone(pod));
    Ok(())
}

/// Gives back what a Pod held.
pub fn release(shared: &Shared, uid: &str) {
    shared.admitted.lock().remove(uid);
}
