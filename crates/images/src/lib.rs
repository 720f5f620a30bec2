//! Image transport, content store, layers and garbage collection.
