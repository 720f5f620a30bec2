//! How objects are written down: the stored form has no `resourceVersion` (the store's revision is it), the wire form
//! has it spliced in at a known place, so that bytes are made once per change and shared by every reader.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// Writes an object for the store: `{"kind":…,"apiVersion":…,"metadata":{…},…}` without
/// `metadata.resourceVersion`. Kind, version and metadata come first, so that [`splice`] finds its place at once.
pub fn encode(object: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    // Writing a tree into memory cannot fail.
    let _ = serde_json::to_writer(&mut bytes, &Stored(object));
    bytes
}

/// An object in the stored form.
struct Stored<'o>(&'o Value);

impl Serialize for Stored<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", &object["kind"])?;
        map.serialize_entry("apiVersion", &object["apiVersion"])?;
        map.serialize_entry("metadata", &Unversioned(&object["metadata"]))?;
        for (name, value) in object.as_object().into_iter().flatten() {
            if !matches!(name.as_str(), "kind" | "apiVersion" | "metadata") {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

/// Metadata without `resourceVersion`; an empty object if there is none.
struct Unversioned<'m>(&'m Value);

impl Serialize for Unversioned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0.as_object().into_iter().flatten();
        serializer.collect_map(fields.filter(|(name, _)| *name != "resourceVersion"))
    }
}

/// Length of the JSON object that `bytes` begin with; all of them if it does not end.
pub fn object_length(bytes: &[u8]) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    bytes.len()
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
    use crate::tree::TreeExt;
    use serde_json::json;

    #[test]
    fn kind_version_and_metadata_come_first() {
        let object = json!({"apiVersion": "v1", "data": {"z": "\"}"}, "aaa": 1, "kind": "X\"y",
            "metadata": {"uid": "u", "resourceVersion": "7", "labels": {"resourceVersion": "stays"}}});
        let text = String::from_utf8(encode(&object)).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"X\"y","apiVersion":"v1","metadata":{"labels":{"resourceVersion":"stays"},"uid":"u"},"aaa":1,"data":{"z":"\"}"}}"#
        );
        assert_eq!(encode(&json!({"kind": "X"})), br#"{"kind":"X","apiVersion":null,"metadata":{}}"#);
    }

    #[test]
    fn objects_end_at_their_brace() {
        for (text, length) in [
            (r#"{}"#, 2),
            (r#"{},"spec":{}"#, 2),
            (r#"{"a":{"b":"}\"}"}},"c""#, 18),
            (r#"{"a":"\\"},1"#, 10),
            (r#"{"a":"#, 5),
        ] {
            assert_eq!(object_length(text.as_bytes()), length, "{text}");
        }
    }

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
