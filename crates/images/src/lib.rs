//! Images: transport, content store, layers, garbage collection.
//!
//! [`ImageStore`] implements CRI's image service ([`cri::image::ImageService`]) and prepares containers' roots
//! ([`cri::image::RootProvider`]). Images come from registries ([`registries`] says through which mirrors), from
//! archives, or are built from a folder ([`build`]).
//!
//! Untrusted is all that comes from outside: digests are checked of what is fetched or imported (not again at each
//! start of a container), every size is bounded, and archives are unpacked beneath their layer's directory only.

pub mod archive;
mod auth;
pub mod build;
mod decompress;
pub mod demo;
pub mod digest;
mod files;
mod import;
pub mod index;
pub mod layers;
pub mod manifest;
mod pull;
pub mod registries;
mod registry;
mod roots;
mod service;
pub mod store;
mod transport;

pub use archive::write::SourceFile;
pub use build::{BuildConfig, BuildOptions, BuildSource, Made};
pub use cri::reference;
pub use store::{ImageStore, Options, Snapshotter, StoreError};
