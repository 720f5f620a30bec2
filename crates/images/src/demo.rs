//! The image of the first steps: made on the spot from the running program, with no registry and no other program.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cri::Result;
use serde::{Deserialize, Serialize};

use crate::archive::write::SourceFile;
use crate::build::{BuildConfig, Made};
use crate::service::blocking;
use crate::store::ImageStore;

/// The demo image's name.
pub const NAME: &str = "docker.io/library/carob-demo:latest";
/// The port that its program listens on.
pub const PORT: u16 = 8080;

/// Which program the image was made from, so that it is not packed again at each start.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_ns: i128,
    id: String,
}

impl Stamp {
    fn of(executable: &Path, id: &str) -> std::io::Result<Self> {
        let found = std::fs::metadata(executable)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified_ns: i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()),
            id: id.to_owned(),
        })
    }
}

/// Builds the demo image: the static program `executable` as `/carob`, started as `carob demo`, with the few files
/// that programs expect. Pinned. When it is there already from the same program, nothing is read or written.
///
/// # Errors
/// Names the file that cannot be read or written.
pub async fn build(store: &ImageStore, executable: &Path) -> Result<Made> {
    let stamp_file = store.options.data_dir.join("demo.json");
    if let Some(known) = store.index().names.get(NAME) {
        let stamp = std::fs::read(&stamp_file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if stamp.is_some() && stamp == Stamp::of(executable, known).ok() {
            return Ok(Made { id: known.clone(), names: vec![NAME.to_owned()] });
        }
    }
    let text = |text: &str| SourceFile::Bytes(text.as_bytes().to_vec());
    let files = [
        ("carob".to_owned(), SourceFile::Path(executable.to_owned()), 0o755),
        ("etc".to_owned(), SourceFile::Directory, 0o755),
        ("etc/group".to_owned(), text("root:x:0:\nnobody:x:65534:\n"), 0o644),
        (
            "etc/passwd".to_owned(),
            text("root:x:0:0:root:/:/carob\nnobody:x:65534:65534:nobody:/:/carob\n"),
            0o644,
        ),
        ("tmp".to_owned(), SourceFile::Directory, 0o1777),
    ];
    let config = BuildConfig {
        entrypoint: vec!["/carob".to_owned(), "demo".to_owned()],
        exposed_ports: vec![format!("{PORT}/tcp")],
        working_dir: "/".to_owned(),
        pinned: true,
        ..BuildConfig::default()
    };
    let made = store.build_from_files(NAME, &files, config).await?;
    let stamp = Stamp::of(executable, &made.id).map_err(|error| cri::Error::unknown(error.to_string()))?;
    blocking(move || {
        let bytes = serde_json::to_vec(&stamp).map_err(std::io::Error::other)?;
        crate::files::write_atomically(&stamp_file, &bytes)
    })
    .await?;
    Ok(made)
}
