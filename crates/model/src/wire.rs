//! How objects are written down: the stored form has no `resourceVersion` (the store's revision is it), the wire form
//! has it spliced in at a known place, so that bytes are made once per change and shared by every reader.

use serde_json::Value;

use crate::tree::TreeExt;

/// Writes an object for the store: `{"kind":…,"apiVersion":…,"metadata":{…},…}` without
/// `metadata.resourceVersion`. Kind, version and metadata come first, so that [`splice`] finds its place at once.
pub fn encode(object: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    let mut field = |name: &str, value: &[u8], last: &mut bool| {
        if *last {
            bytes.push(b',');
        }
        *last = true;
        bytes.extend_from_slice(format!("{name:?}:").as_bytes());
        bytes.extend_from_slice(value);
    };
    let mut any = false;
    let json = |value: &Value| serde_json::to_vec(value).unwrap_or_default();
    field("kind", &json(&object["kind"]), &mut any);
    field("apiVersion", &json(&object["apiVersion"]), &mut any);
    let mut metadata = object["metadata"].clone();
    metadata.unset(&["resourceVersion"]);
    if !metadata.is_object() {
        metadata = Value::Object(serde_json::Map::new());
    }
    field("metadata", &json(&metadata), &mut any);
    for (name, value) in object.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "kind" | "apiVersion" | "metadata") {
            field(name, &json(value), &mut any);
        }
    }
    bytes.insert(0, b'{');
    bytes.push(b'}');
    bytes
}

/// Makes the wire form from the stored form: the revision becomes `metadata.resourceVersion`. Bytes that [`encode`]
/// did not write come back as they are.
pub fn splice(stored: &[u8], revision: u64) -> Vec<u8> {
    const MARK: &[u8] = b"\"metadata\":{";
    // Kind and apiVersion are short; the mark is always near the start.
    let window = &stored[..stored.len().min(1024)];
    let Some(at) = window.windows(MARK.len()).position(|bytes| bytes == MARK).map(|at| at + MARK.len())
    else {
        return stored.to_vec();
    };
    let comma = if stored.get(at) == Some(&b'}') { "" } else { "," };
    let version = format!("\"resourceVersion\":\"{revision}\"{comma}");
    [&stored[..at], version.as_bytes(), &stored[at..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_revision_is_spliced_in() {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "resourceVersion": "7"}, "spec": {}});
        let wire: Value = serde_json::from_slice(&splice(&encode(&object), 12)).unwrap();
        assert_eq!(wire.resource_version(), "12");
        assert_eq!(wire.name(), "p");
        let empty = json!({"apiVersion": "v1", "kind": "X", "metadata": {}});
        let wire: Value = serde_json::from_slice(&splice(&encode(&empty), 3)).unwrap();
        assert_eq!(wire, json!({"apiVersion": "v1", "kind": "X", "metadata": {"resourceVersion": "3"}}));
    }
}
