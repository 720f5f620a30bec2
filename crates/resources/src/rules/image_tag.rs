//! The tag of an image reference, as far as the default pull policy needs it
//! (github.com/distribution/reference `ParseNormalizedNamed`).

use std::sync::LazyLock;

use regex::Regex;

/// Domain, path, tag, digest.
static REFERENCE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let label = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let domain = format!(r"(?:{label}(?:\.{label})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?");
    let part = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
    let tag = r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}";
    let digest = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
    Regex::new(&format!("^({domain}/{part}(?:/{part})*)(?::({tag}))?(?:@({digest}))?$")).ok()
});

/// Whether the image is pulled always unless told otherwise: its tag is `latest`, or it has neither tag nor digest.
/// References that cannot be read are not.
pub fn is_latest(image: &str) -> bool {
    let (domain, remainder) = match image.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first =>
        {
            (first, rest.to_owned())
        }
        Some(_) => ("docker.io", image.to_owned()),
        None => ("docker.io", format!("library/{image}")),
    };
    let hexadecimal =
        image.len() == 64 && image.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let path = remainder.split(':').next().unwrap_or_default();
    if hexadecimal || path.to_lowercase() != path || image.len() > 4096 {
        return false;
    }
    let full = format!("{domain}/{remainder}");
    let Some(parts) = REFERENCE.as_ref().and_then(|reference| reference.captures(&full)) else {
        return false;
    };
    match (parts.get(2), parts.get(3)) {
        (Some(tag), _) => tag.as_str() == "latest",
        (None, digest) => digest.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        let table = [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1", false),
            ("reg.io:5000/a/b", true),
            ("reg.io:5000/a/b:1", false),
            ("localhost/x", true),
            (digest.as_str(), false),
            ("Nginx:::", false),
            ("", false),
            (" nginx", false),
        ];
        for (image, expected) in table {
            assert_eq!(is_latest(image), expected, "{image}");
        }
    }
}
