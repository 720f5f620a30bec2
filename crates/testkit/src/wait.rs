//! Waiting for objects by watching them.

use std::collections::BTreeMap;
use std::time::Duration;

use client::typed::Object;
use client::{Client, ListOptions, WatchEvent, WatchOptions};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod};
use model::Status;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two attempts to reach a server that is starting again: there is nothing to listen to yet.
const RECONNECT: Duration = Duration::from_millis(100);

/// Objects by name.
pub type Objects<T> = BTreeMap<String, T>;

/// Watches a collection until `done` finds what it looks for.
///
/// # Panics
/// If that does not come in time; the text shows the objects' last states.
pub async fn until<T: Object, R>(
    client: &Client,
    namespace: Option<&str>,
    fields: &str,
    what: &str,
    mut done: impl FnMut(&Objects<T>) -> Option<R>,
) -> R {
    let mut objects = Objects::new();
    let mut problem = String::new();
    let work = async {
        loop {
            match follow(client, namespace, fields, &mut objects, &mut done).await {
                Ok(Some(found)) => return found,
                // The watch came to its end.
                Ok(None) => {}
                Err(status) => {
                    problem = status.message;
                    tokio::time::sleep(RECONNECT).await;
                }
            }
        }
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(found) => found,
        Err(_) => {
            let states: Vec<String> = objects.values().map(|own| show(own)).collect();
            let states = states.join("\n");
            panic!(
                "{what}: not within {PATIENCE:?}; {} {fields}:\n{states}\nlast error: {problem:?}",
                T::KIND
            );
        }
    }
}

async fn follow<T: Object, R>(
    client: &Client,
    namespace: Option<&str>,
    fields: &str,
    objects: &mut Objects<T>,
    done: &mut impl FnMut(&Objects<T>) -> Option<R>,
) -> Result<Option<R>, Status> {
    let selector = (!fields.is_empty()).then(|| fields.to_owned());
    let options = ListOptions { field_selector: selector.clone(), ..ListOptions::default() };
    let list = client.list::<T>(namespace, &options).await?;
    *objects = list.items.into_iter().map(|own| (key(&own), own)).collect();
    if let Some(found) = done(objects) {
        return Ok(Some(found));
    }
    let options = WatchOptions {
        field_selector: selector,
        resource_version: list.metadata.resource_version,
        ..WatchOptions::default()
    };
    let mut events = client.watch::<T>(namespace, &options).await?;
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(own) | WatchEvent::Modified(own) => {
                objects.insert(key(&own), own);
            }
            WatchEvent::Deleted(own) => {
                objects.remove(&key(&own));
            }
            WatchEvent::Bookmark { .. } => continue,
        }
        if let Some(found) = done(objects) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn key<T: Object>(object: &T) -> String {
    object.metadata().name.clone().unwrap_or_default()
}

fn show<T: Object>(object: &T) -> String {
    let value = serde_json::to_value(object).unwrap_or_default();
    format!("{}: {}", key(object), value.get("status").unwrap_or(&value))
}

/// Waits until one object is as wanted; the object.
///
/// # Panics
/// As [`until`].
pub async fn one<T: Object>(
    client: &Client,
    namespace: Option<&str>,
    name: &str,
    what: &str,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let fields = format!("metadata.name={name}");
    let pick = |objects: &Objects<T>| objects.get(name).filter(|own| wanted(own)).cloned();
    until(client, namespace, &fields, &format!("{} {name} {what}", T::KIND), pick).await
}

/// Waits until an object is gone.
///
/// # Panics
/// As [`until`].
pub async fn gone<T: Object>(client: &Client, namespace: Option<&str>, name: &str) {
    let fields = format!("metadata.name={name}");
    let pick = |objects: &Objects<T>| objects.is_empty().then_some(());
    until(client, namespace, &fields, &format!("{} {name} gone", T::KIND), pick).await;
}

/// Waits for an event about an object of the namespace `default`; its message.
///
/// # Panics
/// As [`until`].
pub async fn event(client: &Client, object: &str, reason: &str) -> String {
    let fields = format!("involvedObject.name={object},reason={reason}");
    let pick =
        |events: &Objects<Event>| events.values().next().map(|own| own.message.clone().unwrap_or_default());
    until(client, Some("default"), &fields, &format!("event {reason} of {object}"), pick).await
}

/// Waits until a Pod of the namespace `default` is as wanted.
///
/// # Panics
/// As [`until`].
pub async fn pod(client: &Client, name: &str, what: &str, wanted: impl Fn(&Pod) -> bool) -> Pod {
    one(client, Some("default"), name, what, wanted).await
}

/// Waits until a Pod is ready.
///
/// # Panics
/// As [`until`].
pub async fn ready(client: &Client, name: &str) -> Pod {
    pod(client, name, "ready", |pod| condition(pod, "Ready") == "True").await
}

/// Waits until a Pod is in this phase.
///
/// # Panics
/// As [`until`].
pub async fn phase(client: &Client, name: &str, phase: &str) -> Pod {
    let wanted = |pod: &Pod| pod.status.as_ref().and_then(|own| own.phase.as_deref()) == Some(phase);
    pod(client, name, phase, wanted).await
}

/// The status of a condition, or nothing.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> &'a str {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().find(|own| own.type_ == kind).map_or("", |own| own.status.as_str())
}
