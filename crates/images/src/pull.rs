//! p
use crate::store::ImageStore;
use cri::image::*;
use std::sync::Arc;
pub async fn pull(
    _s: &Arc<ImageStore>,
    r: &str,
    _a: Option<&AuthConfig>,
    _p: Option<tokio::sync::watch::Sender<PullProgress>>,
) -> cri::Result<Pulled> {
    Err(cri::Error::unknown(r))
}
