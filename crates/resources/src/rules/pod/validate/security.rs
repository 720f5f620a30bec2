//! Security contexts of Pods and containers, and what user namespaces rule out.

use model::tree::TreeExt;
use serde_json::Value;

use super::operating_system::{id, sysctl_name, windows_options};
use super::{Context, forbidden_at};
use crate::field::{Errors, FieldError};
use crate::rules::at::At;
use crate::rules::pod::containers;
use crate::rules::{checks, internal};

const PROFILES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// Longest AppArmor profile name, in bytes.
const PROFILE_BYTES_MAX: usize = 4095;

/// A container's security context.
pub(super) fn of_container(errors: &mut Errors, context: &At, host_users: bool) {
    if context.value.is_null() {
        return;
    }
    id(errors, &context.child("runAsUser"));
    id(errors, &context.child("runAsGroup"));
    if let Some(mount) = context.some("procMount") {
        mount.one_of(errors, &["Default", "Unmasked"]);
        if host_users && mount.text() == "Unmasked" {
            errors.push(mount.invalid("`hostUsers` must be false to use `Unmasked`"));
        }
    }
    seccomp(errors, &context.child("seccompProfile"));
    if context.value.get("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        let shown = || internal::compact("SecurityContext", context.value);
        if context.flag("privileged") {
            let words = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(context.invalid_shown(shown(), words));
        }
        for capability in context.value.items(&["capabilities", "add"]) {
            if capability == "CAP_SYS_ADMIN" {
                let words =
                    "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
                errors.push(context.invalid_shown(shown(), words));
            }
        }
    }
    windows_options(errors, &context.child("windowsOptions"));
    app_armor(errors, &context.child("appArmorProfile"));
}

/// A Pod's security context.
pub(super) fn of_pod(errors: &mut Errors, spec: &At) {
    let context = spec.child("securityContext");
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(errors, &context.child(key));
    }
    context.items("supplementalGroups").iter().for_each(|group| id(errors, group));
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let words = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(context.child("shareProcessNamespace").invalid_as(true, words));
    }
    sysctls(errors, spec, &context.child("sysctls"));
    if let Some(policy) = context.some("fsGroupChangePolicy") {
        policy.one_of(errors, &["Always", "OnRootMismatch"]);
    }
    seccomp(errors, &context.child("seccompProfile"));
    windows_options(errors, &context.child("windowsOptions"));
    app_armor(errors, &context.child("appArmorProfile"));
    if let Some(policy) = context.some("supplementalGroupsPolicy") {
        policy.one_of(errors, &["Merge", "Strict"]);
    }
    if let Some(policy) = context.some("seLinuxChangePolicy") {
        policy.one_of(errors, &["Recursive"]);
    }
}

fn sysctls(errors: &mut Errors, spec: &At, list: &At) {
    let mut seen = std::collections::BTreeSet::new();
    for sysctl in list.elements() {
        let name = sysctl.child("name");
        let text = name.text();
        if text.is_empty() {
            errors.push(name.required(""));
        } else if let Some(words) = sysctl_name(text) {
            errors.push(name.invalid(words));
        } else if seen.contains(text) {
            errors.push(name.duplicate());
        }
        let dotted = dotted_name(text);
        let ipc = dotted.starts_with("fs.mqueue.")
            || dotted.starts_with("kernel.msg")
            || dotted.starts_with("kernel.shm")
            || dotted == "kernel.sem";
        if spec.flag("hostNetwork") && dotted.starts_with("net.") {
            errors.push(name.invalid("may not be specified when 'hostNetwork' is true"));
        } else if spec.flag("hostIPC") && ipc {
            errors.push(name.invalid("may not be specified when 'hostIPC' is true"));
        }
        seen.insert(text);
    }
}

/// A sysctl's name with dots between its parts: where the first mark is a slash, slashes and dots change places.
fn dotted_name(name: &str) -> String {
    if name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/')) {
        let swap = |letter| match letter {
            '/' => '.',
            '.' => '/',
            other => other,
        };
        return name.chars().map(swap).collect();
    }
    name.to_owned()
}

fn seccomp(errors: &mut Errors, profile: &At) {
    if profile.value.is_null() {
        return;
    }
    let (kind, path) = (profile.child("type"), profile.child("localhostProfile"));
    match kind.text() {
        "" => errors.push(kind.required("type is required when seccompProfile is set")),
        _ => kind.one_of(errors, &PROFILES),
    }
    if kind.text() != "Localhost" {
        if !path.value.is_null() {
            let shown = internal::compact("SeccompProfile", profile.value);
            errors.push(path.invalid_shown(shown, "can only be set when seccomp type is Localhost"));
        }
    } else if path.value.is_null() {
        errors.push(path.required("must be set when seccomp type is Localhost"));
    } else {
        checks::descending_path(errors, &path);
    }
}

fn app_armor(errors: &mut Errors, profile: &At) {
    if profile.value.is_null() {
        return;
    }
    let (kind, path) = (profile.child("type"), profile.child("localhostProfile"));
    let missing = "must be set when AppArmor type is Localhost";
    match kind.text() {
        "Localhost" if path.value.is_null() => errors.push(path.required(missing)),
        "Localhost" => {
            let trimmed = path.text().trim();
            if trimmed != path.text() {
                errors.push(path.invalid("must not be padded with whitespace"));
            } else if trimmed.is_empty() {
                errors.push(path.required(missing));
            }
            if path.text().len() > PROFILE_BYTES_MAX {
                errors.push(FieldError::too_long(&path.path, PROFILE_BYTES_MAX));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if !path.value.is_null() {
                errors.push(path.invalid("can only be set when AppArmor type is Localhost"));
            }
        }
        "" => errors.push(kind.required("type is required when appArmorProfile is set")),
        _ => errors.push(kind.not_supported(&PROFILES)),
    }
}

/// What a Pod with its own user namespace may not share with the host.
pub(super) fn host_users(errors: &mut Errors, spec: &At, context: &Context) {
    if context.host_users {
        return;
    }
    let words = "when `hostUsers` is false";
    // Upstream writes two of the names with a capital.
    for (flag, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.flag(flag) {
            errors.push(forbidden_at(&spec.child(shown).path.to_string(), words));
        }
    }
    for container in containers(spec) {
        let devices = container.child("volumeDevices");
        if !devices.is_empty() {
            errors.push(devices.forbidden(words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names_with_slashes() {
        assert_eq!(dotted_name("net/ipv4/conf/eth0.1/forwarding"), "net.ipv4.conf.eth0/1.forwarding");
        assert_eq!(dotted_name("net.ipv4.tcp"), "net.ipv4.tcp");
    }
}
