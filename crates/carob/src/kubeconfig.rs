//! Writes the administrator's credentials where kubectl finds them.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine;
use client::kubeconfig::{Cluster, Context, Kubeconfig, NamedCluster, NamedContext, NamedUser, User};

use crate::control_plane::ControlPlane;
use crate::settings::Settings;

/// Writes (or updates) the context in the kubeconfig, and always a file of its own in the data directory. That one last:
/// `carob up` waits for it, and what it leaves behind must name this server, not one before.
pub fn write(settings: &Settings, plane: &ControlPlane) -> anyhow::Result<()> {
    let config = of(settings, plane);
    for (path, owner) in targets(settings) {
        let mut present = if path.exists() { Kubeconfig::read(&path)? } else { Kubeconfig::default() };
        put(&mut present, &config);
        save(&path, &present)?;
        if let Some((uid, gid)) = owner {
            chown(&path, Some(uid), Some(gid))
                .with_context(|| format!("giving {} to its user", path.display()))?;
        }
    }
    save(&settings.instance.data("admin.kubeconfig"), &config)
}

/// Removes the context again.
pub fn remove(settings: &Settings) -> anyhow::Result<()> {
    for (path, _) in targets(settings) {
        if !path.exists() {
            continue;
        }
        let mut present = Kubeconfig::read(&path)?;
        let name = &settings.name;
        present.clusters.retain(|own| own.name != *name);
        present.contexts.retain(|own| own.name != *name);
        present.users.retain(|own| own.name != *name);
        if present.current_context == *name {
            present.current_context =
                present.contexts.first().map_or_else(String::new, |own| own.name.clone());
        }
        save(&path, &present)?;
    }
    Ok(())
}

fn of(settings: &Settings, plane: &ControlPlane) -> Kubeconfig {
    let encode = |text: &str| Some(base64::engine::general_purpose::STANDARD.encode(text));
    let host = match settings.listen.ip() {
        ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    let name = settings.name.clone();
    let cluster = Cluster {
        server: format!("https://{host}:{}", plane.port),
        certificate_authority_data: encode(plane.authority.certificate_pem()),
        ..Cluster::default()
    };
    let user = User {
        client_certificate_data: encode(&plane.admin.certificate_pem),
        client_key_data: encode(&plane.admin.key_pem),
        ..User::default()
    };
    let context = Context { cluster: name.clone(), user: name.clone(), ..Context::default() };
    Kubeconfig {
        api_version: "v1".into(),
        kind: "Config".into(),
        clusters: vec![NamedCluster { name: name.clone(), cluster }],
        contexts: vec![NamedContext { name: name.clone(), context }],
        users: vec![NamedUser { name: name.clone(), user }],
        current_context: name,
        ..Kubeconfig::default()
    }
}

/// Puts this instance's entries in the place of those of the same name, and chooses its context.
fn put(present: &mut Kubeconfig, ours: &Kubeconfig) {
    let name = &ours.current_context;
    present.clusters.retain(|own| own.name != *name);
    present.contexts.retain(|own| own.name != *name);
    present.users.retain(|own| own.name != *name);
    present.merge(ours.clone());
    present.current_context = name.clone();
    present.api_version = "v1".into();
    present.kind = "Config".into();
}

fn save(path: &Path, config: &Kubeconfig) -> anyhow::Result<()> {
    let text = serde_saphyr::to_string(config).with_context(|| format!("writing {}", path.display()))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    pki::authority::write_private(path, text.as_bytes())?;
    Ok(())
}

/// Files to write, with the owner of those that belong to a user behind sudo: (path, (uid, gid)).
fn targets(settings: &Settings) -> Vec<(PathBuf, Option<(u32, u32)>)> {
    if let Some(path) = &settings.kubeconfig {
        return vec![(path.clone(), None)];
    }
    // The edge that may read the environment.
    #[allow(clippy::disallowed_methods)]
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let below = |home: &str| settings.instance.path(home).join(".kube/config");
    let mut targets = Vec::new();
    match variable("KUBECONFIG") {
        Some(list) => {
            let first = list.split(':').find(|part| !part.is_empty()).unwrap_or_default().to_owned();
            targets.push((PathBuf::from(first), None));
        }
        None => targets.push((below(&variable("HOME").unwrap_or_else(|| "/root".into())), None)),
    }
    if let Some((home, uid, gid)) = variable("SUDO_USER").and_then(|user| account(&user)) {
        targets.push((below(&home), Some((uid, gid))));
    }
    targets
}

/// Home directory, user and group of an account.
fn account(name: &str) -> Option<(String, u32, u32)> {
    let table = fs::read_to_string("/etc/passwd").ok()?;
    let line = table.lines().find(|line| line.split(':').next() == Some(name))?;
    let fields: Vec<&str> = line.split(':').collect();
    Some(((*fields.get(5)?).to_owned(), fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}
