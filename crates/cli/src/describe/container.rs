//! Containers of Pods.

use model::tree::TreeExt;
use serde_json::Value;

use super::Writer;
use super::writer::{or_none, plain, truth};
use crate::text::rfc1123;

/// A list of containers with their states. A title that is indented is one of a template.
pub fn list(title: &str, containers: &[Value], statuses: &[Value], pod: &Value, writer: &mut Writer) {
    writer.line(0, if containers.is_empty() { format!("{title}: <none>") } else { format!("{title}:") });
    let indent = if title.starts_with(' ') { " " } else { "" };
    for container in containers {
        let name = container.text(&["name"]);
        let status = statuses.iter().find(|status| status.text(&["name"]) == name);
        writer.line(1, format!("{indent}{name}:"));
        basics(container, status, writer);
        for (title, field) in [("Command:", "command"), ("Args:", "args")] {
            let words = container.items(&[field]);
            if !words.is_empty() {
                writer.line(2, title);
                let lines = words.iter().filter_map(Value::as_str).flat_map(|word| word.split('\n'));
                lines.for_each(|line| writer.line(3, line));
            }
        }
        if let Some(status) = status {
            state("State", &status["state"], writer);
            if status.at(&["lastState", "terminated"]).is_some() {
                state("Last State", &status["lastState"], writer);
            }
            writer.field(2, "Ready", truth(status.at(&["ready"])));
            writer.field(2, "Restart Count", status.integer(&["restartCount"]).unwrap_or(0));
        }
        resources(&container["resources"], 2, writer);
        for (title, field) in
            [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")]
        {
            if let Some(found) = container.at(&[field]) {
                writer.field(2, title, probe(found));
            }
        }
        environment_from(container.items(&["envFrom"]), writer);
        environment(container, pod, writer);
        mounts(container, writer);
    }
}

fn basics(container: &Value, status: Option<&Value>, writer: &mut Writer) {
    if let Some(status) = status {
        writer.field(2, "Container ID", status.text(&["containerID"]));
    }
    writer.field(2, "Image", container.text(&["image"]));
    if let Some(status) = status {
        writer.field(2, "Image ID", status.text(&["imageID"]));
    }
    let ports = container.items(&["ports"]);
    for (title, field) in [("Port", "containerPort"), ("Host Port", "hostPort")] {
        let texts: Vec<String> = ports.iter().map(|port| port_text(port, field)).collect();
        let text = texts.join(", ");
        let plural = if text.contains(',') { "s" } else { "" };
        writer.field(2, &format!("{title}{plural}"), or_none(&text));
    }
    if let Some(profile) = container.at(&["securityContext", "seccompProfile"]) {
        writer.field(2, "SeccompProfile", profile.text(&["type"]));
        if profile.text(&["type"]) == "Localhost" {
            writer.field(3, "LocalhostProfile", profile.text(&["localhostProfile"]));
        }
    }
}

fn port_text(port: &Value, field: &str) -> String {
    let text = format!("{}/{}", port.integer(&[field]).unwrap_or(0), port.text(&["protocol"]));
    match port.text(&["name"]) {
        "" => text,
        name => format!("{text} ({name})"),
    }
}

/// Limits and requests.
pub fn resources(resources: &Value, level: usize, writer: &mut Writer) {
    for (title, field) in [("Limits:", "limits"), ("Requests:", "requests")] {
        let Some(map) = resources.at(&[field]).and_then(Value::as_object).filter(|map| !map.is_empty())
        else {
            continue;
        };
        writer.line(level, title);
        map.iter().for_each(|(name, quantity)| writer.field(level + 1, name, plain(Some(quantity))));
    }
}

fn state(title: &str, state: &Value, writer: &mut Writer) {
    if let Some(running) = state.at(&["running"]) {
        writer.field(2, title, "Running");
        writer.field(3, "Started", rfc1123(running.text(&["startedAt"])));
        return;
    }
    let Some(ended) = state.at(&["terminated"]) else {
        writer.field(2, title, "Waiting");
        writer.optional(3, "Reason", state.text(&["waiting", "reason"]));
        return;
    };
    writer.field(2, title, "Terminated");
    writer.optional(3, "Reason", ended.text(&["reason"]));
    writer.optional(3, "Message", ended.text(&["message"]));
    writer.field(3, "Exit Code", ended.integer(&["exitCode"]).unwrap_or(0));
    if let Some(signal) = ended.integer(&["signal"]).filter(|signal| *signal > 0) {
        writer.field(3, "Signal", signal);
    }
    writer.field(3, "Started", rfc1123(ended.text(&["startedAt"])));
    writer.field(3, "Finished", rfc1123(ended.text(&["finishedAt"])));
}

/// `http-get http://:8080/x delay=5s …`.
pub fn probe(probe: &Value) -> String {
    let number = |name: &str| probe.integer(&[name]).unwrap_or(0);
    let attributes = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds"),
        number("timeoutSeconds"),
        number("periodSeconds"),
        number("successThreshold"),
        number("failureThreshold"),
    );
    if let Some(exec) = probe.at(&["exec"]) {
        let words: Vec<&str> = exec.items(&["command"]).iter().filter_map(Value::as_str).collect();
        return format!("exec [{}] {attributes}", words.join(" "));
    }
    if let Some(get) = probe.at(&["httpGet"]) {
        let scheme = get.text(&["scheme"]).to_lowercase();
        let host = get.text(&["host"]);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let path = get.text(&["path"]);
        let path =
            if path.starts_with('/') || path.is_empty() { path.to_owned() } else { format!("/{path}") };
        return format!("http-get {scheme}://{host}:{}{path} {attributes}", plain(get.at(&["port"])));
    }
    if let Some(tcp) = probe.at(&["tcpSocket"]) {
        return format!("tcp-socket {}:{} {attributes}", tcp.text(&["host"]), plain(tcp.at(&["port"])));
    }
    if let Some(grpc) = probe.at(&["grpc"]) {
        return format!("grpc <pod>:{} {} {attributes}", plain(grpc.at(&["port"])), grpc.text(&["service"]));
    }
    format!("unknown {attributes}")
}

