//! Fakes for deterministic tests: a runtime and an image service that obey a script, and an API server that keeps
//! objects in memory.

pub mod api;
pub mod harness;
pub mod images;
pub mod runtime;

pub use api::FakeApi;
pub use harness::Harness;
pub use images::FakeImages;
pub use runtime::FakeRuntime;
