//! From method and path to what is asked for (k8s.io/apiserver/pkg/endpoints/request `RequestInfo`).

use std::sync::Arc;

use http::Method;

use super::query::{Query, percent_decode};
use crate::routes::{Routes, Served};

/// What a request asks for.
#[derive(Default)]
pub struct Route {
    /// Lower-case verb: `get`, `list`, …; for other paths the method.
    pub verb: &'static str,
    /// Path as sent.
    pub path: String,
    /// Whether the path is one of resources (served or not).
    pub resource_request: bool,
    /// API group in the path.
    pub group: String,
    /// Version in the path.
    pub version: String,
    /// Plural name in the path.
    pub plural: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name, or empty.
    pub name: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// What follows the subresource (proxied paths), with its leading slash; or empty.
    pub rest: String,
    /// The resource, if it is served.
    pub served: Option<Arc<Served>>,
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

/// Subresources that hand the connection on: the verb is the method's, the rest of the path is theirs.
pub const CONNECT: &[&str] = &["exec", "attach", "portforward", "proxy"];

impl Route {
    /// Reads method, path and query.
    pub fn parse(routes: &Routes, method: &Method, path: &str, query: &Query) -> Self {
        let mut route = Self { verb: method_verb(method), path: path.to_owned(), ..Self::default() };
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        match parts.next() {
            Some("api") => {}
            Some("apis") => match parts.next() {
                Some(group) => route.group = percent_decode(group),
                None => return route,
            },
            _ => return route,
        }
        let Some(version) = parts.next() else { return route };
        route.version = percent_decode(version);
        let mut rest: Vec<&str> = parts.collect();
        if rest.is_empty() {
            return route;
        }
        let watch_path = rest.first() == Some(&"watch") && rest.len() > 1;
        if watch_path {
            rest.remove(0);
        }
        route.resource_request = true;
        route.read_resource(&rest);
        route.verb = route.resource_verb(method, watch_path, query);
        route.served = routes.find(&route.group, &route.version, &route.plural).cloned();
        if route.name.is_empty() && matches!(route.verb, "list" | "watch" | "deletecollection") {
            route.name = selected_name(query);
        }
        route
    }

    fn read_resource(&mut self, parts: &[&str]) {
        let mut parts = parts;
        if let ["namespaces", namespace, more @ ..] = parts {
            self.namespace = percent_decode(namespace);
            let own = matches!(more, [] | ["status" | "finalize"]) && self.group.is_empty();
            if !own && !more.is_empty() {
                parts = more;
            }
        }
        let text = |at: usize| parts.get(at).map(|part| percent_decode(part)).unwrap_or_default();
        (self.plural, self.name, self.subresource) = (text(0), text(1), text(2));
        if parts.len() > 3 {
            self.rest = parts[3..].iter().flat_map(|part| ["/", part]).collect();
        }
        if self.subresource == "proxy" && self.path.ends_with('/') {
            self.rest.push('/');
        }
    }

    fn resource_verb(&self, method: &Method, watch_path: bool, query: &Query) -> &'static str {
        match *method {
            Method::GET | Method::HEAD if watch_path => "watch",
            Method::GET | Method::HEAD if !self.name.is_empty() => {
                // A single object may be watched by name with `?watch=true` only as a collection.
                "get"
            }
            Method::GET | Method::HEAD if query.flag("watch") => "watch",
            Method::GET | Method::HEAD => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if self.name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ => "",
        }
    }

    /// Whether answering may take as long as it likes.
    pub fn long_running(&self) -> bool {
        self.verb == "watch"
            || CONNECT.contains(&self.subresource.as_str())
            || (self.subresource == "log" && self.plural == "pods")
    }

    /// Whether something may be changed.
    pub fn mutating(&self) -> bool {
        matches!(self.verb, "create" | "update" | "patch" | "delete" | "deletecollection" | "post" | "put")
    }
}

/// The name that a field selector `metadata.name=x` asks for; authorization may name it.
fn selected_name(query: &Query) -> String {
    let Some(text) = query.get("fieldSelector").filter(|text| text.contains("metadata.name")) else {
        return String::new();
    };
    let selector = model::selector::FieldSelector::parse(text).unwrap_or_default();
    selector.exact("metadata.name").unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        let routes = Routes::new(Arc::new(resources::registry().clone()));
        let table: &[(&str, &str, &str)] = &[
            ("GET", "/api/v1/pods", "list  pods  "),
            ("GET", "/api/v1/pods?watch=1", "watch  pods  "),
            ("GET", "/api/v1/watch/namespaces/a/pods", "watch a pods  "),
            ("GET", "/api/v1/namespaces/a/pods/p/log", "get a pods p log"),
            ("POST", "/api/v1/namespaces/a/pods/p/exec?command=x", "create a pods p exec"),
            ("GET", "/api/v1/namespaces", "list  namespaces  "),
            ("GET", "/api/v1/namespaces/a", "get a namespaces a "),
            ("PUT", "/api/v1/namespaces/a/finalize", "update a namespaces a finalize"),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection a deployments  "),
            ("GET", "/api/v1/nodes/n/proxy/logs/x", "get  nodes n proxy"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list  pods x "),
        ];
        for (method, uri, expected) in table {
            let uri: http::Uri = uri.parse().unwrap();
            let query = Query::parse(uri.query());
            let route = Route::parse(&routes, &method.parse().unwrap(), uri.path(), &query);
            let found = format!(
                "{} {} {} {} {}",
                route.verb, route.namespace, route.plural, route.name, route.subresource
            );
            assert_eq!(found, *expected, "{uri}");
            assert!(route.served.is_some());
        }
        let none = Route::parse(&routes, &Method::GET, "/apis/apps/v1", &Query::default());
        assert!(!none.resource_request && none.group == "apps");
    }
}
