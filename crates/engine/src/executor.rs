//! Performs what deciders decided, through the client. Acting twice is harmless: what is already so is success.

use client::{Client, DeleteOptions, Patch, Path};
use controllers::action::{Action, PatchKind, Target};
use http::Method;
use model::{Reason, Status};
use serde_json::Value;

/// Performs actions as one user.
#[derive(Clone)]
pub struct Executor {
    client: Client,
}

/// The path of a target's collection.
pub fn collection(target: &Target) -> Path {
    let namespace = Some(target.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    Path::collection(&target.group, &target.version, &target.plural, namespace)
}

/// The path of a target.
pub fn path(target: &Target) -> Path {
    collection(target).join(&target.name)
}

impl Executor {
    /// An executor over a client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Performs actions in order; the first failure ends it.
    ///
    /// # Errors
    /// What the API server said, but for what means that the wish is already fulfilled.
    pub async fn perform(&self, actions: &[Action]) -> Result<(), Status> {
        for action in actions {
            self.perform_one(action).await?;
        }
        Ok(())
    }

    async fn perform_one(&self, action: &Action) -> Result<(), Status> {
        match action {
            Action::Create { target, object } => {
                let answer = self.send(Method::POST, &collection(target), Some(object)).await;
                unless(answer, &[Reason::AlreadyExists])
            }
            Action::Replace { target, subresource, object } => {
                let path = below(target, subresource.as_deref());
                unless(self.send(Method::PUT, &path, Some(object)).await, &[Reason::NotFound])
            }
            Action::Patch { target, subresource, kind, patch } => {
                let patch = match kind {
                    PatchKind::Merge => Patch::Merge(patch.clone()),
                    PatchKind::Strategic => Patch::Strategic(patch.clone()),
                    PatchKind::Json => Patch::Json(patch.clone()),
                };
                unless(self.patch(&below(target, subresource.as_deref()), &patch).await, &[Reason::NotFound])
            }
            Action::Delete { target, uid, grace_s, propagation } => {
                let options = DeleteOptions {
                    uid: uid.clone(),
                    grace_period_s: *grace_s,
                    propagation_policy: propagation.map(str::to_owned),
                    ..DeleteOptions::default()
                };
                let answer = self.send(Method::DELETE, &path(target), Some(&options.body())).await;
                // A conflict is another object of that name: the one meant is gone.
                unless(answer, &[Reason::NotFound, Reason::Conflict])
            }
        }
    }

    async fn send(&self, method: Method, path: &Path, body: Option<&Value>) -> Result<(), Status> {
        self.client.call::<Value>(method, path.as_str(), body).await.map(drop)
    }

    async fn patch(&self, path: &Path, patch: &Patch) -> Result<(), Status> {
        let body = serde_json::to_vec(patch.body()).map_err(Status::internal)?;
        let answer = self
            .client
            .request(Method::PATCH, path.as_str(), Some(patch.content_type()), body.into())
            .await?;
        client::typed::read_bytes(answer.into_body()).await.map(drop)
    }
}

fn below(target: &Target, subresource: Option<&str>) -> Path {
    match subresource {
        Some(subresource) => path(target).join(subresource),
        None => path(target),
    }
}

fn unless(answer: Result<(), Status>, fine: &[Reason]) -> Result<(), Status> {
    match answer {
        Err(status) if fine.contains(&status.reason) => Ok(()),
        other => other,
    }
}
