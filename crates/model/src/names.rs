//! Names: DNS labels and subdomains, label keys and values, with upstream's messages.

/// What is wrong with a DNS subdomain name; `prefix`: more follows (generateName).
pub fn dns_subdomain_name(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}
