//! What names, keys and values may look like, with upstream's messages (k8s.io/apimachinery/pkg/util/validation and
//! pkg/api/validate/content). Every function gives the list of complaints; empty means valid. The patterns are checked
//! by hand over bytes: they run for every key of every object.

/// Longest DNS label, in bytes.
pub const DNS_LABEL_BYTES_MAX: usize = 63;
/// Longest DNS subdomain, in bytes.
pub const DNS_SUBDOMAIN_BYTES_MAX: usize = 253;

const LABEL_FORM: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORM: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_WORDS: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                               '.', and must start and end with an alphanumeric character";
const KEY_FORM: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_WORDS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// `must be no more than <n> characters`.
pub fn too_many_characters(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// `must be no more than <n> bytes`.
pub fn too_many_bytes(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// `must be between <low> and <high>, inclusive`.
pub fn not_between(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// `<words> (e.g. 'a',  or 'b', regex used for validation is '<form>')`: upstream's `RegexError`.
pub fn pattern_error(words: &str, form: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{words} (regex used for validation is '{form}')");
    }
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{words} (e.g. {}regex used for validation is '{form}')", examples.join(" or "))
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// `edge` holds for the first and last byte, `middle` or `edge` for the rest; not empty.
fn framed(text: &str, edge: fn(u8) -> bool, middle: fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [] => false,
        [only] => edge(*only),
        [first, inner @ .., last] => edge(*first) && edge(*last) && inner.iter().all(|byte| middle(*byte)),
    }
}

fn is_label(text: &str) -> bool {
    framed(text, lower_or_digit, |byte| lower_or_digit(byte) || byte == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// Whether every byte passes, and there is one.
fn all_of(text: &str, allowed: fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(allowed)
}

/// RFC 1123 label (`IsDNS1123Label`).
pub fn dns_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS_LABEL_BYTES_MAX {
        errors.push(too_many_characters(DNS_LABEL_BYTES_MAX));
    }
    if !is_label(value) {
        if is_subdomain(value) {
            errors.push("must not contain dots".into());
        } else {
            let words = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                         start and end with an alphanumeric character";
            errors.push(pattern_error(words, LABEL_FORM, &["my-name", "123-abc"]));
        }
    }
    errors
}

/// RFC 1123 subdomain (`IsDNS1123Subdomain`).
pub fn dns_subdomain(value: &str) -> Vec<String> {
    subdomain_errors(value, too_many_characters)
}

fn subdomain_errors(value: &str, too_long: fn(usize) -> String) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS_SUBDOMAIN_BYTES_MAX {
        errors.push(too_long(DNS_SUBDOMAIN_BYTES_MAX));
    }
    if !is_subdomain(value) {
        errors.push(pattern_error(SUBDOMAIN_WORDS, SUBDOMAIN_FORM, &["example.com"]));
    }
    errors
}

/// RFC 1123 subdomain whose labels may hold underscores (`IsDNS1123SubdomainWithUnderscore`, DNS searches).
pub fn dns_subdomain_with_underscore(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS_SUBDOMAIN_BYTES_MAX {
        errors.push(too_many_characters(DNS_SUBDOMAIN_BYTES_MAX));
    }
    let label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        framed(label, lower_or_digit, |byte| lower_or_digit(byte) || byte == b'-' || byte == b'_')
    };
    if !value.split('.').all(label) {
        let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or \
                     '.', and must start and end with an alphanumeric character";
        let form = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
        errors.push(pattern_error(words, form, &["example.com"]));
    }
    errors
}

/// RFC 1035 label (`IsDNS1035Label`).
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS_LABEL_BYTES_MAX {
        errors.push(too_many_characters(DNS_LABEL_BYTES_MAX));
    }
    if !is_label(value) || !value.starts_with(|first: char| first.is_ascii_lowercase()) {
        let words = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                     alphabetic character, and end with an alphanumeric character";
        errors.push(pattern_error(words, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    errors
}

/// `*.example.com` (`IsWildcardDNS1123Subdomain`).
pub fn wildcard_dns_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS_SUBDOMAIN_BYTES_MAX {
        errors.push(too_many_characters(DNS_SUBDOMAIN_BYTES_MAX));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        let words = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                     consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        errors.push(pattern_error(words, &format!(r"\*\.{SUBDOMAIN_FORM}"), &["*.example.com"]));
    }
    errors
}

/// A label key, annotation key or resource name: `[prefix/]name` (`IsQualifiedName`).
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let examples = ["MyName", "my.name", "123-abc"];
    let name = match value.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".into());
            } else {
                let complaints = subdomain_errors(prefix, too_many_bytes);
                errors.extend(complaints.into_iter().map(|complaint| format!("prefix part {complaint}")));
            }
            *name
        }
        _ => {
            let form = pattern_error(KEY_WORDS, KEY_FORM, &examples);
            let tail = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {form} {tail}")];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".into());
    } else if name.len() > DNS_LABEL_BYTES_MAX {
        errors.push(format!("name part {}", too_many_bytes(DNS_LABEL_BYTES_MAX)));
    }
    if !is_key_name(name) {
        errors.push(format!("name part {}", pattern_error(KEY_WORDS, KEY_FORM, &examples)));
    }
    errors
}

