//! Identity, capabilities and the seccomp filter of the process that is about to be executed.

use super::{Step, context};
use crate::identity::Identity;
use crate::spec::ProcessSpec;

/// Drops what the process may not have. Without `no_new_privs` the filter needs a privilege to be loaded, so it comes
/// first here; with it, as late as possible (see [`load_filter_late`]).
pub fn become_user(process: &ProcessSpec, identity: &Identity) -> Step<()> {
    if !process.no_new_privileges {
        load_filter(process)?;
    }
    let set = process.capabilities;
    context(sys::capability::limit_bounding_set(set), || "limit capabilities".to_owned())?;
    let _ = sys::capability::clear_ambient();
    context(sys::process::keep_capabilities(true), || "keep capabilities".to_owned())?;
    let changed = sys::process::set_identity(identity.uid, identity.gid, &identity.groups);
    context(changed, || format!("become user {} and group {}", identity.uid, identity.gid))?;
    context(sys::process::keep_capabilities(false), || "keep capabilities".to_owned())?;
    context(sys::capability::set(set, set, 0), || "set capabilities".to_owned())?;
    // The change of user has cleared it.
    let _ = sys::process::set_parent_death_signal(sys::process::SIGKILL);
    if process.no_new_privileges {
        context(sys::process::set_no_new_privileges(), || "set no_new_privs".to_owned())?;
    }
    Ok(())
}

/// Loads the filter of a process with `no_new_privs`.
pub fn load_filter_late(process: &ProcessSpec) -> Step<()> {
    if process.no_new_privileges { load_filter(process) } else { Ok(()) }
}

fn load_filter(process: &ProcessSpec) -> Step<()> {
    match &process.seccomp {
        Some(program) => context(sys::seccomp::load(program, false), || "load seccomp filter".to_owned()),
        None => Ok(()),
    }
}
