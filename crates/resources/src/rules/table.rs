//! Which rules a kind has. Kinds that are not listed add nothing of their own.

use std::sync::Arc;

use crate::rules::core::{configuration, endpoints, events, namespaces, nodes, quotas, services, volumes};
use crate::rules::kind::Kind;
use crate::rules::pod::Pod;
use crate::rules::workloads::{apps, batch, daemon, scaling, stateful};
use crate::rules::{Plain, Rules, access, admission, networking};

/// (group, kind, rules).
const KINDS: &[(&str, &str, Kind)] = &[
    ("", "ConfigMap", configuration::CONFIG_MAP),
    ("", "Endpoints", endpoints::ENDPOINTS),
    ("", "Event", events::EVENT),
    ("", "LimitRange", quotas::LIMIT_RANGE),
    ("", "Namespace", namespaces::NAMESPACE),
    ("", "Node", nodes::NODE),
    ("", "PersistentVolume", volumes::PERSISTENT_VOLUME),
    ("", "PersistentVolumeClaim", volumes::CLAIM),
    ("", "ResourceQuota", quotas::RESOURCE_QUOTA),
    ("", "Secret", configuration::SECRET),
    ("", "Service", services::SERVICE),
    ("", "ServiceAccount", configuration::SERVICE_ACCOUNT),
    ("", "PodTemplate", apps::POD_TEMPLATE),
    ("", "ReplicationController", apps::REPLICATION_CONTROLLER),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", admission::POLICY),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", admission::POLICY_BINDING),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", admission::MUTATING_WEBHOOKS),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", admission::POLICY),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding", admission::POLICY_BINDING),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", admission::VALIDATING_WEBHOOKS),
    ("apps", "ControllerRevision", apps::REVISION),
    ("apps", "DaemonSet", daemon::DAEMON_SET),
    ("apps", "Deployment", apps::DEPLOYMENT),
    ("apps", "ReplicaSet", apps::REPLICA_SET),
    ("apps", "StatefulSet", stateful::STATEFUL_SET),
    ("autoscaling", "HorizontalPodAutoscaler", scaling::AUTOSCALER),
    ("batch", "CronJob", batch::CRON_JOB),
    ("batch", "Job", batch::JOB),
    ("certificates.k8s.io", "CertificateSigningRequest", access::SIGNING_REQUEST),
    ("coordination.k8s.io", "Lease", events::LEASE),
    ("discovery.k8s.io", "EndpointSlice", endpoints::ENDPOINT_SLICE),
    ("events.k8s.io", "Event", events::NEW_EVENT),
    ("networking.k8s.io", "Ingress", networking::INGRESS),
    ("networking.k8s.io", "IngressClass", networking::INGRESS_CLASS),
    ("networking.k8s.io", "NetworkPolicy", networking::NETWORK_POLICY),
    ("node.k8s.io", "RuntimeClass", quotas::RUNTIME_CLASS),
    ("policy", "PodDisruptionBudget", scaling::DISRUPTION_BUDGET),
    ("rbac.authorization.k8s.io", "ClusterRole", access::CLUSTER_ROLE),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", access::CLUSTER_ROLE_BINDING),
    ("rbac.authorization.k8s.io", "Role", access::ROLE),
    ("rbac.authorization.k8s.io", "RoleBinding", access::ROLE_BINDING),
    ("scheduling.k8s.io", "PriorityClass", quotas::PRIORITY_CLASS),
    ("storage.k8s.io", "CSIDriver", volumes::CSI_DRIVER),
    ("storage.k8s.io", "StorageClass", volumes::STORAGE_CLASS),
];

/// The rules of a kind, by its API group and name.
pub fn rules_for(group: &str, kind: &str) -> Arc<dyn Rules> {
    if (group, kind) == ("", "Pod") {
        return Arc::new(Pod);
    }
    match KINDS.iter().find(|(own_group, own_kind, _)| (*own_group, *own_kind) == (group, kind)) {
        Some((_, _, rules)) => Arc::new(*rules),
        None => Arc::new(Plain),
    }
}
