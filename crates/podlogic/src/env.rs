//! A container's environment: `envFrom`, `env`, variables of services, and `$(NAME)` in values and command lines.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Service};

use crate::downward::{self, Facts};
use crate::pod;

/// Replaces `$(NAME)` by what `lookup` knows; unknown names stay as they are, `$$` stands for `$`.
pub fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => expanded.push_str(&value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

/// Expands a command line with the container's environment.
pub fn expand_all(words: Option<&Vec<String>>, envs: &[(String, String)]) -> Vec<String> {
    let lookup = |name: &str| envs.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    words.into_iter().flatten().map(|word| expand(word, &lookup)).collect()
}

/// Expands a command line with the plain values of `env` only, as probes and hooks do.
pub fn expand_static(words: Option<&Vec<String>>, container: &Container) -> Vec<String> {
    let plain: Vec<(String, String)> = container
        .env
        .iter()
        .flatten()
        .map(|own| (own.name.clone(), own.value.clone().unwrap_or_default()))
        .collect();
    expand_all(words, &plain)
}

/// What a fetched ConfigMap or Secret holds, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// Its entries.
    Found(BTreeMap<String, String>),
    /// It does not exist; the API's message.
    Missing(String),
    /// It could not be read.
    Failed(String),
}

/// ConfigMaps and Secrets that a container's environment refers to, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// ConfigMaps.
    pub config_maps: BTreeMap<String, Fetched>,
    /// Secrets.
    pub secrets: BTreeMap<String, Fetched>,
}

/// Names of (ConfigMaps, Secrets) that have to be fetched.
pub fn needed(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    for from in container.env_from.iter().flatten() {
        maps.extend(from.config_map_ref.iter().map(|own| own.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|own| own.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|own| own.value_from.as_ref()) {
        maps.extend(source.config_map_key_ref.iter().map(|own| own.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|own| own.name.clone()));
    }
    maps.sort();
    maps.dedup();
    secrets.sort();
    secrets.dedup();
    (maps, secrets)
}

fn entries<'a>(
    fetched: &'a BTreeMap<String, Fetched>,
    name: &str,
    optional: bool,
) -> Result<Option<&'a BTreeMap<String, String>>, String> {
    match fetched.get(name) {
        Some(Fetched::Found(entries)) => Ok(Some(entries)),
        Some(Fetched::Missing(_)) if optional => Ok(None),
        Some(Fetched::Missing(message) | Fetched::Failed(message)) => Err(message.clone()),
        None => Err(format!("{name:?} was not read")),
    }
}

/// The entry of a ConfigMap or Secret; `None` if it is optional and missing.
fn entry(
    fetched: &BTreeMap<String, Fetched>,
    kind: &str,
    (namespace, name, key): (&str, &str, &str),
    optional: bool,
) -> Result<Option<String>, String> {
    let Some(entries) = entries(fetched, name, optional)? else { return Ok(None) };
    match entries.get(key) {
        Some(value) => Ok(Some(value.clone())),
        None if optional => Ok(None),
        None => Err(format!("couldn't find key {key} in {kind} {namespace}/{name}")),
    }
}

fn resolve(
    source: &EnvVarSource,
    container: &Container,
    sources: &Sources,
    facts: &Facts<'_>,
) -> Result<Option<String>, String> {
    let namespace = pod::namespace(facts.pod);
    if let Some(field) = &source.field_ref {
        return downward::field(facts, &field.field_path).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        return downward::resource(facts, container, resource).map(Some);
    }
    if let Some(own) = &source.config_map_key_ref {
        let optional = own.optional == Some(true);
        return entry(&sources.config_maps, "ConfigMap", (namespace, &own.name, &own.key), optional);
    }
    if let Some(own) = &source.secret_key_ref {
        let optional = own.optional == Some(true);
        return entry(&sources.secrets, "Secret", (namespace, &own.name, &own.key), optional);
    }
    Ok(Some(String::new()))
}

