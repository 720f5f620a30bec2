//! The CRI runtime service, each call handed to its part.

use async_trait::async_trait;
use cri::Result;
use cri::runtime::{
    ContainerConfig, ContainerState, ContainerStats, ContainerStatus, Event, ExecOutput, ExecRequest, Reader,
    RuntimeService, StreamSession, Writer,
};
use cri::sandbox::{LinuxContainerResources, PodSandboxConfig, PodSandboxState, PodSandboxStatus};
use cri::{Error, ErrorKind};

use crate::daemon::Runtime;
use crate::protocol::RequestBody;

#[async_trait]
impl RuntimeService for Runtime {
    fn version(&self) -> (String, String) {
        ("carob".to_owned(), env!("CARGO_PKG_VERSION").to_owned())
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig, runtime_handler: &str) -> Result<String> {
        if !runtime_handler.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("failed to get sandbox runtime: no runtime for {runtime_handler:?} is configured"),
            ));
        }
        self.make_sandbox(config).await
    }

    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        match self.sandbox(sandbox_id) {
            Ok(sandbox) => self.stop_sandbox(&sandbox).await,
            Err(_) => Ok(()),
        }
    }

    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        match self.sandbox(sandbox_id) {
            Ok(sandbox) => self.delete_sandbox(&sandbox).await,
            Err(_) => Ok(()),
        }
    }

    async fn pod_sandbox_status(&self, sandbox_id: &str) -> Result<PodSandboxStatus> {
        self.sandbox(sandbox_id).map(|sandbox| crate::sandbox::status(&sandbox))
    }

    async fn list_pod_sandboxes(&self, state: Option<PodSandboxState>) -> Result<Vec<PodSandboxStatus>> {
        let sandboxes: Vec<_> = self.objects.lock().sandboxes.values().cloned().collect();
        let all = sandboxes.iter().map(|sandbox| crate::sandbox::status(sandbox));
        Ok(all.filter(|status| state.is_none_or(|state| status.state == state)).collect())
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<String> {
        let sandbox = self.sandbox(sandbox_id)?;
        self.make_container(&sandbox, config, sandbox_config).await
    }

    async fn start_container(&self, container_id: &str) -> Result<()> {
        let container = self.container(container_id)?;
        self.run_container(&container).await
    }

    async fn stop_container(&self, container_id: &str, timeout_s: i64) -> Result<()> {
        match self.container(container_id) {
            Ok(container) => self.end_container(&container, timeout_s).await,
            Err(_) => Ok(()),
        }
    }

    async fn remove_container(&self, container_id: &str) -> Result<()> {
        match self.container(container_id) {
            Ok(container) => self.delete_container(&container).await,
            Err(_) => Ok(()),
        }
    }

    async fn container_status(&self, container_id: &str) -> Result<ContainerStatus> {
        self.container(container_id).map(|container| crate::container::status(&container))
    }

    async fn list_containers(&self, sandbox_id: Option<&str>) -> Result<Vec<ContainerStatus>> {
        Ok(self
            .containers_of(sandbox_id)
            .iter()
            .map(|container| crate::container::status(container))
            .collect())
    }

    async fn update_container_resources(
        &self,
        container_id: &str,
        resources: &LinuxContainerResources,
    ) -> Result<()> {
        let container = self.container(container_id)?;
        let failed = |error: std::io::Error| Error::unknown(format!("failed to update resources: {error}"));
        container.group().apply(resources).map_err(failed)?;
        let record = {
            let mut record = container.record.lock();
            merge(&mut record.config.resources, resources);
            record.clone()
        };
        self.records.write_container(&record).map_err(failed)
    }

    async fn reopen_container_log(&self, container_id: &str) -> Result<()> {
        let container = self.container(container_id)?;
        if container.state() != ContainerState::Running {
            return Err(Error::new(ErrorKind::FailedPrecondition, "container is not running"));
        }
        let client = self.sandbox(&container.sandbox())?.client()?;
        client.call(RequestBody::ReopenLog { container: container.id.clone() }).await.map(|_| ())
    }

    async fn list_container_stats(&self, sandbox_id: Option<&str>) -> Result<Vec<ContainerStats>> {
        let containers = self.containers_of(sandbox_id);
        let running = containers.iter().filter(|container| container.state() == ContainerState::Running);
        Ok(running
            .map(|container| {
                let (cpu_usage_ns, memory_usage_bytes, memory_working_set_bytes) = container.group().usage();
                ContainerStats {
                    id: container.id.clone(),
                    name: container.record.lock().config.metadata.name.clone(),
                    timestamp_ns: self.now_ns(),
                    cpu_usage_ns,
                    memory_working_set_bytes,
                    memory_usage_bytes,
                }
            })
            .collect())
    }

    async fn exec_sync(&self, container_id: &str, command: &[String], timeout_ms: u64) -> Result<ExecOutput> {
        self.run_exec_sync(container_id, command, timeout_ms).await
    }

    async fn exec(&self, request: &ExecRequest) -> Result<StreamSession> {
        self.run_exec(request).await
    }

    async fn attach(&self, request: &ExecRequest) -> Result<StreamSession> {
        self.run_attach(request).await
    }

    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<(Reader, Writer)> {
        self.connect(sandbox_id, port).await
    }

    fn events(&self) -> tokio::sync::mpsc::Receiver<Event> {
        self.events.subscribe()
    }
}

/// Takes over what is set.
fn merge(current: &mut LinuxContainerResources, new: &LinuxContainerResources) {
    let numbers = [
        (&mut current.cpu_period_us, new.cpu_period_us),
        (&mut current.cpu_quota_us, new.cpu_quota_us),
        (&mut current.cpu_shares, new.cpu_shares),
        (&mut current.memory_limit_bytes, new.memory_limit_bytes),
        (&mut current.memory_swap_limit_bytes, new.memory_swap_limit_bytes),
        (&mut current.pids_limit, new.pids_limit),
    ];
    for (place, value) in numbers {
        if value != 0 {
            *place = value;
        }
    }
    for (place, value) in
        [(&mut current.cpuset_cpus, &new.cpuset_cpus), (&mut current.cpuset_mems, &new.cpuset_mems)]
    {
        if !value.is_empty() {
            place.clone_from(value);
        }
    }
    if !new.hugepage_limits.is_empty() {
        current.hugepage_limits.clone_from(&new.hugepage_limits);
    }
    current.unified.extend(new.unified.iter().map(|(file, value)| (file.clone(), value.clone())));
}
