//! Licences, names and sources of everything that is linked, against `deny.toml`: what cargo-deny checks, in a second and
//! with nothing to install.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::cargo;

/// The file with what is allowed, from the root.
const FILE: &str = "deny.toml";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `registry+…`, `git+…`; none for the project's own.
    source: Option<String>,
}

/// What `deny.toml` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Policy {
    licences: Vec<String>,
    banned: Vec<String>,
}

/// Checks all dependencies of this platform and prints how many there are.
pub fn run() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the root")?;
    let text = std::fs::read_to_string(root.join(FILE)).context(FILE)?;
    let policy = Policy::parse(&text)?;
    let metadata: Metadata = cargo::metadata(&["--locked", "--filter-platform", &platform()?])?;
    let breaches: Vec<String> = metadata.packages.iter().filter_map(|own| policy.breach(own)).collect();
    if !breaches.is_empty() {
        bail!("{FILE} does not allow:\n  {}", breaches.join("\n  "));
    }
    show(&format!("licences: {} packages are as {FILE} allows", metadata.packages.len()));
    Ok(())
}

#[allow(clippy::print_stdout)] // a chore's answer
fn show(line: &str) {
    println!("{line}");
}

/// The platform that is built for, as rustc names it.
fn platform() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(ToOwned::to_owned).context("rustc names no host")
}

impl Policy {
    /// Reads the two lists: quoted words of `allow` in `[licenses]`, and of `deny` in `[bans]`.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut policy = Self::default();
        let (mut section, mut list) = ("", "");
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
            if let Some(name) =
                line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|_| list.is_empty())
            {
                section = name;
            } else if let Some((name, "[")) =
                line.split_once('=').map(|(name, rest)| (name.trim(), rest.trim()))
            {
                list = name;
            } else if line.starts_with(']') {
                list = "";
            } else if let Some(word) = line.split('"').nth(1) {
                match (section, list) {
                    ("licenses", "allow") => policy.licences.push(word.to_owned()),
                    ("bans", "deny") => policy.banned.push(word.to_owned()),
                    _ => {}
                }
            }
        }
        if policy.licences.is_empty() || policy.banned.is_empty() {
            bail!("{FILE}: wanted the lists licenses.allow and bans.deny, one entry a line");
        }
        Ok(policy)
    }

    /// Why a package may not be depended on.
    fn breach(&self, package: &Package) -> Option<String> {
        let named = format!("{} {}", package.name, package.version);
        if let Some(source) = package.source.as_ref().filter(|source| !source.starts_with("registry+")) {
            return Some(format!("{named}: source {source}"));
        }
        if self.banned.contains(&package.name) {
            return Some(format!("{named}: banned"));
        }
        let Some(licence) = &package.license else { return Some(format!("{named}: states no licence")) };
        (!self.allows(licence)).then(|| format!("{named}: licence {licence}"))
    }

    /// Whether an SPDX expression (or the old `A/B`) can be met with what is allowed.
    fn allows(&self, expression: &str) -> bool {
        let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut words = words.as_slice();
        let met = self.either(&mut words);
        met && words.is_empty()
    }

    fn either(&self, words: &mut &[&str]) -> bool {
        let mut met = self.both(words);
        while take(words, "OR") {
            met |= self.both(words);
        }
        met
    }

    fn both(&self, words: &mut &[&str]) -> bool {
        let mut met = self.one(words);
        while take(words, "AND") {
            met &= self.one(words);
        }
        met
    }

    fn one(&self, words: &mut &[&str]) -> bool {
        if take(words, "(") {
            let met = self.either(words);
            return take(words, ")") && met;
        }
        let Some((first, rest)) = words.split_first() else { return false };
        *words = rest;
        let mut name = (*first).to_owned();
        if take(words, "WITH") {
            let Some((exception, rest)) = words.split_first() else { return false };
            *words = rest;
            name = format!("{name} WITH {exception}");
        }
        self.licences.contains(&name)
    }
}

fn take(words: &mut &[&str], word: &str) -> bool {
    let found = words.first() == Some(&word);
    if found {
        *words = &words[1..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let text = "[licenses]\nallow = [\n  \"MIT\", # fine\n  \"X WITH Y\",\n]\n[bans]\ndeny = [\n  { crate = \"openssl\" },\n]\n";
        Policy::parse(text).unwrap()
    }

    #[test]
    fn expressions() {
        for (expression, allowed) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND X WITH Y", true),
            ("X", false),
            ("(MIT", false),
            ("", false),
        ] {
            assert_eq!(policy().allows(expression), allowed, "{expression}");
        }
    }

    #[test]
    fn packages() {
        let package = |name: &str, license: Option<&str>, source: Option<&str>| Package {
            name: name.into(),
            version: "1.0.0".into(),
            license: license.map(Into::into),
            source: source.map(Into::into),
        };
        let breach = |own: &Package| policy().breach(own);
        assert_eq!(breach(&package("a", Some("MIT"), Some("registry+https://x"))), None);
        assert_eq!(breach(&package("a", Some("MIT"), None)), None);
        assert!(breach(&package("a", Some("MIT"), Some("git+https://x"))).is_some());
        assert!(breach(&package("openssl", Some("MIT"), None)).is_some());
        assert!(breach(&package("a", None, None)).is_some());
    }
}
