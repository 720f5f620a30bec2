//! A runtime over a busybox root, with a network that is only a loopback.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cri::Result;
use cri::image::{ImageConfig, PreparedRoot, RootMount, RootProvider};
use cri::network::{Attachment, PodNetwork};
use cri::runtime::{ContainerConfig, ContainerState, ContainerStatus, RuntimeService, SeccompProfile};
use cri::sandbox::{LinuxPodSandboxConfig, NamespaceMode, PodSandboxConfig, PodSandboxMetadata};
use runtime::{Options, Runtime};
use stdx::clock::Clock;
use stdx::entropy::Entropy;

/// A network without any but the loopback.
pub struct Loopback;

#[async_trait]
impl PodNetwork for Loopback {
    async fn attach(&self, namespace: BorrowedFd<'_>, _attachment: &Attachment) -> Result<Vec<IpAddr>> {
        let namespace = namespace.try_clone_to_owned().unwrap();
        // A thread of its own: joining a namespace changes the thread for good.
        std::thread::spawn(move || {
            sys::namespace::join(std::os::fd::AsFd::as_fd(&namespace), sys::process::CLONE_NEWNET).unwrap();
            sys::namespace::loopback_up().unwrap();
        })
        .join()
        .unwrap();
        Ok(vec!["10.0.0.1".parse().unwrap()])
    }

    async fn detach(&self, _sandbox_id: &str) -> Result<()> {
        Ok(())
    }

    async fn retain(&self, _live: &[String]) -> Result<()> {
        Ok(())
    }
}

/// Roots over one directory: overlays where the machine has them, else copies.
pub struct Roots {
    image: PathBuf,
    writable: PathBuf,
    overlay: bool,
}

#[async_trait]
impl RootProvider for Roots {
    async fn prepare_root(&self, _image: &str, container_id: &str) -> Result<PreparedRoot> {
        let own = self.writable.join(container_id);
        let mount = if self.overlay {
            for part in ["upper", "work"] {
                std::fs::create_dir_all(own.join(part)).unwrap();
            }
            RootMount::Overlay {
                lower: vec![self.image.clone()],
                upper: own.join("upper"),
                work: own.join("work"),
            }
        } else {
            copy_tree(&self.image, &own);
            RootMount::Directory { path: own }
        };
        let config = ImageConfig {
            cmd: vec!["/bin/sh".to_owned()],
            env: vec!["PATH=/bin".to_owned()],
            ..ImageConfig::default()
        };
        Ok(PreparedRoot { mount, config, image_id: "sha256:0".to_owned(), image_ref: "busybox".to_owned() })
    }

    async fn remove_root(&self, container_id: &str) -> Result<()> {
        let _ = std::fs::remove_dir_all(self.writable.join(container_id));
        Ok(())
    }

