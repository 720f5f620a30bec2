//! The node: images, runtime, network, agent, and the node's own API.

use std::net::SocketAddr;
use std::sync::Arc;

use agent::volumes::LocalVolumes;
use agent::{Agent, Directories};
use anyhow::{Context, bail};
use client::{Client, ListOptions, Path};
use cri::network::PodNetwork;
use cri::runtime::RuntimeService;
use engine::Informer;
use images::ImageStore;
use model::tree::TreeExt;
use net::Network;
use runtime::Runtime;
use stdx::clock::Clock;
use stdx::entropy::Entropy;

use crate::control_plane::api_service_ips;
use crate::instance::{self, Lock};
use crate::late_network::LateNetwork;
use crate::settings::Settings;
use crate::spread;

/// What is written where no KubeletConfiguration is. Never rewritten.
const KUBELET_CONFIG: &str =
    "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nstaticPodPath: ";
/// Sandboxes kept ready for the next Pods.
const PREPARED_SANDBOXES: usize = 4;

/// A running node.
pub struct Node {
    /// The agent.
    pub agent: Agent,
    /// Images.
    pub images: Arc<ImageStore>,
    /// Containers.
    pub runtime: Arc<Runtime>,
    network: LateNetwork,
    volumes: Arc<LocalVolumes>,
    tasks: tokio::task::JoinSet<()>,
    _lock: Lock,
}

/// What a node is started with besides its settings.
pub struct Parts {
    /// The API, as the node; `None` stands alone.
    pub client: Option<Client>,
    /// TLS of the node's own API.
    pub tls: Arc<rustls::ServerConfig>,
    /// Who may use the node's API.
    pub access: Arc<dyn agent::node_api::Access>,
    /// Port of the API server, if there is one here: the `kubernetes` Service leads to it.
    pub api_port: Option<u16>,
    /// Time of day.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
}

/// Opens the image store.
pub fn open_images(settings: &Settings, clock: &Clock) -> anyhow::Result<Arc<ImageStore>> {
    let mut options = images::Options::new(settings.instance.data("images"));
    options.registries_file = Some(settings.registries.clone());
    options.clock = clock.clone();
    Ok(ImageStore::open(options)?)
}

impl Node {
    /// Starts a node: takes over what runs, then follows its sources of Pods.
    pub async fn start(settings: &Settings, parts: Parts) -> anyhow::Result<Self> {
        let directories = Directories {
            root: settings.instance.path("/var/lib/kubelet"),
            pod_logs: settings.instance.path("/var/log/pods"),
            container_links: settings.instance.path("/var/log/containers"),
        };
        instance::make_private(&directories.root)?;
        let Some(lock) = instance::lock(&directories.root.join("carob.lock"))? else {
            bail!(
                "{} is another node's: start with --prefix, so that each has its own",
                directories.root.display()
            );
        };
        let config = kubelet_config(settings)?;
        let images = open_images(settings, &parts.clock)?;
        let network = LateNetwork::new();
        let runtime = open_runtime(settings, true, &parts.clock, &parts.entropy, &network, &images).await?;
        spread::spread(&[
            settings.instance.run_dir(),
            settings.instance.run_dir().join("pods"),
            settings.instance.data("images/containers"),
            settings.instance.data("runtime/pods"),
            directories.root.join("pods"),
            directories.pod_logs.clone(),
        ])?;
        let volumes = LocalVolumes::open(agent::volumes::Options {
            root: directories.root.clone(),
            memory_root: settings.instance.run_dir().join("memory"),
            client: parts.client.clone(),
            clock: parts.clock.clone(),
            entropy: parts.entropy.clone(),
        })
        .context("mounting the tmpfs for secrets")?;
        let mut tasks = tokio::task::JoinSet::new();
        let listener = bind_node_api(settings).await?;
        let kubelet_port = listener.local_addr()?.port();
        let agent = Agent::start(agent::Options {
            node_name: settings.node_name.clone(),
            node_ips: settings.node_ips.clone(),
            client: parts.client.clone(),
            runtime: runtime.clone(),
            images: images.clone(),
            volumes: volumes.clone(),
            directories,
            cgroup_root: settings.instance.cgroup_root(),
            config,
            node_labels: std::collections::BTreeMap::new(),
            kubelet_port,
            version: format!("v1.36.0+carob{}", env!("CARGO_PKG_VERSION")),
            clock: parts.clock.clone(),
            entropy: parts.entropy.clone(),
        })
        .await?;
        tasks.spawn(agent::node_api::serve(
            listener,
            parts.tls.clone(),
            agent.backend(),
            parts.access.clone(),
        ));
        tasks.spawn(follow_network(settings.clone(), parts, network.clone(), runtime.clone()));
        Ok(Self { agent, images, runtime, network, volumes, tasks, _lock: lock })
    }

