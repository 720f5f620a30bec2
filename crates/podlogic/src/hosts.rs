//! `/etc/hosts` of a Pod.

use k8s_openapi::api::core::v1::{HostAlias, Pod};

use crate::pod;

/// Host name longest that Linux takes.
const HOSTNAME_LENGTH_MAX: usize = 63;

/// (host name, domain) of a Pod; the domain is empty without `subdomain`.
pub fn hostname(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = pod::spec(pod);
    if let Some(name) = &spec.hostname_override {
        return (name.clone(), String::new());
    }
    let mut name =
        spec.hostname.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| pod::name(pod).into());
    if name.len() > HOSTNAME_LENGTH_MAX {
        name.truncate(HOSTNAME_LENGTH_MAX);
        name.truncate(name.trim_end_matches(['-', '.']).len());
    }
    let domain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty());
    let domain = domain.map(|subdomain| format!("{subdomain}.{}.svc.{cluster_domain}", pod::namespace(pod)));
    (name, domain.unwrap_or_default())
}

/// The host name that the kernel gets: with `setHostnameAsFQDN` the whole name.
///
/// # Errors
/// When the whole name is longer than 64 characters.
pub fn kernel_hostname(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    const KERNEL_NAME_LENGTH_MAX: usize = 64;
    let (name, domain) = hostname(pod, cluster_domain);
    if pod::spec(pod).set_hostname_as_fqdn != Some(true) || domain.is_empty() {
        return Ok(name);
    }
    let full = format!("{name}.{domain}");
    if full.len() > KERNEL_NAME_LENGTH_MAX {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long \
             ({KERNEL_NAME_LENGTH_MAX} characters is the max, {} characters requested)",
            full.len()
        ));
    }
    Ok(full)
}

fn aliases(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let mut text = "\n# Entries added by HostAliases.\n".to_owned();
    for alias in aliases {
        text.push_str(&format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")
        ));
    }
    text
}

/// The file of a Pod with a network of its own.
pub fn managed(pod: &Pod, pod_ips: &[String], cluster_domain: &str) -> String {
    let (name, domain) = hostname(pod, cluster_domain);
    let mut text = "# Kubernetes-managed hosts file.\n\
                    127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::0\tip6-localnet\n\
                    fe00::0\tip6-mcastprefix\n\
                    fe00::1\tip6-allnodes\n\
                    fe00::2\tip6-allrouters\n"
        .to_owned();
    for ip in pod_ips {
        if domain.is_empty() {
            text.push_str(&format!("{ip}\t{name}\n"));
        } else {
            text.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n"));
        }
    }
    text + &aliases(pod::spec(pod).host_aliases.as_deref().unwrap_or_default())
}

/// The file of a Pod in the host's network: the node's, and the aliases.
pub fn from_node(pod: &Pod, node_file: &str) -> String {
    format!(
        "# Kubernetes-managed hosts file (host network).\n{node_file}{}",
        aliases(pod::spec(pod).host_aliases.as_deref().unwrap_or_default())
    )
}