fn is_key_name(name: &str) -> bool {
    framed(
        name,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte),
    )
}

/// A label value (`IsValidLabelValue`).
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS_LABEL_BYTES_MAX {
        errors.push(too_many_bytes(DNS_LABEL_BYTES_MAX));
    }
    if !value.is_empty() && !is_key_name(value) {
        let words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                     must start and end with an alphanumeric character";
        errors.push(pattern_error(words, &format!("({KEY_FORM})?"), &["MyValue", "my_value", "12345"]));
    }
    errors
}

/// A C identifier (`IsCIdentifier`).
pub fn c_identifier(value: &str) -> Vec<String> {
    let fine = all_of(value, |byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !value.starts_with(|first: char| first.is_ascii_digit());
    if fine {
        return Vec::new();
    }
    let words = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
                 characters or '_'";
    vec![pattern_error(words, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// A port number, 1 to 65535 (`IsValidPortNum`).
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65_535)
}

/// A number in a range (`IsInRange`).
pub fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) { Vec::new() } else { vec![not_between(low, high)] }
}

/// A user or group id (`IsValidUserID`, `IsValidGroupID`).
pub fn user_or_group_id(id: i64) -> Vec<String> {
    in_range(id, 0, i64::from(i32::MAX))
}

/// An IANA service name, as port names are (`IsValidPortName`).
pub fn port_name(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > 15 {
        errors.push(too_many_characters(15));
    }
    if !all_of(name, |byte| lower_or_digit(byte) || byte == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".into());
    }
    if name.contains("--") {
        errors.push("must not contain consecutive hyphens".into());
    }
    if name.starts_with('-') || name.ends_with('-') {
        errors.push("must not begin or end with a hyphen".into());
    }
    errors
}

/// `50%` (`IsValidPercent`).
pub fn percent(value: &str) -> Vec<String> {
    if value.strip_suffix('%').is_some_and(|digits| all_of(digits, |byte| byte.is_ascii_digit())) {
        return Vec::new();
    }
    let words = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![pattern_error(words, "[0-9]+%", &["1%", "93%"])]
}

