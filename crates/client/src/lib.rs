//! The API client with its transports: in process and HTTPS. Components outside the API server reach objects only
//! through it, each as its own user.

pub mod body;
pub mod https;
pub mod kubeconfig;
pub mod options;
pub mod transport;
pub mod typed;
pub mod watch;

pub use body::{Body, full_body};
pub use options::{DeleteOptions, ListOptions, Patch, WatchOptions, WriteOptions};
pub use transport::{Error, Transport, Upgraded};
pub use typed::{Client, List, Path};
pub use watch::WatchEvent;
