//! An agent on fakes, with helpers to wait for what it reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use client::Client;
use cri::runtime::Mount;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};
use stdx::clock::Clock;
use stdx::entropy::Entropy;

use crate::config::KubeletConfig;
use crate::seams::{PreparedVolumes, VolumeError, VolumeFacts, Volumes};
use crate::testing::{FakeApi, FakeImages, FakeRuntime};
use crate::{Agent, Directories, Options};

/// Volumes that are always there and mount nothing.
#[derive(Default)]
pub struct NoVolumes {
    /// How often taking them away fails from now on.
    pub failures: AtomicU32,
}

#[async_trait]
impl Volumes for NoVolumes {
    async fn prepare(&self, _: &Pod, _: VolumeFacts<'_>) -> Result<PreparedVolumes, VolumeError> {
        Ok(PreparedVolumes::default())
    }

    async fn container_mounts(
        &self,
        _: &Pod,
        _: &Container,
        _: &[(String, String)],
        _: &PreparedVolumes,
    ) -> Result<Vec<Mount>, String> {
        Ok(Vec::new())
    }

    async fn teardown(&self, _: &str) -> Result<(), VolumeError> {
        let fails = |left: u32| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails) {
            Ok(_) => Err(VolumeError { reason: "FailedUnMount", message: "device or resource busy".into() }),
            Err(_) => Ok(()),
        }
    }

    async fn retain(&self, _: &[String]) {}
}

/// An agent on fakes. Needs tokio's time paused: its wall clock follows it. And one thread: file operations block it.
pub struct Harness {
    /// API.
    pub api: FakeApi,
    /// Runtime.
    pub runtime: FakeRuntime,
    /// Images.
    pub images: FakeImages,
    /// Volumes.
    pub volumes: Arc<NoVolumes>,
    /// Wall clock.
    pub clock: Clock,
    /// The agent, while it runs.
    pub agent: Option<Agent>,
    folder: std::path::PathBuf,
    config: KubeletConfig,
    started: tokio::time::Instant,
}

/// When tests begin.
pub const START: &str = "2026-01-01T00:00:00Z";

impl Harness {
    /// Fakes with the `kubernetes` service; the agent keeps its files in `folder`.
    pub fn new(folder: &std::path::Path) -> Self {
        // Time that is paused does not wait for other threads.
        crate::files::block_this_thread();
        let clock = Clock::manual(START.parse().unwrap_or(Timestamp::UNIX_EPOCH));
        let api = FakeApi::default();
        api.put(
            "/api/v1/namespaces/default/services/kubernetes",
            json!({"metadata": {"name": "kubernetes", "namespace": "default"},
                "spec": {"clusterIP": "10.43.0.1", "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]}}),
        );
        Self {
            runtime: FakeRuntime::new(clock.clone()),
            images: FakeImages::default(),
            volumes: Arc::default(),
            agent: None,
            folder: folder.into(),
            config: KubeletConfig { resolv_conf: String::new(), ..KubeletConfig::default() },
            started: tokio::time::Instant::now(),
            clock,
            api,
        }
    }

    /// Changes the configuration of agents started from now on.
    pub fn configure(&mut self, change: impl FnOnce(&mut KubeletConfig)) {
        change(&mut self.config);
    }

    /// Starts (or restarts) the agent.
    pub async fn start(&mut self) {
        self.agent = None;
        let options = Options {
            node_name: "n1".into(),
            node_ips: vec![std::net::IpAddr::from([192, 0, 2, 1])],
            client: Some(Client::new(Arc::new(self.api.clone()))),
            runtime: Arc::new(self.runtime.clone()),
            images: Arc::new(self.images.clone()),
            volumes: self.volumes.clone(),
            directories: Directories {
                root: self.folder.join("kubelet"),
                pod_logs: self.folder.join("logs"),
                container_links: self.folder.join("links"),
            },
            cgroup_root: "/carob-test".into(),
            config: self.config.clone(),
            node_labels: BTreeMap::new(),
            kubelet_port: 10250,
            version: "v1.36.2+carob0.1.0".into(),
            clock: self.clock.clone(),
            entropy: Entropy::seeded(1),
        };
        self.agent = Some(Agent::start(options).await.expect("the agent starts"));
    }

    /// Path of a Pod of the default namespace.
    pub fn path(name: &str) -> String {
        format!("/api/v1/namespaces/default/pods/{name}")
    }

    /// Creates a Pod on the node from its spec.
    pub fn create(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("n1");
        let metadata =
            json!({"name": name, "namespace": "default", "uid": format!("uid-{name}"), "generation": 1});
        let status = json!({"phase": "Pending", "qosClass": "BestEffort"});
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status});
        self.api.put(&Self::path(name), pod);
    }

    /// Deletes a Pod as a client would.
    pub fn delete(&self, name: &str, grace_s: i64) {
        let now = model::time::format_seconds(self.clock.now());
        let metadata = json!({"deletionTimestamp": now, "deletionGracePeriodSeconds": grace_s});
        self.api.change(&Self::path(name), &json!({"metadata": metadata}));
    }

    /// A Pod.
    pub fn pod(&self, name: &str) -> Option<Value> {
        self.api.get(&Self::path(name))
    }

    /// Lets time pass: wall clock and waiting together, in small steps.
    pub async fn pass(&self, time: Duration) {
        let step = Duration::from_millis(50);
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            tokio::time::advance(step).await;
            self.tick();
            settle().await;
        }
    }

    /// Brings the wall clock to the time that passed for tokio.
    fn tick(&self) {
        let start: Timestamp = START.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        self.clock.set(start + self.started.elapsed());
    }

    /// Lets time pass until a Pod is as wanted, at most `limit`; answers the time it took.
    pub async fn until(&self, name: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Duration {
        let begun = tokio::time::Instant::now();
        loop {
            settle().await;
            let pod = self.pod(name).unwrap_or(Value::Null);
            if wanted(&pod) {
                return begun.elapsed();
            }
            let seen = serde_json::to_string_pretty(&pod["status"]).unwrap_or_default();
            assert!(begun.elapsed() < limit, "{name} did not come to be as wanted: {seen}");
            tokio::time::advance(Duration::from_millis(50)).await;
            self.tick();
        }
    }

    /// Events as `reason: message`, in the order they were recorded, each once.
    pub fn events(&self) -> Vec<String> {
        let mut events = self.api.list("/api/v1/namespaces/default/events/");
        events.sort_by_key(|event| {
            event["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok())
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events
            .iter()
            .map(|event| format!("{}: {}", text(&event["reason"]), text(&event["message"])))
            .collect()
    }
}

/// Lets all tasks run until they wait for something, without letting time pass.
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    // File operations happen on other threads; this waits for those under way.
    tokio::task::spawn_blocking(|| {}).await.ok();
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
