//! Who may do what, and what policies do to a change: the seams, with simple things behind them.

mod support;

use std::sync::Arc;

use apiserver::seams::{
    Admission, AdmissionRequest, Attributes, Authenticator, Authorizer, Decision, Operation, PeerCertificates,
};
use async_trait::async_trait;
use client::full_body;
use http_body_util::BodyExt;
use model::tree::TreeExt;
use model::{GroupResource, Status, UserInfo};
use parking_lot::Mutex;
use resources::Resource;
use serde_json::{Value, json};
use support::Harness;

/// `jane` may get; `root` may do everything; nobody else anything.
struct Rules(Mutex<Vec<String>>);

#[async_trait]
impl Authorizer for Rules {
    async fn authorize(&self, asked: &Attributes) -> Decision {
        self.0.lock().push(format!("{} {} {}", asked.verb, asked.full_resource(), asked.name));
        match asked.user.username.as_str() {
            "root" => Decision::allow(""),
            "jane" if asked.verb == "get" => Decision::allow(""),
            "jane" => Decision::no_opinion(""),
            _ => Decision::no_opinion("who is this?"),
        }
    }
}

/// `Authorization: Bearer NAME`.
struct Names;

#[async_trait]
impl Authenticator for Names {
    async fn authenticate(
        &self,
        parts: &http::request::Parts,
        _peer: &PeerCertificates,
    ) -> Result<Option<UserInfo>, Status> {
        let header = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
        match header.and_then(|text| text.strip_prefix("Bearer ")) {
            Some("wrong") => Err(Status::unauthorized()),
            Some(name) => Ok(Some(UserInfo::authenticated(name, &[]))),
            None => Ok(None),
        }
    }
}

async fn ask(it: &Harness, line: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let (method, uri) = line.split_once(' ').unwrap();
    let mut request = http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = it.server.handle(request.body(full_body("{}")).unwrap(), None).await;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn refusals_read_as_upstreams() {
    let rules = Arc::new(Rules(Mutex::default()));
    let authorizer = Arc::clone(&rules);
    let it = Harness::with(|options| {
        options.authenticators = vec![Arc::new(Names)];
        options.authorizer = authorizer;
    })
    .await;
    let jane = ("authorization", "Bearer jane");
    let root = ("authorization", "Bearer root");
    let act = ("impersonate-user", "jane");
    type Headers<'h> = &'h [(&'h str, &'h str)];
    let table: &[(&str, Headers<'_>, u16, &str)] = &[
        (
            "GET /api/v1/namespaces/default/pods",
            &[jane],
            403,
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "GET /api/v1/nodes",
            &[],
            403,
            "nodes is forbidden: User \"system:anonymous\" cannot list resource \"nodes\" in API group \"\" at the cluster \
             scope: who is this?",
        ),
        (
            "DELETE /apis/apps/v1/namespaces/a/deployments/d",
            &[jane],
            403,
            "deployments.apps \"d\" is forbidden: User \"jane\" cannot delete resource \"deployments\" in API group \
             \"apps\" in the namespace \"a\"",
        ),
        (
            "GET /api/v1/namespaces/a/pods/p/exec?command=x",
            &[jane],
            403,
            "pods \"p\" is forbidden: User \"jane\" cannot create resource \"pods/exec\" in API group \"\" in the \
             namespace \"a\"",
        ),
        ("POST /version", &[jane], 403, "forbidden: User \"jane\" cannot post path \"/version\""),
        ("GET /api/v1/namespaces/default/pods/p", &[jane], 404, "pods \"p\" not found"),
        ("GET /api/v1/namespaces/default/pods/p", &[("authorization", "Bearer wrong")], 401, "Unauthorized"),
        (
            "GET /api/v1/namespaces/default/pods/p",
            &[jane, act],
            403,
            "users \"jane\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" at the \
             cluster scope",
        ),
        (
            "GET /api/v1/namespaces/default/pods",
            &[root, act],
            403,
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
        ),
    ];
    for (line, headers, code, message) in table {
        let (found, body) = ask(&it, line, headers).await;
        assert_eq!((found, body.text(&["message"])), (*code, *message), "{line} {headers:?}");
    }
    let headers =
        [root, ("impersonate-user", "x"), ("impersonate-group", "g"), ("impersonate-extra-a%2fb", "v")];
    rules.0.lock().clear();
    ask(&it, "GET /api/v1/nodes", &headers).await;
    let asked = rules.0.lock().clone();
    assert_eq!(asked[..3], ["impersonate users x", "impersonate groups g", "impersonate userextras/a/b v"]);
}

/// Labels what is created; refuses what is called `bad`; notes what it saw.
#[derive(Default)]
struct Policy(Mutex<Vec<String>>);

#[async_trait]
impl Admission for Policy {
    fn name(&self) -> &'static str {
        "Test"
    }

    fn handles(&self, _operation: Operation, resource: &Resource, _subresource: Option<&str>) -> bool {
        resource.plural == "configmaps"
    }

    async fn mutate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if request.operation == Operation::Create {
            request.object["metadata"]["labels"] = json!({"seen": "yes"});
            request.object["bogus"] = json!(true);
            request.warnings.push("careful \"you\"".into());
        }
        Ok(())
    }

    async fn validate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let line = format!("{} {} {}", request.operation.as_str(), request.name, request.old.is_some());
        self.0.lock().push(line);
        assert!(request.object.get("bogus").is_none(), "normalised after mutation");
        let resource = GroupResource::new("", "configmaps");
        match request.name.as_str() {
            "bad" => Err(Status::forbidden(&resource, "bad", "no")),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn every_change_passes_admission() {
    let policy = Arc::new(Policy::default());
    let plugin = Arc::clone(&policy);
    let it = Harness::with(|options| options.admission = vec![plugin]).await;
    let path = "/api/v1/namespaces/default/configmaps";
    let made = it.json(&format!("POST {path}"), &json!({"metadata": {"name": "a"}})).await;
    assert_eq!((made.code, &made.body["metadata"]["labels"]["seen"]), (201, &json!("yes")));
    assert_eq!(made.headers["warning"], "299 - \"careful \\\"you\\\"\"");
    let bad = it.json(&format!("POST {path}"), &json!({"metadata": {"name": "bad"}})).await;
    assert_eq!((bad.code, bad.message()), (403, "configmaps \"bad\" is forbidden: no"));
    it.json(&format!("PUT {path}/a"), &json!({"data": {"k": "v"}})).await;
    let merge = [("content-type", "application/merge-patch+json")];
    it.send(&format!("PATCH {path}/a"), &merge, "{\"data\":{\"k\":\"w\"}}").await;
    it.call(&format!("DELETE {path}")).await;
    let seen = policy.0.lock().clone();
    let expected = ["CREATE a false", "CREATE bad false", "UPDATE a true", "UPDATE a true", "DELETE a true"];
    assert_eq!(seen, expected);
}
