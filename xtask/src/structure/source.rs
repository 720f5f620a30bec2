//! Rules of single source files: a paragraph at the top, a length one can read, and calls that belong to other crates.

use super::{File, Findings, Project, text};

/// Most lines of a file, ever.
const LINES_MAX: usize = 1000;
/// Lines from which a file should be split.
const LINES_SOFT: usize = 500;

/// Files above the soft limit: path and lines. A row goes, or its number falls.
const LONGER: &[(&str, usize)] = &[
    ("crates/images/src/archive/unpack.rs", 676),
    ("crates/images/src/registry.rs", 501),
    ("crates/images/src/store.rs", 543),
    ("crates/net/src/netlink.rs", 529),
    ("crates/resources/src/rules/core/services.rs", 581),
    ("crates/resources/src/rules/workloads/batch.rs", 537),
    ("crates/runtime/src/shim/containers.rs", 590),
    ("crates/scheduler/src/scheduler.rs", 502),
];

/// Words that belong to certain crates: the word, the crates, why.
const OWNED: &[(&str, &[&str], &str)] = &[
    (
        "unsafe",
        &["sys", "probe"],
        "kernel calls and `unsafe` live in one crate (the tests' probe makes calls that nothing else does)",
    ),
    ("print!", EDGES, "only the interface writes to standard output"),
    ("println!", EDGES, "only the interface writes to standard output"),
    ("eprint!", EDGES, "only the interface writes to standard error: use tracing"),
    ("eprintln!", EDGES, "only the interface writes to standard error: use tracing"),
    ("env::var", EDGES, "the environment is read at the edge"),
    ("env::var_os", EDGES, "the environment is read at the edge"),
    ("env::vars", EDGES, "the environment is read at the edge"),
    ("env::home_dir", EDGES, "the home directory is found at the edge"),
    ("todo!", &[], "nothing is left open"),
    ("unimplemented!", &[], "nothing is left open"),
];
const EDGES: &[&str] = &["cli", "carob", "testkit", "e2e", "bench", "xtask"];

pub(super) fn check(project: &Project) -> anyhow::Result<Findings> {
    let mut found = Findings::default();
    for file in project.sources() {
        let path = &file.path;
        if !file.text.starts_with("//!") {
            found.breaches.push(format!("{path} does not open with a `//!` paragraph"));
        }
        length(file, &mut found);
        if !file.is_test() {
            owned(file, &mut found);
        }
    }
    for (path, _) in LONGER {
        if !project.files.iter().any(|file| file.path == *path && file.text.lines().count() > LINES_SOFT) {
            found.warnings.push(format!("{path} is short now: delete its row in xtask's list"));
        }
    }
    Ok(found)
}

fn length(file: &File, found: &mut Findings) {
    let (path, lines) = (&file.path, file.text.lines().count());
    let listed = LONGER.iter().find(|(own, _)| own == path).map(|(_, lines)| *lines);
    if lines > LINES_MAX {
        found.breaches.push(format!("{path} has {lines} lines (limit {LINES_MAX}): split it"));
    } else if lines > LINES_SOFT && listed.is_none_or(|limit| lines > limit) {
        let limit = listed.unwrap_or(LINES_SOFT);
        found.warnings.push(format!("{path} has {lines} lines (aim {limit}): split it before it grows"));
    }
}

fn owned(file: &File, found: &mut Findings) {
    let code = text::code(&file.text);
    for (word, crates, why) in OWNED {
        if crates.contains(&file.crate_name()) {
            continue;
        }
        for (at, _) in code.match_indices(word) {
            if is_whole(&code, at, word.len()) {
                let line = 1 + code[..at].matches('\n').count();
                found.breaches.push(format!("{}:{line} uses `{word}`: {why}", file.path));
            }
        }
    }
}

fn is_whole(code: &str, at: usize, length: usize) -> bool {
    let part_of_name =
        |byte: Option<&u8>| byte.is_some_and(|own| own.is_ascii_alphanumeric() || *own == b'_');
    let bytes = code.as_bytes();
    !part_of_name(at.checked_sub(1).and_then(|before| bytes.get(before)))
        && !part_of_name(bytes.get(at + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> usize {
        let file = File { path: path.into(), text: text.into() };
        let mut found = Findings::default();
        owned(&file, &mut found);
        found.breaches.len()
    }

    #[test]
    fn calls_belong_to_crates() {
        assert_eq!(breaches("crates/net/src/a.rs", "unsafe { }"), 1);
        assert_eq!(breaches("crates/sys/src/a.rs", "unsafe { }"), 0);
        assert_eq!(breaches("crates/net/src/a.rs", "#![forbid(unsafe_code)] // unsafe"), 0);
        assert_eq!(breaches("crates/net/src/a.rs", "std::env::var(\"HOME\"); std::env::var_os(NAME)"), 2);
        assert_eq!(breaches("crates/cli/src/a.rs", "println!(\"{x}\")"), 0);
        assert_eq!(breaches("crates/agent/src/a.rs", "println!(\"{x}\")"), 1);
    }
}