/// An HTTP header's name (`IsHTTPHeaderName`).
pub fn http_header_name(value: &str) -> Vec<String> {
    if all_of(value, |byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    let words = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![pattern_error(words, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// An environment variable's name by the old rules (`IsEnvVarName`).
pub fn strict_env_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let fine = all_of(value, |byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && !value.starts_with(|first: char| first.is_ascii_digit());
    if !fine {
        let words = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', \
                     and must not start with a digit";
        let examples = ["my.env-name", "MY_ENV.NAME", "MyEnvName1"];
        errors.push(pattern_error(words, "[-._a-zA-Z][-._a-zA-Z0-9]*", &examples));
    }
    errors.extend(directory_prefix(value));
    errors
}

/// An environment variable's name by the present rules (`IsRelaxedEnvVarName`).
pub fn env_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.is_empty() {
        errors.push("environment variable name must be non-empty".into());
    }
    if value.chars().any(|letter| !(' '..='~').contains(&letter) || letter == '=') {
        errors.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='".into(),
        );
    }
    errors
}

/// A key of a ConfigMap or Secret (`IsConfigMapKey`).
pub fn config_key(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > DNS_SUBDOMAIN_BYTES_MAX {
        errors.push(too_many_characters(DNS_SUBDOMAIN_BYTES_MAX));
    }
    if !all_of(value, |byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        let words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        errors.push(pattern_error(words, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    errors.extend(directory_prefix(value));
    errors
}

fn directory_prefix(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        _ if value.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

/// A segment of a URL path (`IsValidPathSegmentName`); `prefix`: more follows.
pub fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    if !prefix && matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|part| name.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// A generated name's prefix may end in a dash: it is replaced as upstream's `maskTrailingDash` does.
fn masked(name: &str, prefix: bool) -> String {
    let bytes = name.len();
    match prefix && bytes > 1 && name.ends_with('-') && name.is_char_boundary(bytes - 2) {
        true => format!("{}a", &name[..bytes - 2]),
        false => name.to_owned(),
    }
}

/// What is wrong with an object's name that must be a DNS subdomain; `prefix`: more follows (generateName).
pub fn dns_subdomain_name(name: &str, prefix: bool) -> Vec<String> {
    dns_subdomain(&masked(name, prefix))
}

/// What is wrong with an object's name that must be a DNS label.
pub fn dns_label_name(name: &str, prefix: bool) -> Vec<String> {
    dns_label(&masked(name, prefix))
}

/// What is wrong with an object's name that must be an RFC 1035 label.
pub fn dns1035_label_name(name: &str, prefix: bool) -> Vec<String> {
    dns1035_label(&masked(name, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (function, fine, faulty with a part of the first complaint).
    fn check(rule: fn(&str) -> Vec<String>, fine: &[&str], faulty: &[(&str, &str)]) {
        for text in fine {
            assert_eq!(rule(text), Vec::<String>::new(), "{text:?}");
        }
        for (text, part) in faulty {
            let errors = rule(text);
            assert!(errors.first().is_some_and(|error| error.contains(part)), "{text:?}: {errors:?}");
        }
    }

    #[test]
    fn names() {
        let long = "a".repeat(64);
        check(
            dns_label,
            &["a", "0", "a-b", "a--b"],
            &[("", "RFC 1123 label"), ("a.b", "must not contain dots")],
        );
        check(
            dns_label,
            &[],
            &[("-a", "'my-name',  or '123-abc', regex"), (&long, "no more than 63 characters")],
        );
        check(
            dns_subdomain,
            &["a", "a.b-c.0"],
            &[("A", "subdomain"), ("a..b", "subdomain"), ("a.", "subdomain")],
        );
        check(dns_subdomain_with_underscore, &["_a.b_c", "a"], &[("a_", "'_'"), ("__a", "'_'"), ("", "'_'")]);
        check(dns1035_label, &["a", "a-1"], &[("1a", "DNS-1035"), ("", "DNS-1035"), ("a-", "DNS-1035")]);
        check(
            wildcard_dns_subdomain,
            &["*.a.b"],
            &[("a.b", "wildcard"), ("*.", "wildcard"), ("*a", "wildcard")],
        );
        check(
            port_name,
            &["http", "a-1"],
            &[("HTTP", "only alpha"), ("80", "one letter"), ("a--b", "consecutive")],
        );
        check(
            port_name,
            &[],
            &[("-a", "begin or end"), ("aaaaaaaaaaaaaaaa", "15 characters"), ("", "only alpha")],
        );
        check(percent, &["0%", "150%"], &[("1", "percent"), ("%", "percent"), ("-1%", "percent")]);
        check(http_header_name, &["X-A", "a"], &[("a b", "HTTP header"), ("", "HTTP header")]);
        check(c_identifier, &["_a", "A1"], &[("1a", "C identifier"), ("a-b", "C identifier")]);
    }

    #[test]
    fn keys_and_values() {
        let long = "a".repeat(64);
        check(
            qualified_name,
            &["a", "a.b/C_d", "A"],
            &[("", "name part must be non-empty"), ("/a", "prefix part must")],
        );
        check(
            qualified_name,
            &[],
            &[("a/b/c", "a valid label key must"), ("A/b", "prefix part a lowercase")],
        );
        check(
            qualified_name,
            &[],
            &[("-", "name part must consist"), (&long, "name part must be no more than 63 bytes")],
        );
        check(
            label_value,
            &["", "a", "A_b.c"],
            &[("-a", "a valid label"), ("a b", "a valid label"), (&long, "63 bytes")],
        );
        check(env_name, &["A", "a b", "1"], &[("", "non-empty"), ("a=b", "printable"), ("é", "printable")]);
        check(strict_env_name, &["A.b-c"], &[("1", "start with a digit"), ("..", "must not be")]);
        check(
            config_key,
            &["a.b", ".a"],
            &[("", "config key"), ("a/b", "config key"), (".", "must not be '.'")],
        );
        check(config_key, &[], &[("..", "must not be '..'"), ("..a", "must not start with '..'")]);
        assert_eq!(path_segment("..", false), ["may not be '..'"]);
        assert_eq!(path_segment("a/b%", false).len(), 2);
    }

    #[test]
    fn generated_names_may_end_in_a_dash() {
        assert!(dns_subdomain_name("web-", true).is_empty());
        assert!(!dns_subdomain_name("web-", false).is_empty());
        assert!(!dns_subdomain_name("-", true).is_empty());
        assert!(dns_label_name("é-", true).len() == 1);
    }
}
