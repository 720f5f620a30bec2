//! `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1): the fields acted on; others are named in a warning.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::thresholds::{DISK_CAP_BYTES, Thresholds};

/// The configuration acted on.
#[derive(Debug, Clone, PartialEq)]
pub struct KubeletConfig {
    /// Folder of static Pods.
    pub static_pod_path: Option<PathBuf>,
    /// Pods at most.
    pub max_pods: u32,
    /// Addresses of the cluster's DNS.
    pub cluster_dns: Vec<String>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// The node's `resolv.conf`; empty: none.
    pub resolv_conf: String,
    /// Enforce CPU limits.
    pub cpu_cfs_quota: bool,
    /// CFS period.
    pub cpu_cfs_quota_period: Duration,
    /// Processes per Pod; below 1 is no limit.
    pub pod_pids_limit: i64,
    /// One pull at a time.
    pub serialize_image_pulls: bool,
    /// Pulls at once; 0 is no bound.
    pub max_parallel_image_pulls: usize,
    /// Bytes of a container's log before it is rotated.
    pub container_log_max_bytes: u64,
    /// Log files kept per container.
    pub container_log_max_files: usize,
    /// How often logs are measured.
    pub container_log_monitor_interval: Duration,
    /// Disk use in percent that starts image collection.
    pub image_gc_high_percent: u8,
    /// Disk use in percent that image collection aims at.
    pub image_gc_low_percent: u8,
    /// Free bytes that are enough whatever the percentages say; none if the percentages were given.
    pub image_gc_free_bytes: Option<i64>,
    /// Least age of an unused image before it is collected.
    pub image_minimum_gc_age: Duration,
    /// What is kept free on the node.
    pub thresholds: Thresholds,
    /// Status is reported at least this often.
    pub node_status_report_frequency: Duration,
    /// Validity of the node's lease.
    pub node_lease_duration_s: i32,
    /// Longest pause between restarts.
    pub max_container_restart_period: Duration,
    /// Reserved for the system, by resource name.
    pub system_reserved: Vec<(String, String)>,
    /// Reserved for Kubernetes, by resource name.
    pub kube_reserved: Vec<(String, String)>,
    /// Whether the node registers itself.
    pub register_node: bool,
}

impl Default for KubeletConfig {
    fn default() -> Self {
        Self {
            static_pod_path: None,
            max_pods: 110,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            cpu_cfs_quota: true,
            cpu_cfs_quota_period: Duration::from_millis(100),
            pod_pids_limit: -1,
            serialize_image_pulls: false,
            max_parallel_image_pulls: 0,
            container_log_max_bytes: 10 << 20,
            container_log_max_files: 5,
            container_log_monitor_interval: Duration::from_secs(10),
            image_gc_high_percent: 85,
            image_gc_low_percent: 80,
            image_gc_free_bytes: Some(2 * DISK_CAP_BYTES),
            image_minimum_gc_age: Duration::from_secs(120),
            thresholds: Thresholds::default(),
            node_status_report_frequency: Duration::from_secs(300),
            node_lease_duration_s: 40,
            max_container_restart_period: podlogic::back_off::MAXIMUM,
            system_reserved: Vec::new(),
            kube_reserved: Vec::new(),
            register_node: true,
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not YAML.
    #[error("reading the KubeletConfiguration: {0}")]
    Syntax(String),
    /// Another kind of object.
    #[error("the KubeletConfiguration has kind {0:?}, expected \"KubeletConfiguration\"")]
    Kind(String),
    /// A field's value cannot be used.
    #[error("the KubeletConfiguration's field {field}: {problem}")]
    Field {
        /// Field name.
        field: String,
        /// What is wrong.
        problem: String,
    },
}

/// Sets one field from its value.
type Setter = fn(&mut KubeletConfig, &Value) -> Result<(), String>;

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} is not a text"))
}

fn duration(value: &Value) -> Result<Duration, String> {
    stdx::duration::parse_go(&text(value)?)
}

fn number<T: TryFrom<i64>>(value: &Value) -> Result<T, String> {
    let out_of_range = || format!("{value} is not a number in range");
    T::try_from(value.as_i64().ok_or_else(out_of_range)?).map_err(|_| out_of_range())
}

fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("{value} is not a boolean"))
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    value.as_array().ok_or_else(|| format!("{value} is not a list"))?.iter().map(text).collect()
}

fn amounts(value: &Value) -> Result<Vec<(String, String)>, String> {
    let map = value.as_object().ok_or_else(|| format!("{value} is not a map"))?;
    map.iter().map(|(name, amount)| Ok((name.clone(), text(amount)?))).collect()
}