fn is_true(value: Option<&Value>) -> bool {
    value.and_then(Value::as_bool).unwrap_or(false)
}

fn environment_from(sources: &[Value], writer: &mut Writer) {
    if sources.is_empty() {
        return;
    }
    writer.line(2, "Environment Variables from:");
    for source in sources {
        let (kind, reference) = match source.at(&["secretRef"]) {
            Some(reference) => ("Secret", reference),
            None => ("ConfigMap", &source["configMapRef"]),
        };
        let with = match source.text(&["prefix"]) {
            "" => String::new(),
            prefix => format!(" with prefix '{prefix}'"),
        };
        let optional = is_true(reference.at(&["optional"]));
        writer.line(3, format!("{}\t{kind}{with}\tOptional: {optional}", reference.text(&["name"])));
    }
}

fn environment(container: &Value, pod: &Value, writer: &mut Writer) {
    let variables = container.items(&["env"]);
    if variables.is_empty() {
        writer.field(2, "Environment", "<none>");
        return;
    }
    writer.line(2, "Environment:");
    for variable in variables {
        let name = variable.text(&["name"]);
        let from = &variable["valueFrom"];
        if let Some(field) = from.at(&["fieldRef"]) {
            let (version, path) = (field.text(&["apiVersion"]), field.text(&["fieldPath"]));
            writer.line(3, format!("{name}:\t{} ({version}:{path})", field_value(pod, path)));
        } else if let Some(field) = from.at(&["resourceFieldRef"]) {
            let resource = field.text(&["resource"]);
            writer.line(3, format!("{name}:\t{} ({resource})", resource_value(container, field)));
        } else if let Some(key) = from.at(&["secretKeyRef"]) {
            let (key_name, secret, optional) =
                (key.text(&["key"]), key.text(&["name"]), is_true(key.at(&["optional"])));
            writer.line(
                3,
                format!("{name}:\t<set to the key '{key_name}' in secret '{secret}'>\tOptional: {optional}"),
            );
        } else if let Some(key) = from.at(&["configMapKeyRef"]) {
            let (key_name, map, optional) =
                (key.text(&["key"]), key.text(&["name"]), is_true(key.at(&["optional"])));
            writer.line(
                3,
                format!("{name}:\t<set to the key '{key_name}' of config map '{map}'>\tOptional: {optional}"),
            );
        } else if from.is_null() {
            for (at, line) in variable.text(&["value"]).split('\n').enumerate() {
                writer.line(3, if at == 0 { format!("{name}:\t{line}") } else { format!("\t{line}") });
            }
        }
    }
}

