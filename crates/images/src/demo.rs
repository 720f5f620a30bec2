//! The image of the first steps: made on the spot from the running program, with no registry and no other program.

use std::path::Path;

use cri::Result;

use crate::archive::write::SourceFile;
use crate::build::{BuildConfig, Made};
use crate::store::ImageStore;

/// The demo image's name.
pub const NAME: &str = "docker.io/library/carob-demo:latest";
/// The port that its program listens on.
pub const PORT: u16 = 8080;

/// Builds the demo image: the static program `executable` as `/carob`, started as `carob demo`, with the few files
/// that programs expect. Pinned; cheap when it is there already in the same form.
///
/// # Errors
/// Names the file that cannot be read or written.
pub async fn build(store: &ImageStore, executable: &Path) -> Result<Made> {
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
    store.build_from_files(NAME, &files, config).await
}
