//! Counters with upstream's names (k8s.io/apiserver/pkg/endpoints/metrics), for `/metrics`.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::pipeline::route::Route;
use crate::server::{MUTATING_MAX, READING_MAX, Server};

/// The server's metrics.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    watches: IntGaugeVec,
}

/// What a request is counted under.
pub struct Labels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    watch: bool,
}

/// A watch that is open, until dropped.
pub struct OpenWatch(prometheus::IntGauge);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.dec();
    }
}

const BUCKETS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

impl Metrics {
    /// New counters at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let resource = ["verb", "group", "version", "resource", "subresource", "scope"];
        let requests = IntCounterVec::new(
            Opts::new("apiserver_request_total", "Requests by verb, resource and HTTP code."),
            &["verb", "group", "version", "resource", "subresource", "scope", "code"],
        );
        let durations = HistogramVec::new(
            HistogramOpts::new("apiserver_request_duration_seconds", "Time to answer, in seconds.")
                .buckets(BUCKETS.to_vec()),
            &resource,
        );
        let watches = IntGaugeVec::new(
            Opts::new("apiserver_longrunning_requests", "Watches that are open."),
            &["verb", "group", "version", "resource"],
        );
        // The names above are valid and differ, so none of these fails.
        let (requests, durations, watches) = match (requests, durations, watches) {
            (Ok(requests), Ok(durations), Ok(watches)) => (requests, durations, watches),
            _ => unreachable!("constant metric names are valid"),
        };
        for collector in [
            Box::new(requests.clone()) as Box<dyn prometheus::core::Collector>,
            Box::new(durations.clone()),
            Box::new(watches.clone()),
        ] {
            if let Err(error) = registry.register(collector) {
                tracing::error!(%error, "a metric cannot be registered");
            }
        }
        Self { registry, requests, durations, watches }
    }

    /// Where others register theirs.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What a request counts under. Paths that are not served count together, so that nobody can make new series.
    pub fn labels(&self, route: &Route) -> Labels {
        let known = route.served.is_some();
        let own = |text: &String| if known { text.clone() } else { String::new() };
        let subresource = match &route.served {
            Some(served) if served.row.subresource(&route.subresource).is_some() => route.subresource.clone(),
            _ => String::new(),
        };
        Labels {
            verb: upper(route.verb),
            group: own(&route.group),
            version: own(&route.version),
            resource: own(&route.plural),
            subresource,
            scope: match (known, route.name.is_empty(), route.namespace.is_empty()) {
                (false, ..) => "",
                (_, false, _) => "resource",
                (_, true, false) => "namespace",
                (_, true, true) => "cluster",
            },
            watch: route.long_running(),
        }
    }

    /// Counts an answer.
    pub fn observe(&self, labels: &Labels, code: u16, took: Duration) {
        let Labels { verb, group, version, resource, subresource, scope, watch } = labels;
        let mut digits = [0u8; 3];
        for (at, scale) in [100, 10, 1].into_iter().enumerate() {
            digits[at] = b'0' + u8::try_from(code / scale % 10).unwrap_or(0);
        }
        let code = std::str::from_utf8(&digits).unwrap_or("0");
        self.requests
            .with_label_values(&[verb, group.as_str(), version, resource, subresource, scope, code])
            .inc();
        if !watch {
            let values = [verb, group.as_str(), version, resource, subresource, scope];
            self.durations.with_label_values(&values).observe(took.as_secs_f64());
        }
    }

    /// Counts a watch while it is open.
    pub fn watch_opened(&self, route: &Route) -> OpenWatch {
        let values = ["WATCH", route.group.as_str(), route.version.as_str(), route.plural.as_str()];
        let gauge = self.watches.with_label_values(&values);
        gauge.inc();
        OpenWatch(gauge)
    }

    /// The text of `/metrics`: counters, and what is read off the server at this moment.
    pub fn text(&self, server: &Server) -> String {
        let mut buffer = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut buffer) {
            tracing::error!(%error, "metrics cannot be written");
        }
        let mut text = String::from_utf8_lossy(&buffer).into_owned();
        text.push_str("# HELP apiserver_current_inflight_requests Requests at work.\n");
        text.push_str("# TYPE apiserver_current_inflight_requests gauge\n");
        for (kind, max, free) in [
            ("readOnly", READING_MAX, server.reading.available_permits()),
            ("mutating", MUTATING_MAX, server.mutating.available_permits()),
        ] {
            let name = "apiserver_current_inflight_requests";
            text.push_str(&format!("{name}{{request_kind=\"{kind}\"}} {}\n", max - free.min(max)));
        }
        text.push_str(
            "# HELP apiserver_resource_objects Stored objects, by resource, of resources in use.\n",
        );
        text.push_str("# TYPE apiserver_resource_objects gauge\n");
        let routes = server.objects().routes();
        let mut served: Vec<_> = routes.all().filter(|served| served.is_storage_version()).collect();
        served.sort_by(|left, right| left.prefix.cmp(&right.prefix));
        for served in served {
            if let Some(cache) = server.objects().open_cache(&served.prefix) {
                let (group, resource) = (&served.row.group, &served.row.plural);
                let count = cache.count(&served.prefix);
                let labels = format!("group=\"{group}\",resource=\"{resource}\"");
                text.push_str(&format!("apiserver_resource_objects{{{labels}}} {count}\n"));
            }
        }
        let revision = server.objects().store().progress();
        text.push_str("# HELP carob_store_revision Revision of the newest write.\n# TYPE carob_store_revision counter\n");
        text.push_str(&format!("carob_store_revision {revision}\n"));
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn upper(verb: &str) -> &'static str {
    match verb {
        "get" | "head" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}