/// The value of a downward field.
fn field_value(pod: &Value, path: &str) -> String {
    let subscript = |name: &str| {
        let key = path.strip_prefix(name)?.strip_prefix("['")?.strip_suffix("']")?;
        let map = name.rsplit('.').next()?;
        Some(pod.text(&["metadata", map, key]).to_owned())
    };
    if let Some(value) = subscript("metadata.labels").or_else(|| subscript("metadata.annotations")) {
        return value;
    }
    let steps: Vec<&str> = path.split('.').collect();
    if steps == ["status", "podIPs"] {
        let ips: Vec<&str> = pod.items(&["status", "podIPs"]).iter().map(|ip| ip.text(&["ip"])).collect();
        return ips.join(",");
    }
    match pod.at(&steps) {
        Some(Value::Object(map)) => map
            .iter()
            .map(|(key, value)| format!("{key}={:?}", value.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join("\n"),
        found => plain(found),
    }
}

/// The value of a resource field, in its divisor's units, rounded up.
fn resource_value(container: &Value, field: &Value) -> String {
    use model::quantity::Quantity;
    let resource = field.text(&["resource"]);
    let (list, name) = resource.split_once('.').unwrap_or((resource, ""));
    let found = container.at(&["resources", list, name]);
    if found.is_none() {
        return match resource {
            "limits.cpu" | "limits.memory" => "node allocatable".into(),
            _ => "0".into(),
        };
    }
    let quantity = Quantity::of(found);
    let divisor = Quantity::of(field.at(&["divisor"]));
    let divisor =
        if divisor.is_zero() { Quantity::new(1, model::quantity::Format::DecimalSi) } else { divisor };
    let (value, by) = (quantity.nanos(), divisor.nanos().max(1));
    ((value + by - 1) / by).to_string()
}

fn mounts(container: &Value, writer: &mut Writer) {
    let mut mounts: Vec<&Value> = container.items(&["volumeMounts"]).iter().collect();
    mounts.sort_by_key(|mount| mount.text(&["mountPath"]));
    if mounts.is_empty() {
        writer.field(2, "Mounts", "<none>");
    } else {
        writer.line(2, "Mounts:");
    }
    for mount in mounts {
        let mut flags = if is_true(mount.at(&["readOnly"])) { "ro".to_owned() } else { "rw".to_owned() };
        let path = mount.text(&["subPath"]);
        if !path.is_empty() {
            flags.push_str(&format!(",path={path:?}"));
        }
        writer.line(3, format!("{} from {} ({flags})", mount.text(&["mountPath"]), mount.text(&["name"])));
    }
    let mut devices: Vec<&Value> = container.items(&["volumeDevices"]).iter().collect();
    if !devices.is_empty() {
        devices.sort_by_key(|device| device.text(&["devicePath"]));
        writer.line(2, "Devices:");
        for device in devices {
            writer.line(3, format!("{} from {}", device.text(&["devicePath"]), device.text(&["name"])));
        }
    }
}
