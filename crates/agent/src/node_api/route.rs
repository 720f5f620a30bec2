//! Paths: which handler answers, and as which subresource of the node access is asked for
//! (pkg/kubelet/server/auth.go).

use http::Method;

use super::query::decode;

/// A container (or with an empty container name, a Pod) in a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Namespace.
    pub namespace: String,
    /// Pod name.
    pub pod: String,
    /// Pod UID, if the path has one.
    pub uid: Option<String>,
    /// Container name.
    pub container: String,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/healthz` and what is below.
    Health,
    /// `/pods`.
    Pods,
    /// `/runningpods/`.
    RunningPods,
    /// `/metrics`.
    Metrics,
    /// `/metrics/resource`.
    ResourceMetrics,
    /// `/metrics/probes`.
    ProbeMetrics,
    /// `/metrics/cadvisor`.
    CadvisorMetrics,
    /// `/stats/summary`.
    Summary,
    /// `/configz`.
    Config,
    /// `/containerLogs/…`.
    Logs(Target),
    /// `/exec/…`.
    Exec(Target),
    /// `/attach/…`.
    Attach(Target),
    /// `/run/…`.
    Run(Target),
    /// `/portForward/…`.
    PortForward(Target),
    /// `/checkpoint/…`.
    Checkpoint(Target),
}

/// Why there is no handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoute {
    /// No such path.
    NotFound,
    /// Another method is needed.
    Method,
}

fn target(parts: &[&str], container: bool) -> Option<Target> {
    let (uid, name) = match (parts.len(), container) {
        (3, true) => (None, parts[2]),
        (4, true) => (Some(parts[2]), parts[3]),
        (2, false) => (None, ""),
        (3, false) => (Some(parts[2]), ""),
        _ => return None,
    };
    Some(Target {
        namespace: decode(parts[0]),
        pod: decode(parts[1]),
        uid: uid.map(decode),
        container: decode(name),
    })
}

/// Finds the handler.
///
/// # Errors
/// When there is none.
pub fn route(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (get, post) = (&[Method::GET, Method::HEAD][..], &[Method::POST][..]);
    let both = &[Method::GET, Method::POST][..];
    let (root, rest) = parts.split_first().ok_or(NoRoute::NotFound)?;
    let found = match (*root, rest) {
        ("healthz", _) => Some((Route::Health, get)),
        ("pods", []) => Some((Route::Pods, get)),
        ("runningpods", []) => Some((Route::RunningPods, get)),
        ("metrics", []) => Some((Route::Metrics, get)),
        ("metrics", ["resource"]) => Some((Route::ResourceMetrics, get)),
        ("metrics", ["probes"]) => Some((Route::ProbeMetrics, get)),
        ("metrics", ["cadvisor"]) => Some((Route::CadvisorMetrics, get)),
        ("stats", ["summary"]) => Some((Route::Summary, get)),
        ("configz", []) => Some((Route::Config, get)),
        ("containerLogs", [_, _, _]) => target(rest, true).map(|target| (Route::Logs(target), get)),
        ("exec", _) => target(rest, true).map(|target| (Route::Exec(target), both)),
        ("attach", _) => target(rest, true).map(|target| (Route::Attach(target), both)),
        ("run", _) => target(rest, true).map(|target| (Route::Run(target), post)),
        ("portForward", _) => target(rest, false).map(|target| (Route::PortForward(target), both)),
        ("checkpoint", [_, _, _]) => target(rest, true).map(|target| (Route::Checkpoint(target), post)),
        _ => None,
    };
    let (route, methods) = found.ok_or(NoRoute::NotFound)?;
    if methods.contains(method) { Ok(route) } else { Err(NoRoute::Method) }
}

/// The API's verb for a method.
pub fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "GET" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

/// Roots of paths with the subresources that stand for them; any other path is `proxy`.
const SUBRESOURCES: [(&str, &[&str]); 9] = [
    ("/pods", &["pods", "proxy"]),
    ("/healthz", &["healthz", "proxy"]),
    ("/configz", &["configz", "proxy"]),
    ("/runningpods", &["pods", "proxy"]),
    ("/stats", &["stats"]),
    ("/metrics", &["metrics"]),
    ("/logs", &["log"]),
    ("/checkpoint", &["checkpoint"]),
    ("/statusz", &["statusz"]),
];

/// Subresources of `nodes` that access to a path is asked for; any of them is enough.
pub fn subresources(path: &str) -> &'static [&'static str] {
    let below =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    SUBRESOURCES.iter().find(|(root, _)| below(root)).map_or(&["proxy"], |(_, subresources)| subresources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(uid: Option<&str>, container: &str) -> Target {
        Target {
            namespace: "n".into(),
            pod: "p".into(),
            uid: uid.map(Into::into),
            container: container.into(),
        }
    }

    #[test]
    fn paths_lead_to_handlers() {
        let table: [(&str, &str, Result<Route, NoRoute>); 17] = [
            ("GET", "/healthz", Ok(Route::Health)),
            ("GET", "/healthz/ping", Ok(Route::Health)),
            ("GET", "/pods", Ok(Route::Pods)),
            ("GET", "/pods/", Ok(Route::Pods)),
            ("POST", "/pods", Err(NoRoute::Method)),
            ("GET", "/runningpods/", Ok(Route::RunningPods)),
            ("GET", "/stats/summary", Ok(Route::Summary)),
            ("GET", "/containerLogs/n/p/c", Ok(Route::Logs(at(None, "c")))),
            ("POST", "/containerLogs/n/p/c", Err(NoRoute::Method)),
            ("GET", "/containerLogs/n/p", Err(NoRoute::NotFound)),
            ("POST", "/exec/n/p/c", Ok(Route::Exec(at(None, "c")))),
            ("GET", "/exec/n/p/u/c", Ok(Route::Exec(at(Some("u"), "c")))),
            ("GET", "/attach/n/p/c", Ok(Route::Attach(at(None, "c")))),
            ("POST", "/portForward/n/p", Ok(Route::PortForward(at(None, "")))),
            ("POST", "/portForward/n/p/u", Ok(Route::PortForward(at(Some("u"), "")))),
            ("GET", "/", Err(NoRoute::NotFound)),
            ("GET", "/nothing", Err(NoRoute::NotFound)),
        ];
        for (method, path, expected) in table {
            assert_eq!(route(&method.parse().unwrap(), path), expected, "{method} {path}");
        }
    }

    #[test]
    fn paths_stand_for_subresources() {
        let table: [(&str, &[&str]); 8] = [
            ("/pods", &["pods", "proxy"]),
            ("/podsx", &["proxy"]),
            ("/runningpods/", &["pods", "proxy"]),
            ("/stats/summary", &["stats"]),
            ("/metrics/resource", &["metrics"]),
            ("/logs/messages", &["log"]),
            ("/exec/n/p/c", &["proxy"]),
            ("/containerLogs/n/p/c", &["proxy"]),
        ];
        for (path, expected) in table {
            assert_eq!(subresources(path), expected, "{path}");
        }
        assert_eq!((verb(&Method::GET), verb(&Method::POST), verb(&Method::HEAD)), ("get", "create", ""));
    }
}
