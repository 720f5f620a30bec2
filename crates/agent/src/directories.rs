//! Directories and files that the agent makes for a Pod: data directory, `/etc/hosts`, termination message files, logs.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};
use podlogic::{hosts, paths, pod};

use crate::files;
use crate::shared::Shared;

/// Makes the Pod's data directories.
pub async fn make_pod_directories(shared: &Shared, pod: &Pod) -> io::Result<()> {
    let root = paths::pod_directory(&shared.options.directories.root, pod::uid(pod));
    for folder in ["volumes", "plugins", "containers"] {
        files::create_dir_all(root.join(folder)).await?;
    }
    files::set_permissions(&root, std::fs::Permissions::from_mode(0o750)).await
}

/// Makes a directory for a container's logs; answers how often it was restarted according to the logs there.
pub async fn make_log_directory(shared: &Shared, pod: &Pod, container: &str) -> io::Result<u32> {
    let folder = paths::pod_logs(&shared.options.directories.pod_logs, pod).join(container);
    files::create_dir_all(&folder).await?;
    let entries = files::read_dir(&folder).await?;
    let names: Vec<String> =
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    Ok(paths::restart_count_after(names.iter().map(String::as_str)))
}

/// Writes a container's `/etc/hosts` file, shared by the Pod's containers.
pub async fn write_hosts(shared: &Shared, pod: &Pod, pod_ips: &[String]) -> io::Result<PathBuf> {
    let path = paths::pod_directory(&shared.options.directories.root, pod::uid(pod)).join("etc-hosts");
    let text = if pod::is_host_network(pod) {
        let node = files::read_to_string("/etc/hosts").await.unwrap_or_default();
        hosts::from_node(pod, &node)
    } else {
        hosts::managed(pod, pod_ips, &shared.options.config.cluster_domain)
    };
    // Written in place: running containers have this very file mounted.
    files::write(&path, text).await?;
    files::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).await?;
    Ok(path)
}

/// Makes the file that a container instance may write its termination message to.
pub async fn make_message_file(shared: &Shared, pod: &Pod, container: &Container) -> io::Result<PathBuf> {
    let root = paths::pod_directory(&shared.options.directories.root, pod::uid(pod));
    let folder = root.join("containers").join(&container.name);
    files::create_dir_all(&folder).await?;
    let path = folder.join(shared.options.entropy.hex(8));
    files::write(&path, String::new()).await?;
    files::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).await?;
    Ok(path)
}

/// Links a container's log where log collectors look for it.
pub async fn link_log(shared: &Shared, pod: &Pod, container: &str, id: &str, log: &Path) -> io::Result<()> {
    let root = &shared.options.directories.container_links;
    files::create_dir_all(root).await?;
    let link = paths::log_link(root, pod, container, id);
    match files::symlink(log, &link).await {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

/// Removes links to a container's log.
pub async fn unlink_log(shared: &Shared, pod: &Pod, container: &str, id: &str) {
    let link = paths::log_link(&shared.options.directories.container_links, pod, container, id);
    if let Err(error) = files::remove_file(&link).await
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %link.display(), %error, "removing a link to a log");
    }
}

/// Removes the Pod's data and log directories. Answers whether they are gone.
pub async fn remove_pod_directories(shared: &Shared, pod: &Pod) -> bool {
    let mut are_gone = true;
    let data = paths::pod_directory(&shared.options.directories.root, pod::uid(pod));
    let logs = paths::pod_logs(&shared.options.directories.pod_logs, pod);
    for path in [data, logs] {
        if let Err(error) = files::remove_tree(&path).await {
            tracing::warn!(path = %path.display(), %error, "removing a directory of an ended pod");
            are_gone = false;
        }
    }
    are_gone
}
