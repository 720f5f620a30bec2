//! Each namespace has an account `default` and a copy of the cluster's CA (upstream's serviceaccount and
//! root-ca-certificate-publisher controllers).

use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::action::{Action, PatchKind, Target};

/// Name of the ConfigMap.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// Name of the account.
pub const DEFAULT: &str = "default";
const NOTE: &str = "kubernetes.io/description";
const WORDS: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// What is seen of a namespace.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The namespace, if it is there.
    pub namespace: Option<&'a Value>,
    /// Its account `default`.
    pub account: Option<&'a Value>,
    /// Its ConfigMap `kube-root-ca.crt`.
    pub root_ca: Option<&'a Value>,
    /// What the ConfigMap has to hold.
    pub authority_pem: &'a str,
}

/// Decides.
pub fn decide(seen: Observed<'_>) -> Vec<Action> {
    let Some(namespace) = seen.namespace.filter(|own| own.at(&["metadata", "deletionTimestamp"]).is_none())
    else {
        return Vec::new();
    };
    let name = namespace.name();
    let mut actions = Vec::new();
    if seen.account.is_none() {
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT, "namespace": name}});
        actions.push(Action::Create { target: Target::core("serviceaccounts", name, ""), object });
    }
    match seen.root_ca {
        None => {
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": ROOT_CA, "namespace": name, "annotations": {NOTE: WORDS}},
                "data": {"ca.crt": seen.authority_pem},
            });
            actions.push(Action::Create { target: Target::core("configmaps", name, ""), object });
        }
        Some(own) if own["data"] != json!({"ca.crt": seen.authority_pem}) => {
            let target = Target::core("configmaps", name, ROOT_CA);
            let patch = json!([{"op": "add", "path": "/data", "value": {"ca.crt": seen.authority_pem}}]);
            actions.push(Action::Patch { target, subresource: None, kind: PatchKind::Json, patch });
        }
        Some(_) => {}
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_get_what_they_lack() {
        let namespace = json!({"metadata": {"name": "a"}});
        let going = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let account = json!({"metadata": {"name": "default", "namespace": "a"}});
        let good = json!({"data": {"ca.crt": "PEM"}});
        let spoilt = json!({"data": {"ca.crt": "PEM", "x": "y"}});
        let count = |namespace, account, root_ca| {
            decide(Observed { namespace, account, root_ca, authority_pem: "PEM" }).len()
        };
        assert_eq!(count(Some(&namespace), None, None), 2);
        assert_eq!(count(Some(&namespace), Some(&account), Some(&good)), 0);
        assert_eq!(count(Some(&namespace), Some(&account), Some(&spoilt)), 1);
        assert_eq!(count(Some(&going), None, None), 0);
        assert_eq!(count(None, None, None), 0);
    }
}
