//! Tables of a resource's objects, for clients that print.

use model::Status;
use resources::columns::{self, IncludeObject};
use serde_json::Value;

use crate::pipeline::context::Context;

/// A `meta.k8s.io/v1 Table` of objects in the served version. `headers`: with column definitions (a watch sends them
/// once). `includeObject` is read from the request.
///
/// # Errors
/// 400 for an unknown `includeObject`.
pub fn of(context: &Context, objects: &[Value], metadata: Value, headers: bool) -> Result<Value, Status> {
    let text = context.query.text("includeObject");
    let include = IncludeObject::parse(text)
        .ok_or_else(|| Status::bad_request(format!("unrecognized includeObject value: {text:?}")))?;
    let now = context.server.options.clock.now();
    Ok(columns::table(&context.served()?.row, objects, now, include, metadata, headers))
}
