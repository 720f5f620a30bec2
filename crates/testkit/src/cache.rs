//! What is fetched or made once: in cargo's target directory, shared by all test processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// Cargo's target directory: the outermost tagged one that holds this program (there is one for each platform, too).
pub fn target() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?;
    let tagged = program.ancestors().skip(1).filter(|folder| folder.join("CACHEDIR.TAG").exists()).last();
    tagged.map(Path::to_owned).with_context(|| format!("{} is in no target directory", program.display()))
}

/// The directory of everything that is kept.
pub fn root() -> anyhow::Result<PathBuf> {
    let folder = target()?.join("testkit");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Hex digits that stand for a text: part of the name of what is made from it.
pub fn key(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..6])
}

/// Holds a named lock; other processes wait for it.
pub fn lock(name: &str) -> anyhow::Result<File> {
    let path = root()?.join(format!("{name}.lock"));
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    file.lock().with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// The directory of this name, made by `make` unless it is there whole. `make` gets a fresh directory.
pub fn once(name: &str, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<PathBuf> {
    let folder = root()?.join(name);
    if folder.exists() {
        return Ok(folder);
    }
    let _held = lock(name)?;
    if folder.exists() {
        return Ok(folder);
    }
    let fresh = root()?.join(format!("{name}.partial"));
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).with_context(|| format!("making {}", fresh.display()))?;
    make(&fresh)?;
    fs::rename(&fresh, &folder).with_context(|| format!("keeping {}", folder.display()))?;
    Ok(folder)
}

/// A text that holds for one run of the tests: found out by the first process that asks, read by the others.
pub fn in_this_run(name: &str, find: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<String> {
    let Some(run) = crate::variable("NEXTEST_RUN_ID") else { return find() };
    let path = root()?.join(format!("{name}.run"));
    let known = || {
        let text = fs::read_to_string(&path).ok()?;
        text.strip_prefix(&run)?.strip_prefix('\n').map(str::to_owned)
    };
    if let Some(text) = known() {
        return Ok(text);
    }
    let _held = lock(name)?;
    if let Some(text) = known() {
        return Ok(text);
    }
    let text = find()?;
    let fresh = path.with_extension("partial");
    fs::write(&fresh, format!("{run}\n{text}")).with_context(|| format!("writing {}", fresh.display()))?;
    fs::rename(&fresh, &path).with_context(|| format!("keeping {}", path.display()))?;
    Ok(text)
}