/// The environment in order: `envFrom`, then `env`, then what services add. Later entries of a name win.
///
/// # Errors
/// Says what is missing, in upstream's words: the message of `CreateContainerConfigError`.
pub fn environment(
    container: &Container,
    sources: &Sources,
    services: &BTreeMap<String, String>,
    facts: &Facts<'_>,
) -> Result<Vec<(String, String)>, String> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let found = if let Some(own) = &from.config_map_ref {
            entries(&sources.config_maps, &own.name, own.optional == Some(true))?
        } else if let Some(own) = &from.secret_ref {
            entries(&sources.secrets, &own.name, own.optional == Some(true))?
        } else {
            None
        };
        let added = found.into_iter().flatten();
        known.extend(added.map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
    }
    let mut ordered: Vec<(String, String)> = Vec::new();
    for EnvVar { name, value, value_from } in container.env.iter().flatten() {
        let text = value.as_deref().unwrap_or_default();
        let resolved = match value_from {
            Some(source) if text.is_empty() => resolve(source, container, sources, facts)?,
            _ => {
                let lookup = |name: &str| known.get(name).or_else(|| services.get(name)).cloned();
                Some(expand(text, &lookup))
            }
        };
        let Some(resolved) = resolved else { continue };
        known.insert(name.clone(), resolved.clone());
        ordered.retain(|(own, _)| own != name);
        ordered.push((name.clone(), resolved));
    }
    let listed: Vec<String> = ordered.iter().map(|(name, _)| name.clone()).collect();
    let from_sources = known.into_iter().filter(|(name, _)| !listed.contains(name));
    let mut environment: Vec<(String, String)> = from_sources.collect();
    environment.extend(ordered);
    let missing = services.iter().filter(|(name, _)| !environment.iter().any(|(own, _)| own == *name));
    let missing: Vec<(String, String)> = missing.map(|(name, value)| (name.clone(), value.clone())).collect();
    environment.extend(missing);
    Ok(environment)
}

/// Variables of the services a Pod sees: those of its namespace where it wants links, and always those of
/// `default/kubernetes`.
pub fn service_variables<'a>(
    services: impl Iterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut own: Vec<&Service> = Vec::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let home = service.metadata.namespace.as_deref().unwrap_or_default();
        let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
        if address.is_empty() || address == "None" {
            continue;
        }
        if home == "default" && name == "kubernetes" {
            own.insert(0, service);
        } else if links && home == namespace {
            own.push(service);
        }
    }
    for service in own {
        add_service(service, &mut variables);
    }
    variables
}

fn add_service(service: &Service, variables: &mut BTreeMap<String, String>) {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let prefix = name.to_uppercase().replace('-', "_");
    let Some(spec) = &service.spec else { return };
    let address = spec.cluster_ip.as_deref().unwrap_or_default();
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return };
    variables.insert(format!("{prefix}_SERVICE_HOST"), address.to_owned());
    variables.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let name = name.to_uppercase().replace('-', "_");
            variables.insert(format!("{prefix}_SERVICE_PORT_{name}"), port.port.to_string());
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            variables.insert(format!("{prefix}_PORT"), url.clone());
        }
        let base = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        variables.insert(base.clone(), url);
        variables.insert(format!("{base}_PROTO"), protocol.to_lowercase());
        variables.insert(format!("{base}_PORT"), port.port.to_string());
        variables.insert(format!("{base}_ADDR"), address.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_as_upstream_does() {
        let lookup = |name: &str| (name == "A").then(|| "x".to_owned());
        for (text, expected) in [
            ("$(A)", "x"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$x"),
            ("$(B)", "$(B)"),
            ("a$(A)b$(A", "axb$(A"),
            ("$A $", "$A $"),
            ("100$$", "100$"),
        ] {
            assert_eq!(expand(text, &lookup), expected, "{text}");
        }
    }
}
