//! A carob instance: the built binary, with everything it makes in a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, bail};
use client::Client;
use client::kubeconfig::{self, Kubeconfig};
use sha2::{Digest, Sha256};

use crate::clients::{Kind, Kubectl};
use crate::command::{Answer, Running, run, succeed};
use crate::leftovers::Traces;
use crate::registry::Registry;
use crate::slot::Slot;
use crate::{cache, require_root, variable};

/// The node's name.
pub const NODE: &str = "node1";
/// What is shown of the daemon's log when a test fails.
const TAIL_LINES: usize = 120;

/// The node's configuration. How full the machine's disk is concerns no test: a node that were short of room would take no
/// Pods and remove images while they are counted.
const KUBELET_CONFIG: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
evictionHard: {memory.available: 100Mi}\nimageGCHighThresholdPercent: 100\n";

/// How an instance is started.
#[derive(Default)]
pub struct Options<'a> {
    /// `registries.yaml`.
    pub registries: Option<String>,
    /// Further lines of the node's KubeletConfiguration.
    pub kubelet: &'a str,
    /// Static Pods that are there before the start: file name, text.
    pub static_pods: &'a [(&'a str, &'a str)],
    /// Further flags of `up`.
    pub flags: &'a [&'a str],
    /// `carob agent` instead of `carob up`: no API server.
    pub alone: bool,
    /// Another file than the [`binary`] that the other tests share.
    pub program: Option<PathBuf>,
}

/// A running instance. Dropped, it is ended and purged, and nothing may be left of it.
pub struct Carob {
    folder: tempfile::TempDir,
    slot: Slot,
    id: String,
    program: PathBuf,
    /// The process of `carob agent`.
    agent: Option<Running>,
    _registry: Option<Registry>,
}

/// The binary: `CAROB_BINARY`, or the one that cargo builds beside this test (once for each run).
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = variable("CAROB_BINARY") {
        return Ok(PathBuf::from(path));
    }
    let program = std::env::current_exe()?;
    let folder = program.parent().and_then(Path::parent).context("a test is in a directory of a profile")?;
    let path = folder.join("carob");
    let run_id = variable("NEXTEST_RUN_ID").unwrap_or_else(|| std::process::id().to_string());
    let _held = cache::lock("binary")?;
    let stamp = cache::root()?.join("binary.run");
    if fs::read_to_string(&stamp).ok().as_ref() != Some(&run_id) || !path.exists() {
        let mut build = cargo();
        build.args(["build", "--quiet", "--locked", "-p", "carob", "--target-dir"]).arg(cache::target()?);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        succeed(build.current_dir(env!("CARGO_MANIFEST_DIR")))?;
        fs::write(&stamp, &run_id)?;
    }
    Ok(path)
}

/// What cargo tells a test of the test's package. `xtask` leaves out the same.
const OF_PACKAGE: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// Cargo with the environment of a shell: build scripts that watch what cargo says of a package would run again otherwise,
/// and all that stands on theirs would be built again.
fn cargo() -> Command {
    let mut command = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_package = |name: &str| OF_PACKAGE.iter().any(|own| name.starts_with(own));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_package) {
            command.env_remove(&name);
        }
    }
    command
}

/// The machine's address of IPv4: the source of packets to the world.
///
/// # Panics
/// If it has none.
pub fn node_address() -> String {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Nothing is sent: connecting only asks the routing table.
    socket.connect("192.88.99.1:9").expect("a route");
    socket.local_addr().expect("an address").ip().to_string()
}

/// `carob …` to its end.
///
/// # Panics
/// If there is no binary.
pub fn carob(arguments: &[&str]) -> Answer {
    let program = binary().expect("the binary");
    run(Command::new(program).args(arguments)).expect("carob starts")
}

impl Carob {
    /// An instance whose images come from a registry of its own with the usual images.
    ///
    /// # Panics
    /// If it does not become ready; the text holds the end of its log.
    pub fn with_images() -> Self {
        Self::start_with_images(Options::default())
    }

