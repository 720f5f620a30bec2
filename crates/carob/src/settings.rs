//! Flags made usable: defaults filled in, values checked, what the first start was given kept in the data directory.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::address;
use crate::arguments::ServerOptions;
use crate::instance::Instance;

/// Everything a daemon is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Paths and identity.
    pub instance: Instance,
    /// Name and context.
    pub name: String,
    /// Where the API server listens.
    pub listen: SocketAddr,
    /// Port of the node's API.
    pub kubelet_port: u16,
    /// Name of the node.
    pub node_name: String,
    /// Addresses of the node, the primary one first.
    pub node_ips: Vec<IpAddr>,
    /// Blocks of Pod addresses.
    pub pod_cidrs: Vec<String>,
    /// Blocks of Service addresses.
    pub service_cidrs: Vec<String>,
    /// Kubeconfig to write, if not the user's usual one.
    pub kubeconfig: Option<PathBuf>,
    /// KubeletConfiguration.
    pub kubelet_config: PathBuf,
    /// Registries.
    pub registries: PathBuf,
}

/// File in the data directory with the flags given so far.
const FILE: &str = "settings.json";

/// Merges the flags of this start with those that are kept. A flag that says something else than before is an error:
/// much of what exists was made with the old value.
fn merge(instance: &Instance, given: &ServerOptions) -> anyhow::Result<ServerOptions> {
    let path = instance.data(FILE);
    let given = serde_json::to_value(given)?;
    let mut kept = match fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => serde_json::json!({}),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let before = kept.clone();
    for (flag, value) in given.as_object().into_iter().flatten() {
        if value.is_null() || value == &serde_json::json!([]) {
            continue;
        }
        match kept.get(flag) {
            Some(old) if !old.is_null() && old != &serde_json::json!([]) && old != value => {
                let show = |value: &serde_json::Value| match value {
                    serde_json::Value::String(text) => text.clone(),
                    serde_json::Value::Array(list) => {
                        list.iter().filter_map(|own| own.as_str()).collect::<Vec<_>>().join(",")
                    }
                    other => other.to_string(),
                };
                bail!(
                    "--{flag} {} conflicts with {}, which this instance was made with: leave it out, or use another --data-dir (or `carob down --purge` first)",
                    show(value),
                    show(old)
                );
            }
            _ => kept[flag] = value.clone(),
        }
    }
    if kept != before {
        pki::authority::write_private(&path, &serde_json::to_vec_pretty(&kept)?)?;
    }
    Ok(serde_json::from_value(kept)?)
}

impl Settings {
    /// Checks flags and fills in defaults.
    pub fn new(given: &ServerOptions) -> anyhow::Result<Self> {
        if let Some(store) = given.store.as_deref().filter(|store| *store != "embedded") {
            bail!("--store {store}: only `embedded` is there yet");
        }
        if let Some(endpoint) = &given.container_runtime_endpoint {
            bail!(
                "--container-runtime-endpoint {endpoint}: other runtimes cannot be used yet, leave the flag out"
            );
        }
        let instance = Instance::open(&given.instance)?;
        let options = merge(&instance, given)?;
        let listen = options.listen.as_deref().unwrap_or("0.0.0.0:6443");
        let listen = listen.parse().with_context(|| format!("--listen {listen}: wanted ADDRESS:PORT"))?;
        let node_ips: Vec<IpAddr> = match options.node_ip.as_slice() {
            [] => address::of_this_machine(),
            given => {
                let parse =
                    |text: &String| text.parse().with_context(|| format!("--node-ip {text}: no address"));
                given.iter().map(parse).collect::<anyhow::Result<_>>()?
            }
        };
        if node_ips.is_empty() {
            bail!("this machine has no address but loopback: give one with --node-ip");
        }
        let or = |list: &[String], default: &str| {
            if list.is_empty() { vec![default.to_owned()] } else { list.to_vec() }
        };
        let pod_cidrs = or(&options.pod_cidr, "10.42.0.0/16");
        let service_cidrs = or(&options.service_cidr, "10.43.0.0/16");
        for (flag, cidr) in
            pod_cidrs.iter().map(|own| ("pod", own)).chain(service_cidrs.iter().map(|own| ("service", own)))
        {
            if controllers::node_addresses::Cidr::parse(cidr).is_none() {
                bail!("--{flag}-cidr {cidr}: wanted a block such as 10.42.0.0/16");
            }
        }
        Ok(Self {
            name: options.name.unwrap_or_else(|| "carob".into()),
            listen,
            kubelet_port: options.kubelet_port.unwrap_or(10_250),
            node_name: options.node_name.unwrap_or_else(address::host_name),
            node_ips,
            pod_cidrs,
            service_cidrs,
            kubeconfig: options.write_kubeconfig,
            kubelet_config: options.config.unwrap_or_else(|| instance.path("/var/lib/kubelet/config.yaml")),
            registries: options.registries.unwrap_or_else(|| instance.path("/etc/carob/registries.yaml")),
            instance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::InstanceOptions;

    #[test]
    fn flags_are_kept_and_must_not_change() {
        let folder = tempfile::tempdir().unwrap();
        let base = ServerOptions {
            instance: InstanceOptions { prefix: Some(folder.path().to_owned()), data_dir: None },
            node_ip: vec!["192.0.2.7".into()],
            ..ServerOptions::default()
        };
        let first = ServerOptions { listen: Some("127.0.0.1:7443".into()), ..base.clone() };
        assert_eq!(Settings::new(&first).unwrap().listen.port(), 7443);
        assert_eq!(Settings::new(&base).unwrap().listen.port(), 7443, "kept");
        let other = ServerOptions { listen: Some("127.0.0.1:8443".into()), ..base.clone() };
        let error = Settings::new(&other).unwrap_err().to_string();
        assert!(error.starts_with("--listen 127.0.0.1:8443 conflicts with 127.0.0.1:7443"), "{error}");
        let etcd = ServerOptions { store: Some("etcd://x".into()), ..base };
        assert!(Settings::new(&etcd).unwrap_err().to_string().contains("--store etcd://x"));
    }
}
