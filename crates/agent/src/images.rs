//! Images of containers: policies, credentials, back-off, and pulls in parallel.

use std::collections::HashMap;
use std::sync::Arc;

use cri::ErrorKind;
use cri::image::{AuthConfig, Image, ImageService};
use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, Secret};
use parking_lot::Mutex;
use podlogic::back_off::BackOff;
use podlogic::container_status::StartFailure;
use podlogic::pull::{self, PullVerdict};
use podlogic::{keyring, pod};
use stdx::clock::Clock;
use stdx::duration::format_go;
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant};

use crate::events::Recorder;

/// Pulls at once where the configuration sets no bound.
const PULLS_MAX: usize = 64;

/// Why an image is not there. `retry_at` is the end of a back-off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullFailure {
    /// The waiting state.
    pub failure: StartFailure,
    /// When to try again, where that is known.
    pub retry_at: Option<jiff::Timestamp>,
}

/// Pulls images.
pub struct Puller {
    images: Arc<dyn ImageService>,
    recorder: Recorder,
    clock: Clock,
    pulls: Semaphore,
    back_off: Mutex<BackOff>,
    last_errors: Mutex<HashMap<String, String>>,
}

fn failure(reason: &str, message: String) -> PullFailure {
    PullFailure { failure: StartFailure { reason: reason.into(), message }, retry_at: None }
}

/// The error as gRPC would have carried it: events and status show it so.
pub fn as_rpc(error: &cri::Error) -> String {
    let code = match error.kind {
        ErrorKind::NotFound => "NotFound",
        ErrorKind::AlreadyExists => "AlreadyExists",
        ErrorKind::InvalidArgument => "InvalidArgument",
        ErrorKind::FailedPrecondition => "FailedPrecondition",
        ErrorKind::Unauthenticated => "Unauthenticated",
        ErrorKind::Unavailable => "Unavailable",
        ErrorKind::DeadlineExceeded => "DeadlineExceeded",
        ErrorKind::Unknown => "Unknown",
    };
    format!("rpc error: code = {code} desc = {}", error.message)
}

fn whole_ms(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    format_go(Duration::from_millis(ms))
}

impl Puller {
    /// A puller; `parallel` pulls at once, 0 is no bound of the configuration.
    pub fn new(images: Arc<dyn ImageService>, recorder: Recorder, clock: Clock, parallel: usize) -> Self {
        let parallel = if parallel == 0 { PULLS_MAX } else { parallel };
        Self {
            images,
            recorder,
            clock,
            pulls: Semaphore::new(parallel),
            back_off: Mutex::default(),
            last_errors: Mutex::default(),
        }
    }

