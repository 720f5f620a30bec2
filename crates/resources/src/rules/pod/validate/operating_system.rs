//! What a Pod's operating system rules out, and Windows' own options.

use std::sync::LazyLock;

use model::names;
use model::tree::TreeExt;
use regex::Regex;
use serde_json::Value;

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::checks;
use crate::rules::pod::containers;

/// Upstream's pattern of a sysctl's name.
const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

static PATTERNS: LazyLock<[Option<Regex>; 2]> = LazyLock::new(|| {
    let label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    [
        Regex::new(r#"^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$"#).ok(),
        Regex::new(&format!(r"^{label}(?:\.{label})*$")).ok(),
    ]
});

/// What is wrong with a sysctl's name, if something is.
pub fn sysctl_name(name: &str) -> Option<String> {
    let segment = |text: &str| {
        let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        bytes.first().copied().is_some_and(edge)
            && bytes.last().copied().is_some_and(edge)
            && bytes.iter().all(|byte| edge(*byte) || matches!(byte, b'-' | b'_'))
    };
    let fine = name.len() <= 253 && name.split(['.', '/']).all(segment);
    (!fine).then(|| format!("must have at most 253 characters and match regex {SYSCTL}"))
}

/// `os` and the fields that it rules out.
pub(super) fn check(errors: &mut Errors, spec: &At) {
    let Some(os) = spec.some("os") else { return };
    let name = os.child("name");
    match name.text() {
        "" => errors.push(name.required("")),
        "linux" => linux(errors, spec),
        "windows" => windows(errors, spec),
        _ => errors.push(At::new(name.value, os.path.clone()).not_supported(&["linux", "windows"])),
    }
}

fn linux(errors: &mut Errors, spec: &At) {
    let holders = std::iter::once(spec.clone()).chain(containers(spec));
    for options in holders.filter_map(|holder| holder.child("securityContext").some("windowsOptions")) {
        errors.push(options.forbidden("windows options cannot be set for a linux pod"));
    }
}

/// Fields of the Pod that Windows lacks: whether in the security context, name, whether absence is told by emptiness.
const NOT_ON_WINDOWS: [(bool, &str); 15] = [
    (true, "appArmorProfile"),
    (true, "seLinuxOptions"),
    (false, "hostUsers"),
    (false, "hostPID"),
    (false, "hostIPC"),
    (true, "seccompProfile"),
    (true, "fsGroup"),
    (true, "fsGroupChangePolicy"),
    (true, "sysctls"),
    (false, "shareProcessNamespace"),
    (true, "runAsUser"),
    (true, "runAsGroup"),
    (true, "supplementalGroups"),
    (true, "supplementalGroupsPolicy"),
    (true, "seLinuxChangePolicy"),
];
const NOT_ON_WINDOWS_CONTAINERS: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

fn windows(errors: &mut Errors, spec: &At) {
    let words = "cannot be set for a windows pod";
    let context = spec.child("securityContext");
    for (in_context, key) in NOT_ON_WINDOWS {
        let field = if in_context { context.child(key) } else { spec.child(key) };
        let set = match key {
            "hostPID" | "hostIPC" => spec.flag(key),
            "sysctls" => !field.is_empty(),
            _ => !field.value.is_null(),
        };
        if set {
            errors.push(field.forbidden(words));
        }
    }
    for container in containers(spec) {
        let context = container.child("securityContext");
        for field in NOT_ON_WINDOWS_CONTAINERS.iter().filter_map(|key| context.some(key)) {
            errors.push(field.forbidden(words));
        }
    }
}

/// Host process containers: all or none.
pub(super) fn host_process(errors: &mut Errors, spec: &At) {
    let switch = |holder: &At| {
        holder.value.at(&["securityContext", "windowsOptions", "hostProcess"]).and_then(Value::as_bool)
    };
    let of_pod = switch(spec);
    let all = containers(spec);
    let mut count = 0;
    for container in &all {
        let own = switch(container);
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let field = container.child("securityContext").child("windowsOptions").child("hostProcess");
            errors.push(field.invalid(format!(
                "pod hostProcess value must be identical if both are specified, was {pod}"
            )));
        }
        count += usize::from(own.or(of_pod).unwrap_or_default());
    }
    if count == 0 {
        return;
    }
    if count != all.len() {
        let words =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(spec.invalid_as("", words));
    }
    if !spec.flag("hostNetwork") {
        let words = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(spec.child("hostNetwork").invalid_as(false, words));
    }
}

/// `windowsOptions`.
pub(super) fn windows_options(errors: &mut Errors, options: &At) {
    if let Some(name) = options.some("gmsaCredentialSpecName") {
        checks::dns_subdomain(errors, &name);
    }
    if let Some(spec) = options.some("gmsaCredentialSpec") {
        if spec.text().is_empty() {
            errors.push(spec.invalid("gmsaCredentialSpec cannot be an empty string"));
        } else if spec.text().len() > 64 * 1024 {
            errors.push(spec.invalid("gmsaCredentialSpec size must be under 64 KiB"));
        }
    }
    if let Some(name) = options.some("runAsUserName") {
        errors.extend(user_name(name.text()).into_iter().map(|words| name.invalid(words)));
    }
}

fn user_name(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.split('\\').collect();
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string".into()];
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters".into()];
    }
    let (domain, user) = match parts.as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return vec!["runAsUserName cannot contain more than one backslash".into()],
    };
    let mut errors = Vec::new();
    if domain.is_some_and(|domain| domain.len() >= 256) {
        errors.push("runAsUserName's Domain length must be under 256 characters".into());
    }
    let known = |domain: &str| PATTERNS.iter().flatten().any(|pattern| pattern.is_match(domain));
    if domain.is_some_and(|domain| !known(domain)) {
        errors.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".into());
    }
    if user.is_empty() {
        errors.push("runAsUserName's User cannot be empty".into());
    } else if user.len() > 104 {
        errors.push("runAsUserName's User length must not be longer than 104 characters".into());
    }
    if !user.is_empty() && user.chars().all(|letter| matches!(letter, '.' | ' ')) {
        errors.push("runAsUserName's User cannot contain only periods or spaces".into());
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        let words = "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]";
        errors.push(words.into());
    }
    errors
}

/// A user or group id, if it is there.
pub(super) fn id(errors: &mut Errors, at: &At) {
    if let Some(number) = at.number() {
        at.complain(errors, names::user_or_group_id(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls() {
        for fine in ["net.core.somaxconn", "kernel/shm_rmid_forced", "a-b.c"] {
            assert_eq!(sysctl_name(fine), None, "{fine}");
        }
        for faulty in ["", "A", "a..b", "-a", "a."] {
            assert!(sysctl_name(faulty).is_some(), "{faulty}");
        }
    }

    #[test]
    fn windows_users() {
        let table = [
            ("user", 0),
            ("DOMAIN\\user", 0),
            ("a\\b\\c", 1),
            ("", 1),
            ("..", 1),
            ("a:b", 1),
            ("-a-.\\x", 0),
            ("a?\\x", 1),
        ];
        for (name, expected) in table {
            assert_eq!(user_name(name).len(), expected, "{name}: {:?}", user_name(name));
        }
    }
}
