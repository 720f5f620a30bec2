//! Which credentials of a Pod's pull secrets are for an image: host (with `*` within its parts), port, and the
//! beginning of the path have to match, longer entries first, as upstream's keyring has it.

use cri::image::AuthConfig;
use cri::reference::{DEFAULT_DOMAIN, Reference};
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

/// Under this name clients note credentials for Docker's own registry.
const DEFAULT_REGISTRY: &str = "index.docker.io";

/// One entry of a secret: where it is for, what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    place: String,
    auth: AuthConfig,
}

/// The credentials to try for an image, in this order. None: it is pulled without.
pub fn lookup(secrets: &[Secret], image: &str) -> Vec<AuthConfig> {
    let Ok(reference) = Reference::parse_for_pull(image) else { return Vec::new() };
    let repository = format!("{}/{}", reference.domain, reference.path);
    let mut entries: Vec<Entry> = secrets.iter().flat_map(entries).collect();
    // Stable: of two secrets with the same place, the first comes first.
    entries.sort_by(|left, right| right.place.cmp(&left.place));
    let matching: Vec<&Entry> = entries.iter().filter(|own| matches(&own.place, &repository)).collect();
    let fallback = || entries.iter().filter(|own| own.place == DEFAULT_REGISTRY).collect::<Vec<_>>();
    let chosen = match matching.is_empty() && reference.domain == DEFAULT_DOMAIN {
        true => fallback(),
        false => matching,
    };
    // They were found for this registry: no mirror gets to see them.
    let bound = |own: &Entry| AuthConfig { server_address: reference.domain.clone(), ..own.auth.clone() };
    chosen.into_iter().map(bound).collect()
}

/// Entries of `.dockerconfigjson`, or of the older `.dockercfg`.
fn entries(secret: &Secret) -> Vec<Entry> {
    let data = secret.data.as_ref();
    let json = |key: &str| -> Option<Value> {
        let bytes = data.and_then(|data| data.get(key))?;
        serde_json::from_slice(&bytes.0).ok()
    };
    let servers = match (json(".dockerconfigjson"), json(".dockercfg")) {
        (Some(config), _) => config.get("auths").cloned().unwrap_or_default(),
        (None, Some(config)) => config,
        (None, None) => return Vec::new(),
    };
    let Value::Object(servers) = servers else { return Vec::new() };
    let text =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    servers
        .iter()
        .map(|(place, auth)| Entry {
            place: normalise(place),
            auth: AuthConfig {
                username: text(auth, "username"),
                password: text(auth, "password"),
                auth: text(auth, "auth"),
                identity_token: text(auth, "identitytoken"),
                registry_token: text(auth, "registrytoken"),
                server_address: String::new(),
            },
        })
        .collect()
}

/// Without scheme, and without the path of the API's version: those stand for the host.
fn normalise(place: &str) -> String {
    let rest = place.strip_prefix("https://").or_else(|| place.strip_prefix("http://")).unwrap_or(place);
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let path = match path.strip_prefix("/v1/").or_else(|| path.strip_prefix("/v2/")) {
        Some("") => "",
        Some(_) => &path[3..],
        None => path,
    };
    if path == "/" { host.to_owned() } else { format!("{host}{path}") }
}

fn matches(place: &str, repository: &str) -> bool {
    let split = |text: &str| {
        let (host, path) = text.find('/').map_or((text, ""), |at| text.split_at(at));
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port),
            _ => (host, ""),
        };
        (name.to_owned(), port.to_owned(), path.to_owned())
    };
    let ((place, place_port, place_path), (name, port, path)) = (split(place), split(repository));
    let (globs, parts): (Vec<&str>, Vec<&str>) = (place.split('.').collect(), name.split('.').collect());
    place_port == port
        && path.starts_with(&place_path)
        && globs.len() == parts.len()
        && globs.iter().zip(&parts).all(|(glob, part)| glob_matches(glob, part))
}

/// `*` is any text, `?` any character.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while position < text.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(own) if *own == '?' || *own == text[position] => {
                at += 1;
                position += 1;
            }
            _ => {
                // The last star takes one character more.
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                (at, position) = (star_at + 1, taken + 1);
            }
        }
    }
    glob[at..].iter().all(|own| *own == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use std::collections::BTreeMap;

    fn secret(key: &str, config: &Value) -> Secret {
        let data = BTreeMap::from([(key.to_owned(), ByteString(config.to_string().into_bytes()))]);
        Secret { data: Some(data), ..Secret::default() }
    }

    /// Users whose credentials are tried, in order.
    fn users(secrets: &[Secret], image: &str) -> Vec<String> {
        lookup(secrets, image).into_iter().map(|own| own.username).collect()
    }

    #[test]
    fn credentials_are_for_their_place_only() {
        // Place in the secret, image, whether it is used.
        let rows = [
            ("reg.example", "reg.example/a/b:1", true),
            ("https://reg.example/v1/", "reg.example/a", true),
            ("http://reg.example/v2/", "reg.example/a", true),
            ("reg.example/team", "reg.example/team/app", true),
            ("reg.example/team", "reg.example/other/app", false),
            ("reg.example:5000", "reg.example:5000/a", true),
            ("reg.example", "reg.example:5000/a", false),
            ("*.example", "reg.example/a", true),
            ("r*g.exa?ple", "reg.example/a", true),
            ("*.example", "a.b.example/x", false),
            ("other.example", "reg.example/a", false),
            ("https://index.docker.io/v1/", "nginx", true),
            ("docker.io", "nginx:1.23", true),
            ("index.docker.io/me", "me/app", false),
            ("reg.example", "nginx", false),
            ("reg.example", "Not An Image", false),
        ];
        for (place, image, used) in rows {
            let config = serde_json::json!({ "auths": { place: { "username": "u" } } });
            let found = users(&[secret(".dockerconfigjson", &config)], image);
            assert_eq!(!found.is_empty(), used, "{place} for {image}");
        }
    }

    #[test]
    fn longer_places_come_first_and_nothing_is_sent_elsewhere() {
        let config = serde_json::json!({ "auths": {
            "reg.example": { "username": "wide" }, "reg.example/team": { "username": "narrow" },
        } });
        let old = serde_json::json!({ "reg.example/team": { "username": "old" } });
        let secrets = [secret(".dockerconfigjson", &config), secret(".dockercfg", &old), Secret::default()];
        assert_eq!(users(&secrets, "reg.example/team/app"), ["narrow", "old", "wide"]);
        let found = lookup(&secrets, "reg.example/team/app");
        assert!(found.iter().all(|own| own.server_address == "reg.example"), "{found:?}");
        let broken = secret(".dockerconfigjson", &Value::String("nonsense".into()));
        assert!(users(&[broken], "reg.example/a").is_empty());
    }
}
