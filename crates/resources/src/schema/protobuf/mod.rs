//! Objects as Kubernetes writes them in protobuf (`application/vnd.kubernetes.protobuf`,
//! k8s.io/apimachinery/pkg/runtime/serializer/protobuf): trees to messages and back by the derived tables. Messages are
//! written byte for byte as upstream's generated code does: fields in the order of their numbers, values that are no
//! pointers always. Reading merges repeated fields, skips unknown ones, and is bounded.

mod decode;
mod encode;
mod wire;

pub use decode::{Unknown, event_of, message};
pub use encode::{Collection, event, object, partial, tree};

/// What every object begins with.
pub const MAGIC: &[u8] = b"k8s\0";

/// `Content-Type` of objects.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// A frame of a watch: the length, four bytes in network order, then the event.
pub fn frame(event: &[u8]) -> Vec<u8> {
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), event].concat()
}
