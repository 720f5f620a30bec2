//! The node's heartbeat: a Lease in `kube-node-lease`, renewed every quarter of its validity.

use std::sync::Arc;
use std::time::Duration;

use client::Client;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use model::{Reason, Status};
use tokio::time::MissedTickBehavior;

use crate::shared::Shared;

const NAMESPACE: &str = "kube-node-lease";
/// Pause before a failed renewal is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Renews the lease for as long as it runs.
pub async fn run(shared: Arc<Shared>) {
    let Some(client) = shared.options.client.clone() else { return };
    // The lease belongs to the Node, so the Node comes first. The sender lives as long as `shared`.
    let _ = shared.node_known.subscribe().wait_for(|known| *known).await;
    let validity_s = shared.options.config.node_lease_duration_s;
    let period = Duration::from_secs(u64::try_from(validity_s / 4).unwrap_or(10).max(1));
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut held: Option<Lease> = None;
    loop {
        ticks.tick().await;
        while let Err(status) = renew(&shared, &client, &mut held).await {
            tracing::warn!(error = status.message, "renewing the node's lease");
            held = None;
            tokio::time::sleep(RETRY).await;
        }
    }
}

fn spec(shared: &Shared) -> LeaseSpec {
    let now = shared.now();
    LeaseSpec {
        holder_identity: Some(shared.options.node_name.clone()),
        lease_duration_seconds: Some(shared.options.config.node_lease_duration_s),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    }
}

fn owner(shared: &Shared) -> Option<Vec<OwnerReference>> {
    let node = shared.node.read().clone()?;
    Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: shared.options.node_name.clone(),
        uid: node.metadata.uid.clone()?,
        ..OwnerReference::default()
    }])
}

async fn renew(shared: &Shared, client: &Client, held: &mut Option<Lease>) -> Result<(), Status> {
    let name = &shared.options.node_name;
    let present = match held.take() {
        Some(lease) => Some(lease),
        None => match client.get::<Lease>(Some(NAMESPACE), name).await {
            Ok(lease) => Some(lease),
            Err(status) if status.is(Reason::NotFound) => None,
            Err(status) => return Err(status),
        },
    };
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(NAMESPACE.into()),
        owner_references: owner(shared),
        ..ObjectMeta::default()
    };
    *held = Some(match present {
        None => {
            let lease = Lease { metadata, spec: Some(spec(shared)) };
            client.create(Some(NAMESPACE), &lease).await?
        }
        Some(mut lease) => {
            if lease.metadata.owner_references.is_none() {
                lease.metadata.owner_references = metadata.owner_references;
            }
            lease.spec = Some(spec(shared));
            client.replace(Some(NAMESPACE), name, &lease).await?
        }
    });
    Ok(())
}
