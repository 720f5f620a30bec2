//! Which kernel settings a Pod may have: those that are known to be a namespace's own and to affect no other Pod, as
//! upstream's `pkg/kubelet/sysctl` has them without `--allowed-unsafe-sysctls`.

use k8s_openapi::api::core::v1::Pod;

use crate::admission::Rejection;
use crate::pod;

/// The namespace that a setting belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Net,
}

/// Settings that are safe. Kernels before 4.15, for which upstream leaves some out, do not run this program.
const SAFE: [(&str, Namespace); 12] = [
    ("kernel.shm_rmid_forced", Namespace::Ipc),
    ("net.ipv4.ip_local_port_range", Namespace::Net),
    ("net.ipv4.tcp_syncookies", Namespace::Net),
    ("net.ipv4.ping_group_range", Namespace::Net),
    ("net.ipv4.ip_unprivileged_port_start", Namespace::Net),
    ("net.ipv4.ip_local_reserved_ports", Namespace::Net),
    ("net.ipv4.tcp_keepalive_time", Namespace::Net),
    ("net.ipv4.tcp_fin_timeout", Namespace::Net),
    ("net.ipv4.tcp_keepalive_intvl", Namespace::Net),
    ("net.ipv4.tcp_keepalive_probes", Namespace::Net),
    ("net.ipv4.tcp_rmem", Namespace::Net),
    ("net.ipv4.tcp_wmem", Namespace::Net),
];

/// A setting's name with dots between its parts: where the first mark is a slash, slashes and dots change places.
pub fn normal_name(name: &str) -> String {
    if !name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/')) {
        return name.to_owned();
    }
    let swap = |letter| match letter {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    name.chars().map(swap).collect()
}

/// Says which of a Pod's settings is not allowed.
pub fn forbidden(pod: &Pod) -> Option<Rejection> {
    let spec = pod::spec(pod);
    let settings = spec.security_context.as_ref().and_then(|own| own.sysctls.as_ref()).into_iter().flatten();
    let why = |name: &str| {
        let namespace = SAFE.iter().find(|(own, _)| *own == name).map(|(_, namespace)| *namespace);
        match namespace {
            None => Some(format!("{name:?} not allowlisted")),
            Some(Namespace::Ipc) if spec.host_ipc == Some(true) => {
                Some(format!("{name:?} not allowed with host IPC enabled"))
            }
            Some(Namespace::Net) if pod::is_host_network(pod) => {
                Some(format!("{name:?} not allowed with host Net enabled"))
            }
            Some(_) => None,
        }
    };
    let words = settings.map(|own| normal_name(&own.name)).find_map(|name| why(&name))?;
    Some(Rejection { reason: "SysctlForbidden".into(), message: format!("forbidden sysctl: {words}") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_a_pods_own_may_be_set() {
        let safe = "net.ipv4.tcp_rmem";
        let rows = [
            (json!({}), safe, None),
            (json!({}), "net/ipv4/tcp_rmem", None),
            (json!({}), "kernel.shm_rmid_forced", None),
            (json!({}), "kernel.core_pattern", Some("\"kernel.core_pattern\" not allowlisted")),
            (json!({}), "kernel/core_pattern", Some("\"kernel.core_pattern\" not allowlisted")),
            (json!({}), "kernel.shmmax", Some("\"kernel.shmmax\" not allowlisted")),
            (json!({}), "net.core.somaxconn", Some("\"net.core.somaxconn\" not allowlisted")),
            (json!({}), "net.ipv4.tcp_rmem.x", Some("\"net.ipv4.tcp_rmem.x\" not allowlisted")),
            (json!({}), "net/ipv4/conf/eth0.1/x", Some("\"net.ipv4.conf.eth0/1.x\" not allowlisted")),
            (json!({ "hostIPC": true }), safe, None),
            (
                json!({ "hostNetwork": true }),
                safe,
                Some("\"net.ipv4.tcp_rmem\" not allowed with host Net enabled"),
            ),
            (
                json!({ "hostIPC": true }),
                "kernel.shm_rmid_forced",
                Some("\"kernel.shm_rmid_forced\" not allowed with host IPC enabled"),
            ),
        ];
        for (mut spec, name, expected) in rows {
            spec["containers"] = json!([]);
            spec["securityContext"] =
                json!({ "sysctls": [{ "name": safe, "value": "1" }, { "name": name, "value": "1" }] });
            if spec["hostNetwork"] == json!(true) {
                spec["securityContext"]["sysctls"] = json!([{ "name": name, "value": "1" }]);
            }
            let pod: Pod = serde_json::from_value(json!({ "spec": spec })).expect("a Pod");
            let expected = expected.map(|words| Rejection {
                reason: "SysctlForbidden".into(),
                message: format!("forbidden sysctl: {words}"),
            });
            assert_eq!(forbidden(&pod), expected, "{name}");
        }
    }
}
