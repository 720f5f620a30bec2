//! Checks that many kinds share: names, labels, selectors, paths, addresses, quantities of resources
//! (k8s.io/apimachinery/pkg/apis/meta/v1/validation and pkg/apis/core/validation).

use std::net::{IpAddr, Ipv4Addr};

use model::names;
use model::quantity::Quantity;
use serde_json::Value;

use crate::field::{Errors, FieldError, Path};
use crate::rules::at::At;

/// `field is immutable`.
pub const IMMUTABLE: &str = "field is immutable";
/// `must be greater than or equal to 0`.
pub const NEGATIVE: &str = "must be greater than or equal to 0";
/// `must be greater than zero`.
pub const NOT_POSITIVE: &str = "must be greater than zero";

/// An RFC 1123 label.
pub fn dns_label(errors: &mut Errors, at: &At) {
    at.complain(errors, names::dns_label(at.text()));
}

/// An RFC 1123 subdomain.
pub fn dns_subdomain(errors: &mut Errors, at: &At) {
    at.complain(errors, names::dns_subdomain(at.text()));
}

/// A label key or another qualified name.
pub fn qualified_name(errors: &mut Errors, at: &At) {
    at.complain(errors, names::qualified_name(at.text()));
}

/// A map of labels; complaints name the whole map.
pub fn labels(errors: &mut Errors, at: &At) {
    for (key, value) in at.value.as_object().into_iter().flatten() {
        for complaint in names::qualified_name(key) {
            errors.push(at.invalid_as(key.as_str(), complaint));
        }
        let value = value.as_str().unwrap_or_default();
        for complaint in names::label_value(value) {
            errors.push(at.invalid_as(value, complaint));
        }
    }
}

/// A `metav1.LabelSelector`.
pub fn label_selector(errors: &mut Errors, at: &At) {
    labels(errors, &at.child("matchLabels"));
    for expression in at.items("matchExpressions") {
        let values = expression.child("values");
        match expression.str("operator") {
            "In" | "NotIn" if values.is_empty() => {
                errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.push(
                    values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.push(expression.child("operator").invalid_as(other, "not a valid selector operator"))
            }
        }
        qualified_name(errors, &expression.child("key"));
        for value in values.elements() {
            value.complain(errors, names::label_value(value.text()));
        }
    }
}

/// A number that must not be negative; absent is 0.
pub fn nonnegative(errors: &mut Errors, at: &At) {
    if at.number().is_some_and(|number| number < 0) {
        errors.push(at.invalid(NEGATIVE));
    }
}

/// A number that must be above zero; absent is 0.
pub fn positive(errors: &mut Errors, at: &At) {
    let number = at.number().unwrap_or_default();
    if number <= 0 {
        errors.push(at.invalid_as(number, NOT_POSITIVE));
    }
}

/// A field that may not change; `new` and `old` as they stand.
pub fn immutable(errors: &mut Errors, new: &At, old: Option<&Value>) {
    if !crate::rules::at::same(Some(new.value), old) {
        errors.push(new.invalid(IMMUTABLE));
    }
}

/// A port number or an IANA name.
pub fn port_number_or_name(errors: &mut Errors, at: &At) {
    match at.value {
        Value::String(name) => at.complain(errors, names::port_name(name)),
        other => {
            let number = other.as_i64().unwrap_or_default();
            errors.extend(
                names::port_number(number).into_iter().map(|complaint| at.invalid_as(number, complaint)),
            );
        }
    }
}

/// A path without `..` segments.
pub fn no_backsteps(errors: &mut Errors, at: &At) {
    if at.text().split('/').any(|part| part == "..") {
        errors.push(at.invalid("must not contain '..'"));
    }
}

/// A relative path without `..` segments.
pub fn descending_path(errors: &mut Errors, at: &At) {
    if at.text().starts_with('/') {
        errors.push(at.invalid("must be a relative path"));
    }
    no_backsteps(errors, at);
}

/// A relative path that does not start with `..`.
pub fn local_path(errors: &mut Errors, at: &At) {
    descending_path(errors, at);
    if at.text().starts_with("..") && !at.text().starts_with("../") {
        errors.push(at.invalid("must not start with '..'"));
    }
}

/// A file mode, 0 to 0777.
pub fn file_mode(errors: &mut Errors, at: &At) {
    if at.number().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        errors.push(at.invalid("must be a number between 0 and 0777 (octal), both inclusive"));
    }
}

