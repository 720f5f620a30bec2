//! YAML bodies. Upstream turns YAML into JSON first (losing the order of keys) and looks for duplicate keys in a second
//! reading, so both are done here.

use serde_json::Value;
use serde_saphyr::options::DuplicateKeyPolicy;

/// Reads one YAML document as a tree, the last of duplicate keys winning. The second part is upstream's complaint about
/// duplicate keys, if there are any.
pub fn to_tree(text: &[u8]) -> Result<(Value, Option<String>), String> {
    let text = std::str::from_utf8(text)
        .map_err(|_| "error converting YAML to JSON: yaml: invalid UTF-8".to_owned())?;
    match read(text, DuplicateKeyPolicy::Error) {
        Ok(tree) => Ok((tree, None)),
        Err(strict) => match read(text, DuplicateKeyPolicy::LastWins) {
            Ok(tree) => Ok((tree, Some(format!("yaml: unmarshal errors:\n  {}", duplicate(&strict))))),
            Err(error) => Err(format!("error converting YAML to JSON: yaml: {}", first_line(&error))),
        },
    }
}

fn read(text: &str, duplicates: DuplicateKeyPolicy) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        duplicate_keys: duplicates,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// `line 3: key "a" already set in map`.
fn duplicate(error: &serde_saphyr::Error) -> String {
    let key = match error {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => key.as_str(),
        _ => "",
    };
    let line = error.location().map_or(0, |location| location.line());
    format!("line {line}: key {} already set in map", super::strict::quote(key))
}

fn first_line(error: &serde_saphyr::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::to_tree;

    #[test]
    fn yaml_reads_as_upstream_does() {
        for (text, want) in [
            ("a: 1\nb: [x, 'y']\n", json!({"a": 1, "b": ["x", "y"]})),
            ("a: yes\nb: \"yes\"\nc: ~\nd: null\n", json!({"a": true, "b": "yes", "c": null, "d": null})),
            ("1: x\ntrue: z\n", json!({"1": "x", "true": "z"})),
            ("a: 0644\nb: 1.5\nc: 1e3\n", json!({"a": 420, "b": 1.5, "c": 1000.0})),
            ("a: &x {k: v}\nb: *x\n", json!({"a": {"k": "v"}, "b": {"k": "v"}})),
            ("a: |\n  one\n  two\n", json!({"a": "one\ntwo\n"})),
        ] {
            assert_eq!(to_tree(text.as_bytes()).unwrap().0, want, "{text}");
        }
    }

    #[test]
    fn duplicates_are_told() {
        let (tree, duplicates) = to_tree(b"a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(tree, json!({"a": 3, "b": 2}));
        assert_eq!(duplicates.unwrap(), "yaml: unmarshal errors:\n  line 3: key \"a\" already set in map");
    }
}
