//! Which crate may depend on which: on those of lower layers, and on the exceptions listed here with their reasons.

use serde::Deserialize;

use super::{Findings, Project};
use crate::cargo;

/// The crates by layer, lowest first.
const LAYERS: &[(&str, &[&str])] = &[
    ("vocabulary", &["stdx", "model", "cri"]),
    ("tables and pure deciders", &["resources", "rbac", "controllers", "scheduler", "podlogic", "netplan"]),
    ("mechanisms", &["store", "client", "sys", "engine", "pki", "streams"]),
    ("parts", &["apiserver", "runtime", "images", "agent", "net"]),
    ("interface", &["cli"]),
    ("binary", &["carob"]),
    ("tests and chores", &["testkit", "probe", "e2e", "bench", "simulator", "xtask"]),
];

/// Edges within a layer: from, to, why.
const WITHIN: &[(&str, &str, &str)] = &[
    ("model", "stdx", "stdx stands for the standard library"),
    ("cri", "stdx", "stdx stands for the standard library"),
    ("engine", "client", "the executor performs actions through the API, and only there"),
    ("e2e", "testkit", "its fixtures"),
    ("e2e", "probe", "the program inside the containers under test"),
    ("bench", "testkit", "its fixtures"),
];

/// Crates that decide and do nothing: they must not even be able to.
const PURE: &[&str] = &["model", "resources", "rbac", "controllers", "scheduler", "podlogic", "netplan"];
/// What a pure crate must not name: runtimes, kernels, storage, network.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "hyper-util",
    "rustix",
    "libc",
    "redb",
    "rustls",
    "tokio-rustls",
    "async-trait",
    "tracing",
];
/// The only crates that may name the store: who serves it, who constructs it (the simulator: with faults beneath). Tests of
/// others may make an API server.
const STORE_USERS: &[&str] = &["store", "apiserver", "carob", "simulator"];
/// What `cargo test` leaves out: packages whose tests all need root. `make test` runs them.
const NOT_BY_DEFAULT: &[&str] = &["e2e"];
/// The layer that shipped code never depends on.
const TEST_LAYER: &str = "tests and chores";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    /// Ids of those that cargo means when none is named.
    workspace_default_members: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` is an ordinary one.
    kind: Option<String>,
    /// Set for the project's own crates.
    path: Option<String>,
}

pub(super) fn check(_: &Project) -> anyhow::Result<Findings> {
    let metadata: Metadata = cargo::metadata(&["--no-deps"])?;
    let mut found = Findings::default();
    for package in &metadata.packages {
        let edges = package.dependencies.iter();
        found.breaches.extend(edges.filter_map(|edge| breach(&package.name, edge)));
        if layer(&package.name).is_none() {
            found.breaches.push(format!("{} has no layer: give it one in xtask's table", package.name));
        }
        let is_default = metadata.workspace_default_members.contains(&package.id);
        if is_default == NOT_BY_DEFAULT.contains(&package.name.as_str()) {
            let words = if is_default { "take it out of" } else { "add it to" };
            found.breaches.push(format!("{}: {words} default-members in Cargo.toml", package.name));
        }
    }
    Ok(found)
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, names)| names.contains(&name))
}

/// Why an edge must not be.
fn breach(from: &str, edge: &Dependency) -> Option<String> {
    let to = edge.name.as_str();
    let shipped = edge.kind.is_none();
    if shipped && PURE.contains(&from) && IMPURE.contains(&to) {
        return Some(format!("{from} decides and does nothing, but depends on {to}"));
    }
    edge.path.as_ref()?;
    // A crate may test itself with its own features.
    if from == to {
        return shipped.then(|| format!("{from} depends on itself"));
    }
    if shipped && to == "store" && !STORE_USERS.contains(&from) {
        return Some(format!("{from} depends on store: only the API server touches it, use the client"));
    }
    if WITHIN.iter().any(|(own, other, _)| (*own, *other) == (from, to)) {
        return None;
    }
    let (above, below) = (layer(from)?, layer(to)?);
    (below >= above).then(|| {
        let name = |index: usize| LAYERS[index].0;
        let of_tests = if LAYERS[below].0 == TEST_LAYER { ": shipped code never depends on it" } else { "" };
        format!("{from} ({}) depends on {to} ({}){of_tests}", name(above), name(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(to: &str, kind: Option<&str>, own: bool) -> Dependency {
        Dependency { name: to.into(), kind: kind.map(Into::into), path: own.then(|| "/crates".into()) }
    }

    #[test]
    fn edges() {
        let allowed = |from: &str, edge: &Dependency| breach(from, edge).is_none();
        assert!(allowed("apiserver", &edge("store", None, true)));
        assert!(allowed("engine", &edge("client", None, true)));
        assert!(allowed("store", &edge("store", Some("dev"), true)));
        assert!(allowed("agent", &edge("tokio", None, false)));
        assert!(!allowed("agent", &edge("apiserver", None, true)));
        assert!(!allowed("cli", &edge("store", None, true)));
        assert!(!allowed("scheduler", &edge("client", None, true)));
        assert!(!allowed("scheduler", &edge("tokio", None, false)));
        assert!(!allowed("carob", &edge("testkit", Some("dev"), true)));
    }

    #[test]
    fn each_crate_has_one_layer() {
        let mut names: Vec<&str> = LAYERS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for (from, to, why) in WITHIN {
            assert!(layer(from) == layer(to) && !why.is_empty(), "{from} -> {to} needs no exception");
        }
    }
}