/// An address as old fields took it: leading zeros are understood (`true` back) so that they can be refused by name.
pub fn parse_ip_sloppy(text: &str) -> Option<(IpAddr, bool)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address, false));
    }
    let octets: Vec<u8> = text
        .split('.')
        .map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?)
        .collect::<Option<_>>()?;
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some((IpAddr::V4(Ipv4Addr::from(octets)), true))
}

/// IPv4-mapped IPv6 addresses are written as IPv4, as upstream does.
fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// An address in a field that predates strict checks (`IsValidIPForLegacyField`).
pub fn legacy_ip(errors: &mut Errors, at: &At) {
    match parse_ip_sloppy(at.text()) {
        None => {
            at.complain(errors, vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()])
        }
        Some((_, true)) => errors.push(at.invalid("must not have leading 0s")),
        Some((address, false)) if unmapped(address) != address => {
            errors.push(at.invalid("must not be an IPv4-mapped IPv6 address"));
        }
        Some(_) => {}
    }
}

/// An address in canonical form (`IsValidIP`).
pub fn strict_ip(errors: &mut Errors, at: &At) {
    let before = errors.len();
    legacy_ip(errors, at);
    let canonical = at.text().parse::<IpAddr>().map(|address| address.to_string()).unwrap_or_default();
    if errors.len() == before && canonical != at.text() {
        errors.push(at.invalid(format!("must be in canonical form ({canonical:?})")));
    }
}

/// A network in a field that predates strict checks (`IsValidCIDRForLegacyField`).
pub fn legacy_cidr(errors: &mut Errors, at: &At) {
    let words = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let parsed = at.text().split_once('/').and_then(|(address, bits)| {
        let (address, zeros) = parse_ip_sloppy(address)?;
        let width: u32 = bits.parse().ok()?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        (width <= max).then_some((address, zeros, bits, width, max))
    });
    let Some((address, zeros, bits, width, max)) = parsed else {
        at.complain(errors, vec![words.into()]);
        return;
    };
    if zeros || (bits.len() > 1 && bits.starts_with('0')) {
        errors.push(at.invalid("must not have leading 0s in IP or prefix length"));
        return;
    }
    if unmapped(address) != address {
        errors.push(at.invalid("must not have an IPv4-mapped IPv6 address"));
        return;
    }
    let number = match address {
        IpAddr::V4(four) => u128::from(u32::from(four)),
        IpAddr::V6(six) => u128::from(six),
    };
    let host_bits = max - width;
    let mask = if host_bits >= 128 { u128::MAX } else { (1u128 << host_bits) - 1 };
    if number & mask != 0 {
        errors.push(at.invalid("must not have bits set beyond the prefix length"));
    }
}

/// What to say of an address in a form that newer fields refuse (`GetWarningsForIP`).
pub fn ip_warning(path: &Path, text: &str) -> Option<String> {
    let (address, zeros) = parse_ip_sloppy(text)?;
    let plain = unmapped(address);
    if zeros || plain != address {
        return Some(format!("{path}: non-standard IP address {text:?} is invalid: use \"{plain}\""));
    }
    let canonical = address.to_string();
    let differs = address.is_ipv6() && canonical != text;
    differs.then(|| {
        format!("{path}: IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})")
    })
}

/// Whether addresses are of both families, at most one each.
pub fn at_most_one_per_family(addresses: &[&str]) -> bool {
    let six = addresses.iter().filter(|address| address.contains(':')).count();
    six <= 1 && addresses.len() - six <= 1
}

