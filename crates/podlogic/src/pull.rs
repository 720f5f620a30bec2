//! Whether an image has to be pulled.

use cri::reference::{ReferenceError, apply_default_tag};

/// What to do about a container's image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullVerdict {
    /// Use what is there.
    Present,
    /// Pull it.
    Pull,
    /// `ErrImageNeverPull`.
    Never,
}

/// Decides by `imagePullPolicy`.
pub fn decide(policy: Option<&str>, present: bool) -> PullVerdict {
    match (policy.unwrap_or("IfNotPresent"), present) {
        ("Always", _) => PullVerdict::Pull,
        (_, true) => PullVerdict::Present,
        ("Never", false) => PullVerdict::Never,
        (_, false) => PullVerdict::Pull,
    }
}

/// The reference to ask for, or the message of `InvalidImageName`.
///
/// # Errors
/// When the text is no image reference.
pub fn reference(image: &str) -> Result<String, String> {
    let explain = |error: ReferenceError| {
        format!("Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {error}")
    };
    apply_default_tag(image).map_err(explain)
}
