//! What stands in the files of configMap, secret, downwardAPI and projected volumes. Pure: objects and tokens come in,
//! files or upstream's words come out.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume};
use model::tree::TreeExt;
use podlogic::downward::{self, Facts};
use podlogic::pod;
use serde_json::Value;

use super::atomic::{self, File, Files};
use super::objects::{Key, Known};
use super::tokens::TokenKey;

/// Permission bits where none are given.
const MODE: i32 = 0o644;

/// What files are made from.
pub struct Sources<'a> {
    /// The Pod and what the downward API tells of its surroundings.
    pub facts: Facts<'a>,
    /// ConfigMaps and Secrets.
    pub objects: &'a HashMap<Key, Known>,
    /// Tokens.
    pub tokens: &'a HashMap<TokenKey, String>,
    /// User that owns token files; tokens are then for that user only.
    pub user: Option<u32>,
    /// Whether the Pod has an `fsGroup`.
    pub group: bool,
}

/// Objects and tokens that a volume needs.
pub fn needs(pod: &Pod, volume: &Volume) -> (Vec<Key>, Vec<TokenKey>) {
    let key = |plural: &'static str, name: &str| Key {
        plural,
        namespace: pod::namespace(pod).to_owned(),
        name: name.to_owned(),
    };
    let (mut keys, mut tokens) = (Vec::new(), Vec::new());
    if let Some(source) = &volume.config_map {
        keys.push(key("configmaps", &source.name));
    }
    if let Some(source) = &volume.secret {
        keys.push(key("secrets", source.secret_name.as_deref().unwrap_or_default()));
    }
    for source in volume.projected.iter().flat_map(|own| own.sources.iter().flatten()) {
        if let Some(source) = &source.config_map {
            keys.push(key("configmaps", &source.name));
        }
        if let Some(source) = &source.secret {
            keys.push(key("secrets", &source.name));
        }
        if let Some(source) = &source.service_account_token {
            tokens.push(TokenKey::new(source.audience.as_deref(), source.expiration_seconds));
        }
    }
    (keys, tokens)
}

fn mode(own: Option<i32>, default: Option<i32>) -> u32 {
    u32::try_from(own.or(default).unwrap_or(MODE)).unwrap_or(0o644)
}

/// The entries of a ConfigMap or Secret.
fn entries(plural: &str, object: &Value) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut entries = BTreeMap::new();
    let mut add = |field: &str, encoded: bool| -> Result<(), String> {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            let data = if encoded {
                let decoded = base64::engine::general_purpose::STANDARD.decode(text);
                decoded.map_err(|error| format!("{plural} {:?} key {key:?}: {error}", object.name()))?
            } else {
                text.as_bytes().to_vec()
            };
            entries.insert(key.clone(), data);
        }
        Ok(())
    };
    add("data", plural == "secrets")?;
    if plural == "configmaps" {
        add("binaryData", true)?;
    }
    Ok(entries)
}

struct ObjectSource<'a> {
    plural: &'static str,
    name: &'a str,
    items: Option<&'a Vec<KeyToPath>>,
    default_mode: Option<i32>,
    optional: bool,
}

fn object_files(sources: &Sources<'_>, source: &ObjectSource<'_>) -> Result<Files, String> {
    let ObjectSource { plural, name, .. } = *source;
    let singular = plural.trim_end_matches('s');
    let namespace = pod::namespace(sources.facts.pod);
    let key = Key { plural, namespace: namespace.to_owned(), name: name.to_owned() };
    let object = match sources.objects.get(&key) {
        Some(Known::Found(object)) => object,
        Some(Known::Missing) if source.optional => return Ok(Files::new()),
        Some(Known::Missing) => return Err(format!("{singular} {name:?} not found")),
        Some(Known::Failed(status)) => return Err(format!("failed to sync {singular} cache: {status}")),
        Some(Known::Asking) | None => {
            return Err(format!("object {namespace:?}/{name:?} not registered"));
        }
    };
    let entries = entries(plural, object)?;
    let file = |data: &Vec<u8>, own: Option<i32>| File {
        data: data.clone(),
        mode: mode(own, source.default_mode),
        uid: None,
    };
    let Some(items) = source.items.filter(|items| !items.is_empty()) else {
        return Ok(entries.iter().map(|(key, data)| (key.clone(), file(data, None))).collect());
    };
    let mut files = Files::new();
    for item in items {
        match entries.get(&item.key) {
            Some(data) => drop(files.insert(item.path.clone(), file(data, item.mode))),
            None if source.optional => {}
            None if plural == "secrets" => {
                return Err(format!("references non-existent secret key: {}", item.key));
            }
            None => return Err(format!("configmap references non-existent config key: {}", item.key)),
        }
    }
    Ok(files)
}