const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Whether a resource is `hugepages-<size>`.
pub fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether a resource belongs to Kubernetes.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource is an extended one, `example.com/gpu`.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether requests may be below limits.
pub fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// A resource's name; `at` is its entry.
pub fn resource_name(errors: &mut Errors, name: &str, at: &At) -> bool {
    let complaints = names::qualified_name(name);
    if !complaints.is_empty() {
        errors.extend(complaints.into_iter().map(|complaint| at.invalid_as(name, complaint)));
        return false;
    }
    let huge = is_huge_page(name) || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !STANDARD.contains(&name) && !huge {
        errors.push(at.invalid_as(name, "must be a standard resource type or fully qualified"));
        return false;
    }
    true
}

/// The amount of a resource: not negative, whole where it is counted.
pub fn resource_quantity(errors: &mut Errors, name: &str, at: &At) {
    let quantity = Quantity::of(Some(at.value));
    nonnegative_quantity(errors, at);
    if (COUNTED.contains(&name) || is_extended(name)) && quantity.milli_value() % 1000 != 0 {
        errors.push(at.invalid("must be an integer"));
    }
}

/// An amount that must not be negative.
pub fn nonnegative_quantity(errors: &mut Errors, at: &At) {
    if Quantity::of(Some(at.value)).sign() < 0 {
        errors.push(at.invalid(NEGATIVE));
    }
}

/// Whether an amount of huge pages is a multiple of the page size in the resource's name.
pub fn divides_huge_page(name: &str, quantity: &Quantity) -> bool {
    let size = name.strip_prefix("hugepages-").and_then(|size| Quantity::parse(size).ok());
    size.is_some_and(|size| {
        size.sign() > 0 && size.milli_value() % 1000 == 0 && quantity.value() % size.value() == 0
    })
}

/// Whether a text is a decimal integer in canonical form (`IsDecimalInteger`).
pub fn is_decimal_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    text == "0"
        || (!digits.is_empty()
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Adds `Too long` where a text is longer than so many bytes.
pub fn at_most_bytes(errors: &mut Errors, at: &At, bytes_max: usize) {
    if at.text().len() > bytes_max {
        errors.push(FieldError::too_long(&at.path, bytes_max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(check: fn(&mut Errors, &At), value: &Value) -> Vec<String> {
        let mut errors = Errors::new();
        check(&mut errors, &At::new(value, Path::new("f")));
        errors.iter().map(|error| error.to_cause().message).collect()
    }

    #[test]
    fn addresses() {
        let bad = "Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        assert_eq!(texts(legacy_ip, &json!("x")), [bad]);
        assert!(texts(legacy_ip, &json!("FE80::0abc")).is_empty());
        assert_eq!(
            texts(legacy_ip, &json!("010.1.1.1")),
            ["Invalid value: \"010.1.1.1\": must not have leading 0s"]
        );
        assert_eq!(texts(legacy_ip, &json!("::ffff:1.2.3.4")).len(), 1);
        assert_eq!(texts(strict_ip, &json!("FE80::1")).len(), 1);
        assert!(texts(legacy_cidr, &json!("10.0.0.0/8")).is_empty());
        assert!(texts(legacy_cidr, &json!("::/0")).is_empty());
        for faulty in ["10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/x", "fd00::1/64"] {
            assert_eq!(texts(legacy_cidr, &json!(faulty)).len(), 1, "{faulty}");
        }
        let warning = ip_warning(&Path::new("f"), "010.1.1.1").unwrap();
        assert_eq!(warning, "f: non-standard IP address \"010.1.1.1\" is invalid: use \"10.1.1.1\"");
        assert_eq!(ip_warning(&Path::new("f"), "10.1.1.1"), None);
    }

    #[test]
    fn resources() {
        assert!(is_extended("example.com/gpu"));
        assert!(!is_extended("cpu"));
        assert!(divides_huge_page("hugepages-2Mi", &Quantity::parse("4Mi").unwrap()));
        assert!(!divides_huge_page("hugepages-2Mi", &Quantity::parse("3Mi").unwrap()));
        assert!(!divides_huge_page("hugepages-x", &Quantity::parse("3Mi").unwrap()));
    }

    #[test]
    fn paths() {
        assert_eq!(texts(local_path, &json!("/a/../b")).len(), 2);
        assert_eq!(texts(local_path, &json!("..a")).len(), 1);
        assert!(texts(local_path, &json!("a/b")).is_empty());
    }
}
