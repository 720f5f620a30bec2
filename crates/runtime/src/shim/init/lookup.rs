//! Finding the program, with the words of upstream's runtime for what is wrong.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::words;

/// Finds `name` (searched in `PATH` unless it contains a slash), seen from the working directory.
pub fn find(name: &str, environment: &[String]) -> Result<CString, String> {
    let path = locate(name, environment)?;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| format!("exec: {name:?}: invalid argument"))
}

fn locate(name: &str, environment: &[String]) -> Result<PathBuf, String> {
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(reason) => Err(format!("exec: {name:?}: {reason}")),
        };
    }
    let search = environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let candidates = search.split(':').map(|directory| {
        let directory = if directory.is_empty() { "." } else { directory };
        Path::new(directory).join(name)
    });
    candidates
        .into_iter()
        .find(|candidate| !name.is_empty() && executable(candidate).is_ok())
        .ok_or_else(|| format!("exec: {name:?}: executable file not found in $PATH"))
}

fn executable(path: &Path) -> Result<(), String> {
    let metadata =
        std::fs::metadata(path).map_err(|error| format!("stat {}: {}", path.display(), words(&error)))?;
    if metadata.is_dir() {
        return Err("is a directory".to_owned());
    }
    let c_path = CString::new(path.as_os_str().as_bytes()).map_err(|_| "invalid argument".to_owned())?;
    sys::process::may_execute(&c_path).map_err(|error| words(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_or_the_reason_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_str().unwrap();
        std::fs::write(directory.path().join("plain"), "").unwrap();
        std::os::unix::fs::symlink("/bin/sh", directory.path().join("tool")).unwrap();
        let environment = vec![format!("PATH=/nonexistent:{place}")];
        let check = |name: &str, expected: Result<String, String>| {
            let found = locate(name, &environment).map(|path| path.display().to_string());
            assert_eq!(found, expected, "{name}");
        };
        check("tool", Ok(format!("{place}/tool")));
        check("nosuch", Err("exec: \"nosuch\": executable file not found in $PATH".to_owned()));
        check("plain", Err("exec: \"plain\": executable file not found in $PATH".to_owned()));
        check("", Err("exec: \"\": executable file not found in $PATH".to_owned()));
        check("/no/such", Err("exec: \"/no/such\": stat /no/such: no such file or directory".to_owned()));
        check(place, Err(format!("exec: {place:?}: is a directory")));
        check(&format!("{place}/plain"), Err(format!("exec: \"{place}/plain\": permission denied")));
    }
}