    async fn retain_roots(&self, container_ids: &[String]) -> Result<()> {
        // The directory is there once a container was made.
        for entry in std::fs::read_dir(&self.writable).into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            if !container_ids.contains(&id) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn make_image(at: &Path) {
    std::fs::create_dir_all(at.join("bin")).unwrap();
    std::fs::create_dir_all(at.join("etc")).unwrap();
    std::fs::create_dir_all(at.join("tmp")).unwrap();
    std::fs::copy("/bin/busybox", at.join("bin/busybox")).unwrap();
    let list = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap();
    for name in String::from_utf8(list.stdout).unwrap().lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", at.join("bin").join(name)).unwrap();
    }
    std::fs::write(at.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
        .unwrap();
    std::fs::write(at.join("etc/group"), "root:x:0:\nwheel:x:10:root\nstaff:x:1001:\nvideo:x:44:app\n")
        .unwrap();
    std::fs::write(at.join("bin/garbage"), "\x7fnot a program").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(at.join("bin/garbage"), std::fs::Permissions::from_mode(0o755)).unwrap();
    // Images cannot be trusted with where mounts go.
    std::os::unix::fs::symlink("/../../../../../../tmp", at.join("escape")).unwrap();
}

/// Takes away what a failed test has left on the machine.
pub struct Rest {
    directory: PathBuf,
    cgroup_root: String,
}

/// Looks at a group whose processes were killed, and their pause: nothing tells when they have left it.
const REST_TRIES: usize = 100;
const REST_PAUSE: Duration = Duration::from_millis(20);

impl Drop for Rest {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let Ok(manager) = runtime::cgroup::Manager::detect() else { return };
        let group = manager.group_everywhere(&self.cgroup_root);
        for _ in 0..REST_TRIES {
            group.signal_all(sys::process::SIGKILL);
            if group.remove().is_ok() {
                break;
            }
            #[allow(clippy::disallowed_methods)] // nothing can be awaited here
            std::thread::sleep(REST_PAUSE);
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
        for point in points.filter(|point| point.starts_with(&self.directory)) {
            let _ = sys::mount::unmount(point);
        }
    }
}

/// A runtime in a directory of its own.
pub struct Bench {
    // Before the directory, which goes with it.
    rest: Rest,
    pub directory: tempfile::TempDir,
    pub options: Options,
    pub runtime: Arc<Runtime>,
    sandboxes: std::sync::atomic::AtomicU32,
}

impl Bench {
    pub async fn new() -> Self {
        Self::with_prepared(0).await
    }

    pub async fn with_prepared(prepared_sandboxes: usize) -> Self {
        let directory = tempfile::Builder::new().prefix("crt").tempdir().unwrap();
        make_image(&directory.path().join("image"));
        let options = Options {
            run_dir: directory.path().join("run"),
            state_dir: directory.path().join("state"),
            cgroup_root: format!("/carob-test-{}", Entropy::system().hex(8)),
            executable: env!("CARGO_BIN_EXE_runtime-pod-process").into(),
            enter_daemon_cgroup: false,
            prepared_sandboxes,
            clock: Clock::system(),
            entropy: Entropy::system(),
        };
        let rest = Rest { directory: directory.path().to_owned(), cgroup_root: options.cgroup_root.clone() };
        let runtime = open(&options, directory.path()).await;
        Self { rest, directory, options, runtime, sandboxes: 0.into() }
    }

    /// Lets the runtime go and opens it again, as after a restart of the daemon.
    pub async fn reopen(self) -> Self {
        self.stop_daemon().await.start_daemon().await
    }

    pub async fn stop_daemon(self) -> Stopped {
        let Bench { rest, directory, options, runtime, sandboxes } = self;
        let weak = Arc::downgrade(&runtime);
        drop(runtime);
        // Tasks that hold it for a moment end by themselves.
        for _ in 0..1000 {
            if weak.strong_count() == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        Stopped { rest, directory, options, sandboxes }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn sandbox_config(&self) -> PodSandboxConfig {
        let number = self.sandboxes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let uid = format!("uid-{number}");
        PodSandboxConfig {
            metadata: PodSandboxMetadata {
                name: "pod".to_owned(),
                uid: uid.clone(),
                namespace: "default".to_owned(),
                attempt: 0,
            },
            hostname: "pod-name".to_owned(),
            log_directory: self.path().join("logs").join(&uid).display().to_string(),
            dns_config: Some(cri::sandbox::DnsConfig {
                servers: vec!["10.43.0.10".to_owned()],
                searches: vec!["default.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()],
                options: vec!["ndots:5".to_owned()],
            }),
            linux: LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/kubepods/burstable/pod{uid}", self.options.cgroup_root),
                security_context: cri::sandbox::LinuxSandboxSecurityContext {
                    namespace_options: cri::sandbox::NamespaceOption {
                        pid: NamespaceMode::Container,
                        ..Default::default()
                    },
                    ..Default::default()
                },
                ..Default::default()
            },
            ..PodSandboxConfig::default()
        }
    }

    /// A sandbox, and a started container that runs `script`.
    pub async fn run(&self, script: &str, change: impl FnOnce(&mut ContainerConfig)) -> Running {
        let sandbox_config = self.sandbox_config();
        let sandbox = self.runtime.run_pod_sandbox(&sandbox_config, "").await.unwrap();
        self.run_in(sandbox, sandbox_config, script, change).await
    }

    pub async fn run_in(
        &self,
        sandbox: String,
        sandbox_config: PodSandboxConfig,
        script: &str,
        change: impl FnOnce(&mut ContainerConfig),
    ) -> Running {
        let mut config = container_config(script);
        config.security_context.namespace_options =
            sandbox_config.linux.security_context.namespace_options.clone();
        change(&mut config);
        let id = self.runtime.create_container(&sandbox, &config, &sandbox_config).await.unwrap();
        self.runtime.start_container(&id).await.unwrap();
        let log = Path::new(&sandbox_config.log_directory).join(&config.log_path);
        Running { id, sandbox, sandbox_config, log }
    }

    /// Runs a script to its end: (exit code, output).
    pub async fn outcome(&self, script: &str, change: impl FnOnce(&mut ContainerConfig)) -> (i32, String) {
        let running = self.run(script, change).await;
        let status = self.ended(&running.id).await;
        let output = running.output();
        self.runtime.remove_pod_sandbox(&running.sandbox).await.unwrap();
        (status.exit_code, output)
    }

    /// Waits until a container has ended.
    pub async fn ended(&self, id: &str) -> ContainerStatus {
        let mut events = self.runtime.events();
        let wait = async {
            loop {
                let status = self.runtime.container_status(id).await.unwrap();
                if status.state == ContainerState::Exited {
                    return status;
                }
                events.recv().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the container ends")
    }

    /// Removes everything and checks that nothing is left.
    pub async fn finish(self) {
        for sandbox in self.runtime.list_pod_sandboxes(None).await.unwrap() {
            self.runtime.remove_pod_sandbox(&sandbox.id).await.unwrap();
        }
        self.runtime.close().await;
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let left: Vec<_> =
            mounts.lines().filter(|line| line.contains(self.path().to_str().unwrap())).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
        let name = self.options.cgroup_root.trim_start_matches('/').to_owned();
        let mut pods = Vec::new();
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let kubepods = hierarchy.path().join(&name).join("kubepods/burstable");
            pods.extend(
                std::fs::read_dir(kubepods)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter(|entry| entry.path().is_dir())
                    .map(|entry| entry.path()),
            );
        }
        assert!(pods.is_empty(), "control groups are left: {pods:?}");
        let processes = self.processes();
        assert!(processes.is_empty(), "processes are left: {processes:?}");
        let run: Vec<_> = std::fs::read_dir(self.options.run_dir.join("pods")).unwrap().flatten().collect();
        assert!(run.is_empty(), "files are left: {run:?}");
        let manager = runtime::cgroup::Manager::detect().unwrap();
        manager.group_everywhere(&self.options.cgroup_root).remove().unwrap();
    }

    /// Kills the process of this name.
    pub fn kill(&self, name: &str) {
        let is_it = |pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|own| own.trim() == name)
        };
        let found = self.processes().into_iter().find(is_it);
        sys::process::signal_pid(found.expect("the process runs"), sys::process::SIGKILL).unwrap();
    }

    /// Processes in any group of this runtime.
    pub fn processes(&self) -> Vec<i32> {
        let manager = runtime::cgroup::Manager::detect().unwrap();
        manager.group_everywhere(&self.options.cgroup_root).processes()
    }
}

/// A bench whose daemon is stopped.
pub struct Stopped {
    rest: Rest,
    pub directory: tempfile::TempDir,
    options: Options,
    sandboxes: std::sync::atomic::AtomicU32,
}

impl Stopped {
    pub async fn start_daemon(self) -> Bench {
        let Stopped { rest, directory, options, sandboxes } = self;
        let runtime = open(&options, directory.path()).await;
        Bench { rest, directory, options, runtime, sandboxes }
    }
}

async fn open(options: &Options, directory: &Path) -> Arc<Runtime> {
    let roots = Roots {
        image: directory.join("image"),
        writable: directory.join("writable"),
        overlay: overlay_works(directory),
    };
    Runtime::open(options.clone(), Arc::new(Loopback), Arc::new(roots)).await.unwrap()
}

fn overlay_works(directory: &Path) -> bool {
    let probe = directory.join("probe");
    for part in ["lower", "upper", "work", "root"] {
        std::fs::create_dir_all(probe.join(part)).unwrap();
    }
    let at = |part: &str| probe.join(part).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
    let works = sys::mount::mount("overlay", &probe.join("root"), &options).is_ok();
    sys::mount::unmount(&probe.join("root")).unwrap();
    works
}

pub fn container_config(script: &str) -> ContainerConfig {
    let mut config = ContainerConfig {
        metadata: cri::runtime::ContainerMetadata { name: "main".to_owned(), attempt: 0 },
        image: "busybox".to_owned(),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        log_path: "main/0.log".to_owned(),
        labels: BTreeMap::new(),
        ..ContainerConfig::default()
    };
    config.security_context.namespace_options.pid = NamespaceMode::Container;
    config.security_context.seccomp = SeccompProfile::RuntimeDefault;
    config.security_context.masked_paths =
        ["/proc/kcore", "/proc/keys", "/proc/scsi", "/proc/nosuch", "/sys/firmware"]
            .map(str::to_owned)
            .to_vec();
    config.security_context.readonly_paths = ["/proc/sys", "/proc/sysrq-trigger"].map(str::to_owned).to_vec();
    config
}

/// A started container.
pub struct Running {
    pub id: String,
    pub sandbox: String,
    pub sandbox_config: PodSandboxConfig,
    pub log: PathBuf,
}

impl Running {
    /// The text of its log, without times.
    pub fn output(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap();
        log.lines().map(|line| format!("{}\n", line.splitn(4, ' ').nth(3).unwrap())).collect()
    }
}
