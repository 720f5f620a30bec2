//! Where the daemon's log goes, and how much of it.

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error; `CAROB_LOG` says how much (`info` is the default, `debug`, `agent=trace` …).
pub fn start() {
    // The edge that may read the environment.
    #[allow(clippy::disallowed_methods)]
    let wanted = std::env::var("CAROB_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(if wanted.is_empty() { "info" } else { &wanted });
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