    /// Stops following; Pods go on. The next start takes them over.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        drop(self.agent);
        self.runtime.close().await;
        if let Some(network) = self.network.get()
            && let Err(error) = network.close(false).await
        {
            tracing::warn!(%error, "the pod network did not close");
        }
    }

    /// Ends all Pods and takes everything away that they needed.
    pub async fn tear_down(mut self, grace_s: i64) -> anyhow::Result<()> {
        self.tasks.shutdown().await;
        let Self { agent, runtime, network, volumes, .. } = self;
        // No decision about any Pod is made from here on.
        drop(agent);
        end_pods(&runtime, &volumes, grace_s).await?;
        if let Some(network) = network.get() {
            network.close(true).await?;
        }
        Ok(())
    }
}

/// Ends every container and sandbox, and takes volumes and control groups away.
async fn end_pods(runtime: &Runtime, volumes: &LocalVolumes, grace_s: i64) -> anyhow::Result<()> {
    use agent::Volumes;
    let containers = runtime.list_containers(None).await?;
    let stopped = containers.iter().map(|container| runtime.stop_container(&container.id, grace_s));
    for (container, result) in containers.iter().zip(futures::future::join_all(stopped).await) {
        if let Err(error) = result {
            tracing::warn!(container = container.id, %error, "a container does not stop by itself");
        }
    }
    let sandboxes = runtime.list_pod_sandboxes(None).await?;
    let ended = sandboxes.iter().map(|sandbox| async {
        runtime.stop_pod_sandbox(&sandbox.id).await?;
        runtime.remove_pod_sandbox(&sandbox.id).await
    });
    for result in futures::future::join_all(ended).await {
        result.context("ending a pod")?;
    }
    volumes.retain(&[]).await;
    volumes.close().context("unmounting the tmpfs of secrets")?;
    runtime.close().await;
    Ok(())
}

/// Ends what a dead daemon left running.
pub async fn sweep(settings: &Settings, grace_s: i64) -> anyhow::Result<()> {
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let images = open_images(settings, &clock)?;
    let network = LateNetwork::new();
    let blocks = settings.pod_cidrs.clone();
    let runtime = open_runtime(settings, false, &clock, &entropy, &network, &images).await?;
    match open_network(settings, None, &blocks, &*runtime).await {
        Ok(opened) => network.set(opened),
        Err(error) => tracing::warn!("the pod network cannot be opened: {error:#}"),
    }
    let volumes = LocalVolumes::open(agent::volumes::Options {
        root: settings.instance.path("/var/lib/kubelet"),
        memory_root: settings.instance.run_dir().join("memory"),
        client: None,
        clock,
        entropy,
    })?;
    end_pods(&runtime, &volumes, grace_s).await?;
    if let Some(network) = network.get() {
        network.close(true).await?;
    }
    Ok(())
}

