//! Kernel settings of the host's network namespace, by `/proc/sys/net`.

use std::fs;
use std::io;
use std::path::Path;

use netplan::nft::Family;

use crate::error::{Error, Result};

const ROOT: &str = "/proc/sys/net";

/// Makes the host forward packets and the bridge carry what host ports need.
pub fn prepare_host(bridge: &str, families: &[Family]) -> Result<()> {
    for family in families {
        match family {
            Family::Ipv4 => {
                set("ipv4/ip_forward", "1")?;
                // Host ports asked for at 127.0.0.1 leave by the bridge with a source that is masqueraded on the way.
                set(&format!("ipv4/conf/{bridge}/route_localnet"), "1")?;
                stop_redirects(bridge);
                // Strict reverse path filtering is right on the bridge: every Pod's route leads back by it.
            }
            Family::Ipv6 => {
                keep_router_advertisements()?;
                set("ipv6/conf/all/forwarding", "1")?;
                set(&format!("ipv6/conf/{bridge}/accept_dad"), "0")?;
                set(&format!("ipv6/conf/{bridge}/accept_ra"), "0")?;
            }
        }
    }
    Ok(())
}

/// Pods reach each other through the host; it must not tell them of a shorter way, and the kernel's budget for such
/// messages is the one that refusals ("port unreachable") are sent from. `all` and the link's own setting are or-ed:
/// other links keep their own. Where it cannot be set, a packet rule drops the messages.
fn stop_redirects(bridge: &str) {
    for name in ["all", bridge] {
        if let Err(error) = set(&format!("ipv4/conf/{name}/send_redirects"), "0") {
            tracing::debug!(%error, "ICMP redirects stay on");
        }
    }
}

/// A host that starts to forward IPv6 stops to hear router advertisements unless told otherwise, and would lose its
/// own default route.
fn keep_router_advertisements() -> Result<()> {
    if read("ipv6/conf/all/forwarding").as_deref() == Some("1") {
        return Ok(());
    }
    let root = Path::new(ROOT).join("ipv6/conf");
    let entries = fs::read_dir(&root).map_err(Error::system(format!("list {}", root.display())))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let key = format!("ipv6/conf/{}/accept_ra", name.to_string_lossy());
        if name != "all" && name != "default" && read(&key).as_deref() == Some("1") {
            set(&key, "2")?;
        }
    }
    Ok(())
}

/// Whether the kernel has IPv6 and nobody switched it off.
pub fn ipv6_available() -> bool {
    read("ipv6/conf/all/disable_ipv6").as_deref() == Some("0")
}

/// Whether somebody uses the filter table of the old iptables, which netlink does not reach.
pub fn legacy_filter_in_use(family: Family) -> bool {
    let file = match family {
        Family::Ipv4 => "/proc/thread-self/net/ip_tables_names",
        Family::Ipv6 => "/proc/thread-self/net/ip6_tables_names",
    };
    fs::read_to_string(file).is_ok_and(|names| names.lines().any(|name| name == "filter"))
}

/// In a Pod's namespace, before its link exists: addresses are handed out by one authority, so waiting for duplicates
/// is time lost, and with hairpin ports a Pod would hear its own question and give up its address.
pub fn prepare_pod() -> Result<()> {
    for key in ["ipv6/conf/all/accept_dad", "ipv6/conf/default/accept_dad"] {
        set_if_present(key, "0")?;
    }
    Ok(())
}

fn read(key: &str) -> Option<String> {
    fs::read_to_string(Path::new(ROOT).join(key)).ok().map(|text| text.trim().to_owned())
}

fn set_if_present(key: &str, value: &str) -> Result<()> {
    match fs::write(Path::new(ROOT).join(key), value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::system(format!("set net/{key} to {value}"))(error))
        }
        _ => Ok(()),
    }
}

/// Sets a value; one that is right already is not written, because /proc/sys may be read-only in a container.
fn set(key: &str, value: &str) -> Result<()> {
    if read(key).as_deref() == Some(value) {
        return Ok(());
    }
    fs::write(Path::new(ROOT).join(key), value).map_err(Error::system(format!("set net/{key} to {value}")))
}
