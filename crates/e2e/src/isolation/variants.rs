//! The containers under test: as a Pod for carob, and as what upstream's kubelet would ask of its runtime for that Pod.

use serde_json::{Value, json};
use testkit::containerd::ContainerSettings;
use testkit::containerd::wire::Message;

/// One container.
#[derive(Debug, Clone, Copy, Default)]
pub struct Variant {
    /// Its name, and the Pod's.
    pub name: &'static str,
    /// `privileged`.
    pub privileged: bool,
    /// Capabilities added.
    pub add: &'static [&'static str],
    /// Capabilities dropped.
    pub drop: &'static [&'static str],
    /// `runAsUser`.
    pub user: Option<u32>,
    /// `allowPrivilegeEscalation: false`.
    pub no_escalation: bool,
    /// `readOnlyRootFilesystem`.
    pub readonly_root: bool,
    /// `seccompProfile: Unconfined`. Otherwise the runtime's default.
    pub unconfined: bool,
    /// `hostPID`.
    pub node_pid: bool,
    /// `hostIPC`.
    pub node_ipc: bool,
    /// `hostNetwork`.
    pub node_network: bool,
    /// `shareProcessNamespace`.
    pub shared_pid: bool,
}

const PLAIN: Variant = Variant {
    name: "default",
    privileged: false,
    add: &[],
    drop: &[],
    user: None,
    no_escalation: false,
    readonly_root: false,
    unconfined: false,
    node_pid: false,
    node_ipc: false,
    node_network: false,
    shared_pid: false,
};

/// All of them.
pub const VARIANTS: [Variant; 15] = [
    PLAIN,
    Variant { name: "unconfined", unconfined: true, ..PLAIN },
    Variant { name: "unconfined-user", unconfined: true, user: Some(1000), ..PLAIN },
    Variant { name: "user", user: Some(1000), ..PLAIN },
    Variant { name: "no-escalation", no_escalation: true, ..PLAIN },
    Variant { name: "drop-all", drop: &["ALL"], ..PLAIN },
    Variant { name: "add-net-admin", add: &["NET_ADMIN"], ..PLAIN },
    Variant { name: "add-sys-admin", add: &["SYS_ADMIN"], ..PLAIN },
    Variant { name: "add-sys-ptrace", add: &["SYS_PTRACE"], drop: &["NET_RAW"], ..PLAIN },
    Variant { name: "readonly-root", readonly_root: true, ..PLAIN },
    Variant {
        name: "restricted",
        drop: &["ALL"],
        user: Some(1000),
        no_escalation: true,
        readonly_root: true,
        ..PLAIN
    },
    Variant { name: "node-pid-ipc", node_pid: true, node_ipc: true, ..PLAIN },
    Variant { name: "node-network", node_network: true, ..PLAIN },
    Variant { name: "shared-pid", shared_pid: true, ..PLAIN },
    Variant { name: "privileged", privileged: true, ..PLAIN },
];

/// The image's only program.
const PROGRAM: &str = "/probe";

/// The command line of the first process: it prints, and stays for commands to come.
pub fn stay(namespaces: &[String]) -> Vec<String> {
    let words = [PROGRAM.to_owned(), "stay".to_owned()];
    words.into_iter().chain(namespaces.iter().cloned()).collect()
}

/// The command line of a further process.
pub fn again(namespaces: &[String]) -> Vec<String> {
    std::iter::once(PROGRAM.to_owned()).chain(namespaces.iter().cloned()).collect()
}

impl Variant {
    /// The Pod.
    pub fn pod(&self, image: &str, command: &[String]) -> Value {
        let mut context = json!({ "capabilities": { "add": self.add, "drop": self.drop } });
        let mut set = |field: &str, wanted: bool, value: Value| {
            if wanted {
                context[field] = value;
            }
        };
        set("privileged", self.privileged, json!(true));
        set("runAsUser", self.user.is_some(), json!(self.user));
        set("allowPrivilegeEscalation", self.no_escalation, json!(false));
        set("readOnlyRootFilesystem", self.readonly_root, json!(true));
        set("seccompProfile", self.unconfined, json!({ "type": "Unconfined" }));
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": self.name },
            "spec": {
                "hostPID": self.node_pid, "hostIPC": self.node_ipc, "hostNetwork": self.node_network,
                "shareProcessNamespace": self.shared_pid,
                "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false, "restartPolicy": "Never",
                "enableServiceLinks": false,
                "containers": [{
                    "name": "main", "image": image, "imagePullPolicy": "Never", "command": command,
                    "securityContext": context,
                }],
            },
        })
    }

    /// What the kubelet asks for: see its `security_context.go`, with `seccompDefault`.
    pub fn reference(&self, command: &[String]) -> ContainerSettings {
        let pid = match (self.node_pid, self.shared_pid) {
            (true, _) => NODE,
            (_, true) => POD,
            _ => CONTAINER,
        };
        let node_or_pod = |node: bool| if node { NODE } else { POD };
        let namespaces = Message::new()
            .number(1, node_or_pod(self.node_network))
            .number(2, pid)
            .number(3, node_or_pod(self.node_ipc));
        let mut security = Message::new()
            .message(1, &Message::new().texts(1, self.add).texts(2, self.drop))
            .number(2, self.privileged.into())
            .message(3, &namespaces)
            .number(7, self.readonly_root.into())
            .number(11, self.no_escalation.into());
        if let Some(user) = self.user {
            security = security.message(5, &Message::new().number(1, user.into()));
        }
        if !self.privileged {
            security = security.texts(13, &MASKED).texts(14, &READ_ONLY);
        }
        // Of the profile's kinds the runtime's default is zero, and nothing is as if it were not there.
        let unconfined = self.unconfined || self.privileged;
        security = security.message(15, &Message::new().number(1, unconfined.into()));
        ContainerSettings {
            name: self.name.to_owned(),
            command: command.to_vec(),
            security,
            namespaces,
            privileged: self.privileged,
            node_network: self.node_network,
        }
    }
}

/// `NamespaceMode`.
const POD: u64 = 0;
const CONTAINER: u64 = 1;
const NODE: u64 = 2;

/// As the kubelet of v1.36 asks for it.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