fn bytes(value: &Value) -> Result<u64, String> {
    let amount = model::quantity::Quantity::from_value(value).map_err(|error| error.to_string())?;
    u64::try_from(amount.value()).map_err(|_| format!("{value} is negative"))
}

/// The fields acted on.
const FIELDS: &[(&str, Setter)] = &[
    ("staticPodPath", |config, value| {
        config.static_pod_path = Some(text(value)?).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(())
    }),
    ("maxPods", |config, value| number(value).map(|value| config.max_pods = value)),
    ("clusterDNS", |config, value| texts(value).map(|value| config.cluster_dns = value)),
    ("clusterDomain", |config, value| text(value).map(|value| config.cluster_domain = value)),
    ("resolvConf", |config, value| text(value).map(|value| config.resolv_conf = value)),
    ("cpuCFSQuota", |config, value| boolean(value).map(|value| config.cpu_cfs_quota = value)),
    ("cpuCFSQuotaPeriod", |config, value| duration(value).map(|value| config.cpu_cfs_quota_period = value)),
    ("podPidsLimit", |config, value| number(value).map(|value| config.pod_pids_limit = value)),
    ("serializeImagePulls", |config, value| boolean(value).map(|value| config.serialize_image_pulls = value)),
    ("maxParallelImagePulls", |config, value| {
        number(value).map(|value| config.max_parallel_image_pulls = value)
    }),
    ("containerLogMaxSize", |config, value| bytes(value).map(|value| config.container_log_max_bytes = value)),
    ("containerLogMaxFiles", |config, value| match number(value)? {
        0 | 1 => Err("it must be greater than 1".into()),
        count => {
            config.container_log_max_files = count;
            Ok(())
        }
    }),
    ("containerLogMonitorInterval", |config, value| match duration(value)? {
        short if short < Duration::from_secs(3) => Err("it must be at least 3s".into()),
        interval => {
            config.container_log_monitor_interval = interval;
            Ok(())
        }
    }),
    ("imageGCHighThresholdPercent", |config, value| {
        config.image_gc_free_bytes = None;
        number(value).map(|value| config.image_gc_high_percent = value)
    }),
    ("imageGCLowThresholdPercent", |config, value| {
        number(value).map(|value| config.image_gc_low_percent = value)
    }),
    ("imageMinimumGCAge", |config, value| duration(value).map(|value| config.image_minimum_gc_age = value)),
    ("evictionHard", |config, value| Thresholds::parse(value).map(|value| config.thresholds = value)),
    ("nodeStatusReportFrequency", |config, value| {
        duration(value).map(|value| config.node_status_report_frequency = value)
    }),
    ("nodeLeaseDurationSeconds", |config, value| {
        number(value).map(|value| config.node_lease_duration_s = value)
    }),
    ("crashLoopBackOff", |config, value| match value.get("maxContainerRestartPeriod") {
        Some(period) => duration(period).map(|value| config.max_container_restart_period = value),
        None => Ok(()),
    }),
    ("systemReserved", |config, value| amounts(value).map(|value| config.system_reserved = value)),
    ("kubeReserved", |config, value| amounts(value).map(|value| config.kube_reserved = value)),
    ("registerNode", |config, value| boolean(value).map(|value| config.register_node = value)),
    ("cgroupDriver", |_, value| match text(value)?.as_str() {
        "cgroupfs" | "" => Ok(()),
        other => Err(format!("cgroup driver {other:?} is not supported; use \"cgroupfs\"")),
    }),
];

/// Reads a configuration file. Returns warnings, one per field that is not acted on.
///
/// # Errors
/// When the file is no YAML, of another kind, or a field acted on has a value that cannot be used.
pub fn parse(yaml: &str) -> Result<(KubeletConfig, Vec<String>), ConfigError> {
    let value: Value =
        serde_saphyr::from_str(yaml).map_err(|error| ConfigError::Syntax(error.to_string()))?;
    let mut config = KubeletConfig::default();
    let mut warnings = Vec::new();
    let Some(fields) = value.as_object() else {
        return if value.is_null() {
            Ok((config, warnings))
        } else {
            Err(ConfigError::Kind(value.to_string()))
        };
    };
    let kind = fields.get("kind").and_then(Value::as_str).unwrap_or_default();
    if kind != "KubeletConfiguration" {
        return Err(ConfigError::Kind(kind.to_owned()));
    }
    for (field, value) in fields.iter().filter(|(field, _)| !matches!(field.as_str(), "kind" | "apiVersion"))
    {
        match FIELDS.iter().find(|(name, _)| name == field) {
            Some((_, set)) => set(&mut config, value)
                .map_err(|problem| ConfigError::Field { field: field.clone(), problem })?,
            None => warnings.push(format!("the KubeletConfiguration's field {field} is not acted on")),
        }
    }
    Ok((config, warnings))
}
