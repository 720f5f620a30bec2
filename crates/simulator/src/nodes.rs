//! Nodes: the real agent over containers in memory. Containers outlive the agent and end with the machine.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use agent::agent::StartError;
use agent::config::KubeletConfig;
use agent::machine::Machine;
use agent::testing::harness::NoVolumes;
use agent::testing::{FakeImages, FakeRuntime};
use agent::thresholds::{Threshold, Thresholds};
use agent::{Agent, Directories, Options};
use model::UserInfo;
use stdx::clock::Clock;
use stdx::entropy::Entropy;

use crate::audit::Audit;
use crate::link::{Link, Net};
use crate::shaky::ShakyRuntime;

/// What each node has to give, whatever this machine has.
const CPU_MILLI: i64 = 1000;
const MEMORY_BYTES: i64 = 512 << 20;

/// How often an agent is started that ends at once.
const STARTS_MAX: usize = 30;

/// A node.
pub struct Node {
    /// Name.
    pub name: String,
    /// Its containers.
    pub runtime: FakeRuntime,
    images: FakeImages,
    agent: Option<Agent>,
    link: Option<Link>,
    number: u8,
}

impl Node {
    /// A machine without an agent, under the eyes of the audit.
    pub fn new(number: u8, clock: &Clock, audit: &Arc<Audit>) -> Self {
        let (name, runtime) = (format!("n{number}"), FakeRuntime::new(clock.clone()));
        audit.watch_node(&name, &runtime);
        Self { name, runtime, images: FakeImages::default(), agent: None, link: None, number }
    }

    /// Whether its agent runs.
    pub fn is_up(&self) -> bool {
        self.agent.is_some()
    }

    /// Ends the agent; containers run on.
    pub fn stop(&mut self) {
        self.agent = None;
        if let Some(link) = self.link.take() {
            link.kill();
        }
    }

    /// The machine is switched off and on: nothing runs.
    pub fn lose_power(&mut self) {
        self.stop();
        self.runtime.kill_sandboxes();
    }

    /// Starts the agent (again), as often as it takes: its runtime may fail.
    ///
    /// # Panics
    /// When it does not start whatever is done.
    pub async fn start(&mut self, net: &Arc<Net>, folder: &Path, clock: &Clock, entropy: &Entropy) {
        for _ in 1..STARTS_MAX {
            if self.try_start(net, folder, clock, entropy).await.is_ok() {
                return;
            }
        }
        self.try_start(net, folder, clock, entropy).await.expect("the agent starts");
    }

    async fn try_start(
        &mut self,
        net: &Arc<Net>,
        folder: &Path,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Result<(), StartError> {
        self.stop();
        let user = UserInfo::authenticated(format!("system:node:{}", self.name), &["system:nodes"]);
        let link = Link::new(net, &self.name, user);
        let folder = folder.join(&self.name);
        let options = Options {
            node_name: self.name.clone(),
            node_ips: vec![IpAddr::from([192, 0, 2, self.number])],
            client: Some(link.client()),
            runtime: Arc::new(ShakyRuntime::new(self.runtime.clone(), link.clone())),
            images: Arc::new(self.images.clone()),
            volumes: Arc::new(NoVolumes::default()),
            directories: Directories {
                root: folder.join("kubelet"),
                pod_logs: folder.join("logs"),
                container_links: folder.join("links"),
            },
            cgroup_root: "/simulated".into(),
            config: configuration(),
            node_labels: BTreeMap::from([("zone".into(), format!("z{}", self.number % 2))]),
            kubelet_port: 10250,
            version: "v1.36.0+simulated".into(),
            clock: clock.clone(),
            entropy: Entropy::seeded(entropy.next_u64()),
        };
        self.link = Some(link);
        self.agent = Some(Agent::start(options).await?);
        Ok(())
    }
}

/// Reserves all of this machine but the little that a node here has.
fn configuration() -> KubeletConfig {
    let machine = Machine::read();
    let none = Threshold::Amount(0);
    let reserved = [
        ("cpu", format!("{}m", machine.cpus * 1000 - CPU_MILLI)),
        ("memory", (machine.memory_bytes - MEMORY_BYTES).to_string()),
    ];
    KubeletConfig {
        resolv_conf: String::new(),
        thresholds: Thresholds { memory: none, disk: none, inodes: none },
        system_reserved: reserved.map(|(name, amount)| (name.to_owned(), amount)).to_vec(),
        ..KubeletConfig::default()
    }
}