    /// As [`Carob::with_images`], with options.
    ///
    /// # Panics
    /// As [`Carob::start`].
    pub fn start_with_images(options: Options<'_>) -> Self {
        require_root();
        let registry = Registry::start();
        let registries = options.registries.clone().unwrap_or_default();
        let options = Options { registries: Some(registry.mirrors() + &registries), ..options };
        let mut carob = Self::start(options);
        carob._registry = Some(registry);
        carob
    }

    /// An instance.
    ///
    /// # Panics
    /// If it does not become ready; the text holds the end of its log.
    pub fn start(options: Options<'_>) -> Self {
        require_root();
        let mut carob = Self::prepare(&options).expect("a place for the instance");
        if options.alone {
            let mut command = carob.command("agent");
            command.args(carob.server_flags()).args(options.flags);
            carob.agent = Some(Running::start(&mut command).expect("carob agent starts"));
        } else {
            let answer = carob.up(options.flags);
            assert_eq!(answer.code, 0, "carob up: {}\n{}", answer.stderr, carob.log_tail());
        }
        carob
    }

    fn prepare(options: &Options<'_>) -> anyhow::Result<Self> {
        let program = options.program.clone().map_or_else(binary, Ok)?;
        let (mut slot, before) = Slot::take()?;
        if let Some(prefix) = before.filter(|prefix| prefix.exists()) {
            // A killed test could not clear up.
            succeed(Command::new(&program).args(["down", "--purge", "--prefix"]).arg(&prefix))?;
            let _ = fs::remove_dir_all(&prefix);
        }
        let folder = tempfile::Builder::new().prefix("carob-e2e-").tempdir()?;
        slot.note(Some(folder.path()))?;
        let data = folder.path().join("var/lib/carob");
        let id = hex::encode(&Sha256::digest(data.as_os_str().as_encoded_bytes())[..4]);
        let carob = Self { folder, slot, id, program, agent: None, _registry: None };
        let manifests = carob.path("etc/kubernetes/manifests");
        fs::create_dir_all(&manifests)?;
        let config = format!("{KUBELET_CONFIG}staticPodPath: {}\n{}", manifests.display(), options.kubelet);
        carob.write("var/lib/kubelet/config.yaml", &config)?;
        if let Some(text) = &options.registries {
            carob.write("etc/carob/registries.yaml", text)?;
        }
        for (name, text) in options.static_pods {
            carob.write(&format!("etc/kubernetes/manifests/{name}"), text)?;
        }
        Ok(carob)
    }

    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path(path);
        fs::create_dir_all(path.parent().context("a file in a directory")?)?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(verb).arg("--prefix").arg(self.folder.path());
        command
    }

    fn server_flags(&self) -> Vec<String> {
        let kubeconfig = self.kubeconfig().display().to_string();
        [
            ("--listen", "0.0.0.0:0".into()),
            ("--kubelet-port", "0".into()),
            ("--node-name", NODE.into()),
            ("--pod-cidr", self.slot.pod_cidr()),
            ("--service-cidr", self.slot.service_cidr()),
            ("--write-kubeconfig", kubeconfig),
        ]
        .into_iter()
        .flat_map(|(flag, value): (&str, String)| [flag.to_owned(), value])
        .collect()
    }

    /// `carob up` with this instance's flags, unless `flags` say otherwise.
    ///
    /// # Panics
    /// If the binary is gone.
    pub fn up(&self, flags: &[&str]) -> Answer {
        let mut command = self.command("up");
        let own = self.server_flags();
        for pair in own.chunks(2).filter(|pair| !flags.contains(&pair[0].as_str())) {
            command.args(pair);
        }
        run(command.args(flags)).expect("carob starts")
    }

    /// Another verb of carob for this instance: `verb("down", &["--grace", "1s"])`.
    ///
    /// # Panics
    /// If the binary is gone.
    pub fn verb(&self, verb: &str, arguments: &[&str]) -> Answer {
        run(self.command(verb).args(arguments)).expect("carob starts")
    }

    /// Something below the prefix.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// The prefix.
    pub fn prefix(&self) -> &Path {
        self.folder.path()
    }

    /// The instance's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its block of Pod addresses.
    pub fn pod_cidr(&self) -> String {
        self.slot.pod_cidr()
    }

    /// The kubeconfig of its administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// The daemon's process id.
    ///
    /// # Panics
    /// If no daemon runs.
    pub fn daemon_pid(&self) -> i32 {
        let path = format!("/run/carob/{}/daemon.pid", self.id);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        text.trim().parse().expect("a process id")
    }

    /// A client with the administrator's credentials.
    ///
    /// # Panics
    /// If the kubeconfig is wrong.
    pub fn client(&self) -> Client {
        client_of(&self.kubeconfig()).expect("a client")
    }

    /// Upstream's kubectl.
    ///
    /// # Panics
    /// If it cannot be had.
    pub fn kubectl(&self) -> Kubectl {
        self.kubectl_of(Kind::Stock)
    }

    /// A kubectl of this kind.
    ///
    /// # Panics
    /// If it cannot be had.
    pub fn kubectl_of(&self, kind: Kind) -> Kubectl {
        Kubectl::new(kind, &self.kubeconfig(), self.folder.path())
    }

    /// Ends the daemon by a signal and returns when it is gone.
    ///
    /// # Panics
    /// If no daemon runs.
    pub fn end_daemon(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.daemon_pid()).expect("a process id");
        let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it runs");
        rustix::process::pidfd_send_signal(&handle, signal).expect("it can be signalled");
        let mut waiting = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        let timeout = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        let ended = rustix::event::poll(&mut waiting, Some(&timeout)).expect("it can be waited for");
        assert_eq!(ended, 1, "the daemon did not end within 60 s");
    }

    /// The end of the daemon's log.
    pub fn log_tail(&self) -> String {
        if let Some(agent) = &self.agent {
            return agent.said();
        }
        let path = self.path("var/lib/carob/carob.log");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| format!("{}: {error}", path.display()));
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Prints what may explain a failure.
    fn explain(&self) {
        eprintln!("--- log of the daemon\n{}", self.log_tail());
        for words in [["describe", "pods"], ["get", "events"]] {
            let mut command = Command::new(&self.program);
            command.args(words).arg("-A").env("KUBECONFIG", self.kubeconfig());
            if let Ok(answer) = run(&mut command) {
                eprintln!("--- {}\n{}{}", words.join(" "), answer.stdout, answer.stderr);
            }
        }
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if let Some(agent) = self.agent.take() {
            agent.signal(rustix::process::Signal::TERM);
            let mut agent = agent;
            agent.end();
        }
        let traces = Traces::of(&self.id, self.folder.path());
        let answer = self.verb("down", &["--purge", "--grace", "1s"]);
        if answer.code != 0 {
            bail!("carob down --purge: {}\n{}", answer.stderr, self.log_tail());
        }
        let left = traces.left();
        if !left.is_empty() {
            bail!("left behind by the instance {}:\n{}", self.id, left.join("\n"));
        }
        self.slot.note(None)
    }
}

impl Drop for Carob {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.explain();
        }
        if let Err(error) = self.end() {
            assert!(failed, "{error:#}");
            eprintln!("{error:#}");
        }
    }
}

/// A client for the current context of a kubeconfig.
pub fn client_of(path: &Path) -> anyhow::Result<Client> {
    let config = Kubeconfig::read(path)?;
    let context = config.context("").context("no context")?;
    let cluster = config.cluster(&context.cluster).context("no cluster")?;
    let user = config.user(&context.user).context("no user")?;
    // Some other crate may have chosen the provider already: it is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Client::new(Arc::new(kubeconfig::transport(cluster, user, http::HeaderMap::new())?)))
}
