//! File operations of the agent: off the runtime's threads, as tokio's, but in place on a thread that asked for it. There a
//! simulator runs everything, and which thread is done first must not decide what happens.

use std::cell::Cell;
use std::fs::{self, DirEntry, Metadata, Permissions};
use std::io;
use std::path::Path;

thread_local! {
    static IN_PLACE: Cell<bool> = const { Cell::new(false) };
}

/// From now on file operations begun on this thread block it.
#[cfg(any(test, feature = "testing"))]
pub fn block_this_thread() {
    IN_PLACE.set(true);
}

/// Runs a blocking operation.
///
/// # Errors
/// Its own.
pub async fn run<T: Send + 'static>(
    operation: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if IN_PLACE.get() {
        return operation();
    }
    tokio::task::spawn_blocking(operation).await.map_err(io::Error::other)?
}

macro_rules! operations {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty = $operation:expr;)*) => {$(
        /// As in `std::fs`; a tree as `sys::tree::remove` does.
        pub async fn $name(path: impl AsRef<Path>, $($argument: $kind),*) -> io::Result<$answer> {
            let path = path.as_ref().to_owned();
            run(move || ($operation)(&path, $($argument),*)).await
        }
    )*};
}

operations! {
    create_dir_all() -> () = |path: &Path| fs::create_dir_all(path);
    set_permissions(permissions: Permissions) -> () =
        |path: &Path, permissions| fs::set_permissions(path, permissions);
    read_to_string() -> String = |path: &Path| fs::read_to_string(path);
    write(text: String) -> () = |path: &Path, text: String| fs::write(path, text);
    remove_file() -> () = |path: &Path| fs::remove_file(path);
    remove_tree() -> () = |path: &Path| sys::tree::remove(path);
    metadata() -> Metadata = |path: &Path| fs::metadata(path);
    read_dir() -> Vec<DirEntry> = |path: &Path| fs::read_dir(path)?.collect();
}

/// Makes a symbolic link to `target` at `link`.
///
/// # Errors
/// As `std::os::unix::fs::symlink`.
pub async fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    let (target, link) = (target.to_owned(), link.to_owned());
    run(move || std::os::unix::fs::symlink(target, link)).await
}

/// Renames.
///
/// # Errors
/// As `std::fs::rename`.
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.to_owned(), to.to_owned());
    run(move || fs::rename(from, to)).await
}
