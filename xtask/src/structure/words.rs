//! Tracked files speak of the software only: no paths of somebody's machine, no hosts that only a build has to know.

use super::{Findings, Project};

/// Words no file may hold, in two parts so that this one does not, and why.
const BANNED: &[(&str, &str, &str)] = &[
    ("/wo", "rk/", "a path of one machine"),
    ("crates", ".io", "a package registry: cargo knows where"),
    ("pypi", ".org", "a package registry: pip knows where"),
    ("npmjs", ".", "a package registry: npm knows where"),
    ("deb.deb", "ian.org", "a package registry: apt knows where"),
    ("AI ", "assistant", "the software only"),
    ("language ", "model", "the software only"),
    ("Co-Auth", "ored-By", "the software only"),
];

/// Files whose text is somebody else's: licences, locks, recorded answers.
fn is_foreign(path: &str) -> bool {
    path == "LICENSE"
        || path == "NOTICE"
        || path == "Cargo.lock"
        || path.contains("/generated/")
        || path.contains("/data/")
}

/// Where a word may stand after all: path, word, why.
const ALLOWED: &[(&str, &str, &str)] = &[];

pub(super) fn check(project: &Project) -> anyhow::Result<Findings> {
    let mut found = Findings::default();
    for file in project.files.iter().filter(|file| !is_foreign(&file.path)) {
        for (first, second, why) in BANNED {
            let word = format!("{first}{second}");
            let allowed = ALLOWED.iter().any(|(path, own, _)| *path == file.path && *own == word);
            let places = file.text.lines().enumerate().filter(|(_, line)| line.contains(&word));
            for (index, _) in places.filter(|_| !allowed) {
                found.breaches.push(format!("{}:{} holds {word:?}: {why}", file.path, index + 1));
            }
        }
    }
    Ok(found)
}