fn downward_files(
    sources: &Sources<'_>,
    items: Option<&Vec<DownwardAPIVolumeFile>>,
    default_mode: Option<i32>,
) -> Result<Files, String> {
    let mut files = Files::new();
    for item in items.into_iter().flatten() {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => downward::field(&sources.facts, &reference.field_path)?,
            (None, Some(reference)) => {
                let name = reference.container_name.as_deref().unwrap_or_default();
                let found = pod::find_container(sources.facts.pod, name);
                let (_, container) = found.ok_or_else(|| format!("container {name} not found"))?;
                downward::resource(&sources.facts, &container, reference)?
            }
            (None, None) => continue,
        };
        let file = File { data: text.into_bytes(), mode: mode(item.mode, default_mode), uid: None };
        files.insert(item.path.clone(), file);
    }
    Ok(files)
}

fn projected_files(sources: &Sources<'_>, volume: &Volume) -> Result<Files, String> {
    let Some(projected) = &volume.projected else { return Ok(Files::new()) };
    let default_mode = projected.default_mode;
    let (mut files, mut errors) = (Files::new(), Vec::new());
    let mut take = |part: Result<Files, String>| match part {
        Ok(part) => files.extend(part),
        Err(error) => errors.push(error),
    };
    for source in projected.sources.iter().flatten() {
        if let Some(own) = &source.secret {
            let optional = own.optional.unwrap_or(false);
            let items = own.items.as_ref();
            let source = ObjectSource { plural: "secrets", name: &own.name, items, default_mode, optional };
            take(object_files(sources, &source));
        }
        if let Some(own) = &source.config_map {
            let optional = own.optional.unwrap_or(false);
            let items = own.items.as_ref();
            let source =
                ObjectSource { plural: "configmaps", name: &own.name, items, default_mode, optional };
            take(object_files(sources, &source));
        }
        if let Some(own) = &source.downward_api {
            take(downward_files(sources, own.items.as_ref(), default_mode));
        }
        if let Some(own) = &source.service_account_token {
            let key = TokenKey::new(own.audience.as_deref(), own.expiration_seconds);
            // A user or group of its own makes the token that one's secret.
            let private = sources.user.is_some() || sources.group;
            let mode = if private { 0o600 } else { mode(None, default_mode) };
            take(match sources.tokens.get(&key) {
                Some(token) => {
                    let file = File { data: token.clone().into_bytes(), mode, uid: sources.user };
                    Ok(Files::from([(own.path.clone(), file)]))
                }
                None => Err("failed to fetch token".into()),
            });
        }
        if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
            take(Err("this kind of projection is not supported on this node".into()));
        }
    }
    match errors.as_slice() {
        [] => Ok(files),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

/// The files of a volume; `None` if it is of another kind.
pub fn files(sources: &Sources<'_>, volume: &Volume) -> Option<Result<Files, String>> {
    let files = if let Some(own) = &volume.config_map {
        let source = ObjectSource {
            plural: "configmaps",
            name: &own.name,
            items: own.items.as_ref(),
            default_mode: own.default_mode,
            optional: own.optional.unwrap_or(false),
        };
        object_files(sources, &source)
    } else if let Some(own) = &volume.secret {
        let source = ObjectSource {
            plural: "secrets",
            name: own.secret_name.as_deref().unwrap_or_default(),
            items: own.items.as_ref(),
            default_mode: own.default_mode,
            optional: own.optional.unwrap_or(false),
        };
        object_files(sources, &source)
    } else if let Some(own) = &volume.downward_api {
        downward_files(sources, own.items.as_ref(), own.default_mode)
    } else if volume.projected.is_some() {
        projected_files(sources, volume)
    } else {
        return None;
    };
    // Paths come from the API, which checked them; here they meet the file system.
    Some(files.and_then(|files| {
        files.keys().try_for_each(|path| atomic::check_path(path))?;
        Ok(files)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(
        volume: Value,
        objects: &[(&'static str, &str, Known)],
        expected: Result<&[(&str, &str, u32)], &str>,
    ) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "a", "labels": {"l": "v"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "2"}}}]},
        }))
        .unwrap();
        let volume: Volume = serde_json::from_value(volume).unwrap();
        let key = |plural, name: &str| Key { plural, namespace: "a".into(), name: name.into() };
        let objects =
            objects.iter().map(|(plural, name, known)| (key(*plural, name), known.clone())).collect();
        let tokens = HashMap::from([(TokenKey::new(None, Some(3607)), "TOKEN".to_owned())]);
        let allocatable = BTreeMap::new();
        let facts = Facts { pod: &pod, pod_ips: &[], host_ips: &[], allocatable: &allocatable };
        let sources = Sources { facts, objects: &objects, tokens: &tokens, user: None, group: false };
        let found = files(&sources, &volume).unwrap();
        let found = found.map(|files| {
            let show =
                |(path, file): (String, File)| (path, String::from_utf8(file.data).unwrap(), file.mode);
            files.into_iter().map(show).collect::<Vec<_>>()
        });
        let own = |list: &[(&str, &str, u32)]| {
            list.iter().map(|(path, data, mode)| ((*path).into(), (*data).into(), *mode)).collect::<Vec<_>>()
        };
        assert_eq!(found, expected.map(own).map_err(str::to_owned));
    }

    fn found(object: Value) -> Known {
        Known::Found(object.into())
    }

    #[test]
    fn files_are_upstreams() {
        let map = || [("configmaps", "m", found(json!({"data": {"k": "v"}, "binaryData": {"b": "eA=="}})))];
        let items = json!({"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "d/k", "mode": 256}]}});
        let lost = json!({"name": "v", "configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}});
        check(
            json!({"name": "v", "configMap": {"name": "m", "defaultMode": 420}}),
            &map(),
            Ok(&[("b", "x", 420), ("k", "v", 420)]),
        );
        check(items, &map(), Ok(&[("d/k", "v", 256)]));
        check(lost, &map(), Err("configmap references non-existent config key: z"));
        let missing = [("secrets", "s", Known::Missing)];
        check(json!({"name": "v", "secret": {"secretName": "s"}}), &missing, Err("secret \"s\" not found"));
        check(json!({"name": "v", "secret": {"secretName": "s", "optional": true}}), &missing, Ok(&[]));
        let secret = [("secrets", "s", found(json!({"data": {"p": "c2VjcmV0"}})))];
        check(
            json!({"name": "v", "secret": {"secretName": "s", "defaultMode": 256}}),
            &secret,
            Ok(&[("p", "secret", 256)]),
        );
        let downward = json!({"name": "v", "downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}},
        ]}});
        check(downward, &[], Ok(&[("cpu", "2", 420), ("labels", "l=\"v\"", 420)]));
        let projected = json!({"name": "v", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "m", "items": [{"key": "k", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]}});
        check(
            projected.clone(),
            &map(),
            Ok(&[("ca.crt", "v", 420), ("namespace", "a", 420), ("token", "TOKEN", 420)]),
        );
        check(projected, &[("configmaps", "m", Known::Missing)], Err("configmap \"m\" not found"));
    }
}
