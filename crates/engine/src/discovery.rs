//! Which resources the server has, for controllers that act on all of them.

use client::Client;
use http::Method;
use model::Status;
use model::tree::TreeExt;
use serde_json::Value;

/// A resource as discovery tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Group.
    pub group: String,
    /// Preferred version.
    pub version: String,
    /// Plural name.
    pub plural: String,
    /// Kind.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Verbs.
    pub verbs: Vec<String>,
}

impl Served {
    /// Whether a verb is served.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|own| own == verb)
    }
}

/// All resources in their groups' preferred versions, without subresources.
///
/// # Errors
/// When discovery fails: acting on half of the resources would be wrong.
pub async fn resources(client: &Client) -> Result<Vec<Served>, Status> {
    let mut all = Vec::new();
    read(client, "/api/v1", "", "v1", &mut all).await?;
    let groups: Value = client.call(Method::GET, "/apis", None).await?;
    for group in groups.items(&["groups"]) {
        let (name, version) = (group.text(&["name"]), group.text(&["preferredVersion", "version"]));
        read(client, &format!("/apis/{name}/{version}"), name, version, &mut all).await?;
    }
    Ok(all)
}

async fn read(
    client: &Client,
    path: &str,
    group: &str,
    version: &str,
    all: &mut Vec<Served>,
) -> Result<(), Status> {
    let list: Value = client.call(Method::GET, path, None).await?;
    for resource in list.items(&["resources"]) {
        let plural = resource.text(&["name"]);
        if plural.contains('/') {
            continue;
        }
        all.push(Served {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            kind: resource.kind().to_owned(),
            namespaced: resource["namespaced"] == true,
            verbs: resource.items(&["verbs"]).iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        });
    }
    Ok(())
}