    /// Makes sure that a container's image is there; returns it. Those of the secrets' credentials that are for its
    /// registry are tried in order.
    pub async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        object: &ObjectReference,
        secrets: &[Secret],
    ) -> Result<Image, PullFailure> {
        let wanted = container.image.as_deref().unwrap_or_default();
        let reference = pull::reference(wanted).map_err(|message| {
            self.recorder.warning(object.clone(), "InspectFailed", message.clone());
            failure("InvalidImageName", message)
        })?;
        let present = self.images.image_status(&reference).await.map_err(|error| {
            let message = format!("Failed to inspect image {wanted:?}: {error}");
            self.recorder.warning(object.clone(), "InspectFailed", message.clone());
            failure("ImageInspectError", message)
        })?;
        match pull::decide(container.image_pull_policy.as_deref(), present.is_some()) {
            PullVerdict::Never => {
                let message = format!("Container image {wanted:?} is not present with pull policy of Never");
                self.recorder.warning(object.clone(), "ErrImageNeverPull", message.clone());
                return Err(failure("ErrImageNeverPull", message));
            }
            PullVerdict::Present => {
                if let Some(image) = present {
                    let message = format!(
                        "Container image {wanted:?} already present on machine and can be accessed by the pod"
                    );
                    self.recorder.normal(object.clone(), "Pulled", message);
                    return Ok(image);
                }
            }
            PullVerdict::Pull => {}
        }
        self.pull(pod, wanted, &reference, object, &keyring::lookup(secrets, &reference)).await
    }

    async fn pull(
        &self,
        pod: &Pod,
        wanted: &str,
        reference: &str,
        object: &ObjectReference,
        credentials: &[AuthConfig],
    ) -> Result<Image, PullFailure> {
        let key = format!("{}_{wanted}", pod::uid(pod));
        let now = self.clock.now();
        if let Some(end) = self.back_off.lock().until_since_update(&key, now) {
            let mut message = format!("Back-off pulling image {wanted:?}");
            self.recorder.normal(object.clone(), "BackOff", message.clone());
            if let Some(last) = self.last_errors.lock().get(&key) {
                message = format!("{message}: {last}");
            }
            return Err(PullFailure { retry_at: Some(end), ..failure("ImagePullBackOff", message) });
        }
        self.last_errors.lock().remove(&key);
        self.recorder.normal(object.clone(), "Pulling", format!("Pulling image {wanted:?}"));
        let asked = Instant::now();
        let permit = self.pulls.acquire().await;
        let begun = Instant::now();
        let outcome = self.pull_with_any(reference, credentials).await;
        drop(permit);
        match outcome {
            Ok((image, size_bytes)) => {
                let message = format!(
                    "Successfully pulled image {wanted:?} in {} ({} including waiting). Image size: {size_bytes} bytes.",
                    whole_ms(begun.elapsed()),
                    whole_ms(asked.elapsed()),
                );
                self.recorder.normal(object.clone(), "Pulled", message);
                Ok(image)
            }
            Err(text) => {
                let event = format!("Failed to pull image {wanted:?}: {text}");
                self.recorder.warning(object.clone(), "Failed", event);
                let now = self.clock.now();
                self.back_off.lock().next(&key, now, now);
                self.last_errors.lock().insert(key.clone(), format!("ErrImagePull: {text}"));
                let retry_at = self.back_off.lock().until_since_update(&key, now);
                Err(PullFailure { retry_at, ..failure("ErrImagePull", text) })
            }
        }
    }

    /// Pulls with each of the credentials until one is good; without any, anonymously. An error is text as gRPC would
    /// have carried it; several are listed.
    async fn pull_with_any(
        &self,
        reference: &str,
        credentials: &[AuthConfig],
    ) -> Result<(Image, u64), String> {
        let anonymous = std::iter::once(None).filter(|_| credentials.is_empty());
        let mut errors: Vec<String> = Vec::new();
        for credential in credentials.iter().map(Some).chain(anonymous) {
            match self.pull_once(reference, credential).await {
                Ok(pulled) => return Ok(pulled),
                Err(error) => {
                    let text = as_rpc(&error);
                    if !errors.contains(&text) {
                        errors.push(text);
                    }
                }
            }
        }
        Err(match errors.len() {
            1 => errors.remove(0),
            _ => format!("[{}]", errors.join(", ")),
        })
    }

    async fn pull_once(
        &self,
        reference: &str,
        credential: Option<&AuthConfig>,
    ) -> Result<(Image, u64), cri::Error> {
        let pulled = self.images.pull_image(reference, credential, None).await?;
        let image = self.images.image_status(&pulled.image_id).await?;
        let gone = || cri::Error::not_found(format!("image {reference:?} is gone right after its pull"));
        Ok((image.ok_or_else(gone)?, pulled.size_bytes))
    }

    /// Forgets a Pod's back-off.
    pub fn forget(&self, uid: &str) {
        self.back_off.lock().forget(&format!("{uid}_"));
        self.last_errors.lock().retain(|key, _| !key.starts_with(uid));
    }
}

/// A Pod's `imagePullSecrets`, as far as they are there.
pub async fn pull_secrets(shared: &crate::shared::Shared, pod: &Pod) -> Vec<Secret> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    // The API takes entries without a name; they mean nothing.
    let named = pod::spec(pod).image_pull_secrets.iter().flatten().filter(|own| !own.name.is_empty());
    for reference in named {
        match shared.objects.secret(pod::namespace(pod), &reference.name).await {
            Ok(secret) => found.push(secret),
            Err(status) => {
                tracing::warn!(secret = reference.name, error = status.message, "image pull secret");
                missing.push(reference.name.as_str());
            }
        }
    }
    if !missing.is_empty() {
        let message = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        let object = crate::api::pod_reference(pod);
        shared.recorder.warning(object, "FailedToRetrieveImagePullSecret", message);
    }
    found
}
