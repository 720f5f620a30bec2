//! `carob status`: what runs, where its files are, and the health of each part.

use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use client::kubeconfig::{self, Kubeconfig};
use client::{Client, ListOptions};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::arguments::InstanceOptions;
use crate::instance::Instance;

/// Prints the state; exit code 1 unless everything is well.
#[allow(clippy::print_stdout)] // the command's answer
pub fn run(options: &InstanceOptions) -> anyhow::Result<ExitCode> {
    let instance = Instance::open(options)?;
    let pid = instance.daemon_pid();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rows = vec![
        (
            "daemon",
            pid.map_or_else(
                || "not running (start it with `carob up`)".into(),
                |pid| format!("running (process {pid})"),
            ),
        ),
        ("instance", instance.id.clone()),
        ("data", instance.data_dir.display().to_string()),
        ("log", instance.log_file().display().to_string()),
        ("sockets", instance.run_dir().display().to_string()),
        ("cgroup", instance.cgroup_root()),
    ];
    let mut healthy = pid.is_some();
    if pid.is_some() {
        let (parts, well) = runtime.block_on(parts(&instance));
        rows.extend(parts);
        healthy &= well;
    }
    for (name, value) in rows {
        println!("{name:10} {value}");
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Rows = Vec<(&'static str, String)>;

async fn parts(instance: &Instance) -> (Rows, bool) {
    match ask(instance).await {
        Ok((rows, well)) => (rows, well),
        Err(error) => (vec![("api", format!("does not answer: {error:#}"))], false),
    }
}

async fn ask(instance: &Instance) -> anyhow::Result<(Rows, bool)> {
    let config = Kubeconfig::read(&instance.data("admin.kubeconfig"))?;
    let missing = || anyhow::anyhow!("the kubeconfig is incomplete");
    let context = config.context("").ok_or_else(missing)?;
    let cluster = config.cluster(&context.cluster).ok_or_else(missing)?;
    let user = config.user(&context.user).ok_or_else(missing)?;
    let client = Client::new(Arc::new(kubeconfig::transport(cluster, user, http::HeaderMap::new())?));
    let mut rows = vec![("api", cluster.server.clone())];
    let ready = client.request(http::Method::GET, "/readyz", None, Bytes::new()).await;
    let mut well = ready.is_ok();
    rows.push(("ready", ready.map_or_else(|status| status.message, |_| "ok".into())));
    for node in client.list::<Node>(None, &ListOptions::default()).await?.items {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready = conditions.into_iter().any(|own| own.type_ == "Ready" && own.status == "True");
        well &= ready;
        let name = node.metadata.name.unwrap_or_default();
        rows.push(("node", format!("{name} {}", if ready { "Ready" } else { "NotReady" })));
    }
    let pods = client.list::<Pod>(None, &ListOptions::default()).await?.items;
    let running =
        pods.iter().filter(|pod| pod.status.as_ref().and_then(|own| own.phase.as_deref()) == Some("Running"));
    rows.push(("pods", format!("{} ({} running)", pods.len(), running.count())));
    Ok((rows, well))
}
