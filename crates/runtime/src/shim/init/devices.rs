//! `/dev`: nodes, links, the console.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use sys::path::{Missing, O_DIRECTORY, O_NOCTTY, O_PATH};

use super::{Step, context};
use crate::spec::{ContainerSpec, DeviceSpec};

const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
    ("/proc/kcore", "core"),
];

/// Fills a fresh `/dev`.
pub fn populate(spec: &ContainerSpec, root: BorrowedFd<'_>) -> Step<()> {
    let dev = sys::path::open_in_root(root, Path::new("/dev"), O_PATH | O_DIRECTORY);
    let dev = context(dev, || "open /dev in the container".to_owned())?;
    for (target, name) in LINKS {
        if name == "core" && !Path::new("/proc/kcore").exists() {
            continue;
        }
        context(sys::path::make_symlink(target, dev.as_fd(), name), || format!("make /dev/{name}"))?;
    }
    make_all(&spec.devices, root)
}

/// Makes nodes, or binds the node's own where that is not allowed.
pub fn make_all(devices: &[DeviceSpec], root: BorrowedFd<'_>) -> Step<()> {
    for device in devices {
        let doing = || format!("make device {}", device.path.display());
        let (Some(parent), Some(name)) =
            (device.path.parent(), device.path.file_name().and_then(|name| name.to_str()))
        else {
            return Err(format!("{}: not a path of a device", doing()));
        };
        let parent = context(sys::path::open_or_make(root, parent, Missing::Directory), doing)?;
        let number = sys::path::device_number(device.major, device.minor);
        match sys::path::make_node(parent.as_fd(), name, device.mode, number) {
            Ok(()) => {
                if device.uid != 0 || device.gid != 0 {
                    let opened = context(sys::path::open_in_root(root, &device.path, O_PATH), doing)?;
                    context(sys::path::set_owner_of_location(opened.as_fd(), device.uid, device.gid), doing)?;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(_) => {
                let source = context(sys::mount::copy(&device.path, false), doing)?;
                let target = context(sys::path::open_or_make(root, &device.path, Missing::File), doing)?;
                context(sys::mount::attach(source.as_fd(), target.as_fd()), doing)?;
            }
        }
    }
    Ok(())
}

/// `/dev/null` of the container, open for both ways. Where `/dev` is a volume, anybody may have put something else there,
/// which must neither become a stream nor cover a hidden path (CVE-2025-31133).
pub fn null() -> std::io::Result<File> {
    let file = File::options().read(true).write(true).custom_flags(O_NOCTTY).open("/dev/null")?;
    let about = file.metadata()?;
    if about.file_type().is_char_device() && about.rdev() == sys::path::device_number(1, 3) {
        Ok(file)
    } else {
        Err(std::io::Error::other("/dev/null is not the null device"))
    }
}

/// Makes the terminal `/dev/console`.
pub fn bind_console(terminal: BorrowedFd<'_>) -> Step<()> {
    let doing = || "make /dev/console".to_owned();
    let root = context(sys::path::open_location(Path::new("/")), doing)?;
    let target = sys::path::open_or_make(root.as_fd(), Path::new("/dev/console"), Missing::File);
    let target = context(target, doing)?;
    let source = context(sys::mount::copy_at(terminal, false), doing)?;
    context(sys::mount::attach(source.as_fd(), target.as_fd()), doing)
}