fn kubelet_config(settings: &Settings) -> anyhow::Result<agent::config::KubeletConfig> {
    let path = &settings.kubelet_config;
    if !path.exists() {
        let manifests = settings.instance.path("/etc/kubernetes/manifests");
        std::fs::create_dir_all(&manifests).with_context(|| format!("making {}", manifests.display()))?;
        let text = format!("{KUBELET_CONFIG}{}\n", manifests.display());
        pki::authority::write_public(path, text.as_bytes())?;
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let (config, warnings) = agent::config::parse(&text).with_context(|| path.display().to_string())?;
    for warning in warnings {
        tracing::warn!(file = %path.display(), "{warning}");
    }
    Ok(config)
}

/// `enters_group`: this process is the daemon. One that only clears up would hold the group that is to go.
async fn open_runtime(
    settings: &Settings,
    enters_group: bool,
    clock: &Clock,
    entropy: &Entropy,
    network: &LateNetwork,
    images: &Arc<ImageStore>,
) -> anyhow::Result<Arc<Runtime>> {
    let options = runtime::Options {
        run_dir: settings.instance.run_dir(),
        state_dir: settings.instance.data("runtime"),
        cgroup_root: settings.instance.cgroup_root(),
        executable: "/proc/self/exe".into(),
        enter_daemon_cgroup: enters_group,
        prepared_sandboxes: PREPARED_SANDBOXES,
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    Ok(Runtime::open(options, Arc::new(network.clone()), images.clone()).await?)
}

async fn bind_node_api(settings: &Settings) -> anyhow::Result<tokio::net::TcpListener> {
    // Whatever the API server listens on: the node is reached by its own addresses.
    let address = SocketAddr::from(([0, 0, 0, 0], settings.kubelet_port));
    tokio::net::TcpListener::bind(address).await.map_err(|error| {
        anyhow::anyhow!(
            "cannot listen on {address} for the node's API: {error} (give another --kubelet-port)"
        )
    })
}

/// Opens the network as soon as the node has its addresses: from the Node object, or alone the first block's start.
async fn follow_network(settings: Settings, parts: Parts, late: LateNetwork, runtime: Arc<Runtime>) {
    let blocks = match &parts.client {
        Some(client) => node_blocks(client, &settings.node_name, &parts.entropy).await,
        None => settings.pod_cidrs.clone(),
    };
    match open_network(&settings, parts.api_port, &blocks, &*runtime).await {
        Ok(network) => {
            late.set(network.clone());
            let repair = std::time::Duration::from_secs(60);
            loop {
                tokio::time::sleep(repair).await;
                if let Err(error) = network.repair().await {
                    tracing::warn!(%error, "the pod network cannot be repaired");
                }
            }
        }
        Err(error) => tracing::error!("the pod network cannot be opened, pods will wait for it: {error:#}"),
    }
}

/// The node's `spec.podCIDRs`, once it has some.
async fn node_blocks(client: &Client, node: &str, entropy: &Entropy) -> Vec<String> {
    let selectors =
        ListOptions { field_selector: Some(format!("metadata.name={node}")), ..ListOptions::default() };
    let informer = Informer::new(Path::collection("", "v1", "nodes", None), selectors);
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let handler: engine::informer::Handler = Box::new(move |change| {
        let blocks = change.object().items(&["spec", "podCIDRs"]).iter();
        let blocks: Vec<String> = blocks.filter_map(|own| own.as_str()).map(str::to_owned).collect();
        if !blocks.is_empty() {
            // A second answer finds the channel full: the first one counts.
            let _ = sender.try_send(blocks);
        }
    });
    let following = tokio::spawn(informer.run(client.clone(), entropy.clone(), vec![handler]));
    let blocks = receiver.recv().await.unwrap_or_default();
    following.abort();
    blocks
}

async fn open_network(
    settings: &Settings,
    api_port: Option<u16>,
    blocks: &[String],
    runtime: &dyn RuntimeService,
) -> anyhow::Result<Arc<Network>> {
    let parse = |list: &[String]| -> anyhow::Result<Vec<net::Cidr>> {
        list.iter().map(|text| text.parse().map_err(|error| anyhow::anyhow!("{text}: {error}"))).collect()
    };
    let network = Network::open(net::Options {
        instance_id: settings.instance.id.clone(),
        pod_cidrs: parse(blocks)?,
        cluster_pod_cidrs: parse(&settings.pod_cidrs)?,
        service_cidrs: parse(&settings.service_cidrs)?,
        state_dir: settings.instance.run_dir().join("net"),
        mtu: None,
    })
    .await?;
    let live: Vec<String> = runtime.list_pod_sandboxes(None).await?.into_iter().map(|own| own.id).collect();
    network.retain(&live).await?;
    if let Some(port) = api_port {
        for service_ip in api_service_ips(settings) {
            let endpoints = settings.node_ips.iter().filter(|ip| ip.is_ipv4() == service_ip.is_ipv4());
            let endpoints = endpoints.map(|ip| (*ip, port)).collect();
            network.set_api_service(service_ip, 443, endpoints).await?;
        }
    }
    Ok(network)
}
