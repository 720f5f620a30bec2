//! Pods: from the request to `Ready` as a watch shows it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail};
use client::{DeleteOptions, Path, WatchEvent, WatchOptions};
use futures::{Stream, StreamExt};
use http::Method;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{NAMESPACE, User, call};

/// The image of the Pods: carob's own, so that no registry takes part.
const IMAGE: &str = "docker.io/library/carob-demo:latest";
/// Longest wait for the next event.
const WAIT: Duration = Duration::from_secs(120);

fn pod(name: &str) -> Value {
    let container =
        json!({"name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": ["serve"]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"bench": "pods"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}})
}

fn collection() -> Path {
    Path::collection("", "v1", "pods", Some(NAMESPACE))
}

/// Events of the Pods from now on.
struct Watch<S> {
    events: S,
}

type Event = Result<WatchEvent<Pod>, model::Status>;

async fn watch(user: &User) -> anyhow::Result<Watch<impl Stream<Item = Event> + Unpin + use<>>> {
    let list = call(&user.client, Method::GET, &format!("{}?limit=1", collection().as_str()), None).await?;
    let revision = list["metadata"]["resourceVersion"].as_str().context("a list has a revision")?;
    let options = WatchOptions {
        label_selector: Some("bench=pods".into()),
        resource_version: Some(revision.to_owned()),
        ..WatchOptions::default()
    };
    let events = user.client.watch::<Pod>(Some(NAMESPACE), &options).await;
    Ok(Watch { events: events.map_err(|status| anyhow::anyhow!("watching Pods: {}", status.message))? })
}

impl<S: Stream<Item = Event> + Unpin> Watch<S> {
    async fn next(&mut self) -> anyhow::Result<WatchEvent<Pod>> {
        let event = tokio::time::timeout(WAIT, self.events.next()).await.context("no event came in time")?;
        let event = event.context("the watch ended")?;
        event.map_err(|status| anyhow::anyhow!("the watch failed: {}", status.message))
    }

    /// Reads on until all of these are Ready; gives the moment of the last.
    async fn ready(&mut self, names: &[String]) -> anyhow::Result<Instant> {
        let mut left: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        while !left.is_empty() {
            if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = self.next().await?
                && is_ready(&pod)
            {
                left.remove(pod.metadata.name.as_deref().unwrap_or_default());
            }
        }
        Ok(Instant::now())
    }

    /// Reads on until all of these are gone.
    async fn gone(&mut self, names: &[String]) -> anyhow::Result<()> {
        let mut left: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        while !left.is_empty() {
            if let WatchEvent::Deleted(pod) = self.next().await? {
                left.remove(pod.metadata.name.as_deref().unwrap_or_default());
            }
        }
        Ok(())
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|own| own.type_ == "Ready" && own.status == "True")
}

async fn post(user: &User, name: &str) -> anyhow::Result<()> {
    call(&user.client, Method::POST, collection().as_str(), Some(&pod(name))).await.map(|_| ())
}

/// One Pod after the other, each gone before the next: milliseconds from the request to `Ready`.
pub async fn in_turn(user: &User, count: usize) -> anyhow::Result<Vec<f64>> {
    let mut watch = watch(user).await?;
    let mut samples = Vec::new();
    for index in 0..count {
        let names = [format!("turn-{index}")];
        let begin = Instant::now();
        post(user, &names[0]).await?;
        let ready = watch.ready(&names).await?;
        samples.push(ready.duration_since(begin).as_secs_f64() * 1e3);
        remove(user, &names[0]).await?;
        watch.gone(&names).await?;
    }
    Ok(samples)
}

/// Many at once: notes the seconds from the first request until the last is `Ready`, gives their names.
pub async fn at_once(
    user: &User,
    count: usize,
    round: usize,
    samples: &mut Vec<f64>,
) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = (0..count).map(|index| format!("burst-{round}-{index}")).collect();
    let mut watch = watch(user).await?;
    let begin = Instant::now();
    let posts = futures::future::join_all(names.iter().map(|name| post(user, name)));
    let (posted, ready) = tokio::join!(posts, watch.ready(&names));
    posted.into_iter().collect::<anyhow::Result<()>>()?;
    samples.push(ready?.duration_since(begin).as_secs_f64());
    Ok(names)
}

/// Deletes Pods and returns when they are gone.
pub async fn delete(user: &User, names: &[String]) -> anyhow::Result<()> {
    let mut watch = watch(user).await?;
    let removals = futures::future::join_all(names.iter().map(|name| remove(user, name)));
    let (removed, gone) = tokio::join!(removals, watch.gone(names));
    removed.into_iter().collect::<anyhow::Result<()>>()?;
    gone
}

async fn remove(user: &User, name: &str) -> anyhow::Result<()> {
    let options = DeleteOptions { grace_period_s: Some(0), ..DeleteOptions::default() };
    match user.client.delete::<Pod>(Some(NAMESPACE), name, &options).await {
        Ok(_) => Ok(()),
        Err(status) => bail!("deleting {name}: {}", status.message),
    }
}
