//! Objects as trees, errors as `metav1.Status`, quantities, selectors and names: what every layer speaks of.

pub mod gvk;
pub mod names;
pub mod quantity;
pub mod selector;
pub mod status;
pub mod time;
pub mod tree;
pub mod user;
pub mod wire;

pub use gvk::{GroupResource, GroupVersionKind, GroupVersionResource};
pub use status::{Cause, Reason, Status};
pub use tree::{Object, Tree};
pub use user::UserInfo;
