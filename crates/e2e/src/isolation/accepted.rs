//! Differences from the reference that are accepted, each with its reason.

/// A row's members (or its whole value) that are no weakness.
struct Accepted {
    /// Variants: a name, a name's first part followed by `*`, or `*`.
    variant: &'static str,
    row: &'static str,
    /// Members of a set that are left out on both sides; none: the row is not compared.
    members: &'static [&'static str],
    #[allow(dead_code)] // for the reader
    reason: &'static str,
}

/// Calls that came after the reference's filter was written, and that containerd 2 allows to everyone.
const NEWER_CALLS: &[&str] = &[
    "303", // name_to_handle_at; opening by such a handle stays refused
    "451", // cachestat
    "452", // fchmodat2
    "453", // map_shadow_stack
    "454", // futex_wake
    "455", // futex_wait
    "456", // futex_requeue
    "457", // statmount
    "458", // listmount
    "462", // mseal
    "463", // setxattrat
    "464", // getxattrat
    "465", // listxattrat
    "466", // removexattrat
];

const fn row(
    variant: &'static str,
    row: &'static str,
    members: &'static [&'static str],
    reason: &'static str,
) -> Accepted {
    Accepted { variant, row, members, reason }
}

const PORTS: &str =
    "containerd 2 lets every user of a Pod's own network bind low ports and send echo requests";
const SYSFS: &str = "upstream gives privileged containers a writable /sys; under the reference it is read-only all the same, \
                     because the sandbox's mount made the file system of its network namespace so";
const OF_THE_NODE: &str = "what the node has at the moment, and it is shared on purpose";

const ACCEPTED: &[Accepted] = &[
    row("*", "set calls-not-filtered", NEWER_CALLS, "the filter is that of containerd 2"),
    row("user*", "try bind-low-port", &[], PORTS),
    row("unconfined-user*", "try bind-low-port", &[], PORTS),
    row("restricted*", "try bind-low-port", &[], PORTS),
    row("drop-all*", "try bind-low-port", &[], PORTS),
    row("privileged*", "set mounts-writable", &["/sys"], SYSFS),
    row("privileged*", "set writable-below-sys", &[], SYSFS),
    row("privileged*", "try write-huge-pages", &[], SYSFS),
    row("privileged*", "try write-power-state", &[], SYSFS),
    row("privileged*", "try write-profiling", &[], SYSFS),
    row("privileged*", "try write-queue", &[], SYSFS),
    row("node-network*", "set interfaces", &[], OF_THE_NODE),
    row("node-network*", "most abstract-sockets", &[], OF_THE_NODE),
    row("node-pid-ipc*", "set processes", &[], OF_THE_NODE),
    row(
        "shared-pid*",
        "set processes",
        &["pause"],
        "the first process of a shared namespace has another name",
    ),
];

const LOG_OF_THE_KERNEL: &str = "for older kernels SYS_ADMIN is enough for the log";

/// What another kernel than that of the reference's machine makes different.
const OF_THE_KERNEL: &[Accepted] = &[
    row("*", "set devices", &["core"], "a link that is there if the kernel has /proc/kcore"),
    row("unconfined*", "set calls-not-filtered", &["172", "173"], "iopl and ioperm may be compiled out"),
    row("add-sys-admin*", "set calls-not-filtered", &["103"], LOG_OF_THE_KERNEL),
    row("add-sys-admin*", "try read-kernel-messages", &[], LOG_OF_THE_KERNEL),
    row("add-sys-admin*", "try syslog-console-level", &[], LOG_OF_THE_KERNEL),
    row("add-sys-admin*", "try syslog-size", &[], LOG_OF_THE_KERNEL),
];

fn is_for(accepted: &Accepted, variant: &str, row: &str) -> bool {
    let fits = match accepted.variant.strip_suffix('*') {
        Some(start) => variant.starts_with(start),
        None => variant == accepted.variant,
    };
    fits && accepted.row == row
}

/// Both values without what is accepted; `same_kernel` says whether both come from machines with the same one.
pub(super) fn without(
    variant: &str,
    row: &str,
    ours: &str,
    reference: &str,
    same_kernel: bool,
) -> (String, String) {
    let (mut ours, mut reference) = (ours.to_owned(), reference.to_owned());
    let of_the_kernel = if same_kernel { &[] } else { OF_THE_KERNEL };
    for accepted in ACCEPTED.iter().chain(of_the_kernel).filter(|own| is_for(own, variant, row)) {
        if accepted.members.is_empty() {
            return (reference.clone(), reference);
        }
        for value in [&mut ours, &mut reference] {
            let kept: Vec<&str> =
                value.split_whitespace().filter(|own| !accepted.members.contains(own)).collect();
            *value = kept.join(" ");
        }
    }
    (ours, reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_is_left_out_for_its_containers_only() {
        let shown = |variant: &str, row: &str, ours: &str| without(variant, row, ours, "0", true).0;
        assert_eq!(shown("default exec", "set calls-not-filtered", "0 451 500"), "0 500");
        assert_eq!(shown("privileged exec", "set writable-below-sys", "/sys/x"), "0");
        assert_eq!(shown("default", "set writable-below-sys", "/sys/x"), "/sys/x");
        assert_eq!(shown("default", "try bind-low-port", "allowed"), "allowed");
        assert_eq!(shown("default", "set devices", "core null"), "core null");
        assert_eq!(without("default", "set devices", "core null", "0", false).0, "null");
        assert!(ACCEPTED.iter().chain(OF_THE_KERNEL).all(|own| !own.reason.is_empty()));
    }
}
