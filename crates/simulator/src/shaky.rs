//! A node's runtime as its agent meets it: slow, failing before or after it did what was asked, and gone for an agent that
//! was ended.

use async_trait::async_trait;
use cri::runtime::{
    ContainerConfig, ContainerStats, ContainerStatus, Event, ExecOutput, ExecRequest, Reader, RuntimeService,
    StreamSession, Writer,
};
use cri::sandbox::{LinuxContainerResources, PodSandboxConfig, PodSandboxState, PodSandboxStatus};
use cri::{Error, Result};
use tokio::sync::mpsc;

use agent::testing::FakeRuntime;

use crate::link::Link;

/// The runtime of one life of an agent.
pub struct ShakyRuntime {
    inner: FakeRuntime,
    link: Link,
}

impl ShakyRuntime {
    /// Above a node's containers; whatever delays the agent's link delays its calls as well.
    pub fn new(inner: FakeRuntime, link: Link) -> Self {
        Self { inner, link }
    }

    /// One call, which may fail without having done anything, or after it.
    async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.begin().await?;
        let answer = call.await;
        self.link.delay().await;
        if self.fails() { Err(Error::unknown("the runtime's answer is lost")) } else { answer }
    }

    async fn begin(&self) -> Result<()> {
        self.link.delay().await;
        if self.fails() { Err(Error::unknown("the runtime is busy")) } else { Ok(()) }
    }

    fn fails(&self) -> bool {
        self.link.happens(|chances| chances.runtime_fails)
    }
}

#[async_trait]
impl RuntimeService for ShakyRuntime {
    fn version(&self) -> (String, String) {
        self.inner.version()
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig, handler: &str) -> Result<String> {
        // Its answer is not lost: the real one takes back what it could not finish, and is part of the agent's process.
        self.begin().await?;
        self.inner.run_pod_sandbox(config, handler).await
    }

    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        self.call(self.inner.stop_pod_sandbox(sandbox_id)).await
    }

    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        self.call(self.inner.remove_pod_sandbox(sandbox_id)).await
    }

    async fn pod_sandbox_status(&self, sandbox_id: &str) -> Result<PodSandboxStatus> {
        self.call(self.inner.pod_sandbox_status(sandbox_id)).await
    }

    async fn list_pod_sandboxes(&self, wanted: Option<PodSandboxState>) -> Result<Vec<PodSandboxStatus>> {
        self.call(self.inner.list_pod_sandboxes(wanted)).await
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox: &PodSandboxConfig,
    ) -> Result<String> {
        self.call(self.inner.create_container(sandbox_id, config, sandbox)).await
    }

    async fn start_container(&self, container_id: &str) -> Result<()> {
        self.call(self.inner.start_container(container_id)).await
    }

    async fn stop_container(&self, container_id: &str, timeout_s: i64) -> Result<()> {
        self.call(self.inner.stop_container(container_id, timeout_s)).await
    }

    async fn remove_container(&self, container_id: &str) -> Result<()> {
        self.call(self.inner.remove_container(container_id)).await
    }

    async fn container_status(&self, container_id: &str) -> Result<ContainerStatus> {
        self.call(self.inner.container_status(container_id)).await
    }

    async fn list_containers(&self, sandbox_id: Option<&str>) -> Result<Vec<ContainerStatus>> {
        self.call(self.inner.list_containers(sandbox_id)).await
    }

    async fn update_container_resources(
        &self,
        container_id: &str,
        resources: &LinuxContainerResources,
    ) -> Result<()> {
        self.call(self.inner.update_container_resources(container_id, resources)).await
    }

    async fn reopen_container_log(&self, container_id: &str) -> Result<()> {
        self.call(self.inner.reopen_container_log(container_id)).await
    }

    async fn list_container_stats(&self, sandbox_id: Option<&str>) -> Result<Vec<ContainerStats>> {
        self.call(self.inner.list_container_stats(sandbox_id)).await
    }

    async fn exec_sync(&self, container_id: &str, command: &[String], timeout_ms: u64) -> Result<ExecOutput> {
        self.call(self.inner.exec_sync(container_id, command, timeout_ms)).await
    }

    async fn exec(&self, request: &ExecRequest) -> Result<StreamSession> {
        self.inner.exec(request).await
    }

    async fn attach(&self, request: &ExecRequest) -> Result<StreamSession> {
        self.inner.attach(request).await
    }

    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<(Reader, Writer)> {
        self.inner.port_forward(sandbox_id, port).await
    }

    fn events(&self) -> mpsc::Receiver<Event> {
        self.inner.events()
    }
}
