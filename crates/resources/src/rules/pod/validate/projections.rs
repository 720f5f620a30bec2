//! Projected volumes: several sources in one directory.

use std::collections::BTreeSet;

use model::names;
use serde_json::Value;

use super::environment::{VOLUME_FIELDS, field_reference, resource_reference};
use crate::field::{Errors, FieldError};
use crate::rules::at::At;
use crate::rules::{checks, internal, metadata};

/// Longest signer name: a domain, a label and a subdomain with what stands between them, in bytes.
const SIGNER_BYTES_MAX: usize = 253 + 253 + 63 + 1 + 1;
const KEY_TYPES: [&str; 6] = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];

/// A `downwardAPI` volume source.
pub(super) fn downward_api(errors: &mut Errors, source: &At) {
    checks::file_mode(errors, &source.child("defaultMode"));
    for file in source.value.get("items").and_then(Value::as_array).into_iter().flatten() {
        // Upstream gives the source's path for what is wrong with an item.
        downward_file(errors, &At::new(file, source.path.clone()));
    }
}

fn downward_file(errors: &mut Errors, file: &At) {
    file.require(errors, "path");
    checks::local_path(errors, &file.child("path"));
    match (file.some("fieldRef"), file.some("resourceFieldRef")) {
        (Some(field), resource) => {
            field_reference(errors, &field, &VOLUME_FIELDS);
            if resource.is_some() {
                let words = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(file.invalid_as("resource", words));
            }
        }
        (None, Some(resource)) => resource_reference(errors, &resource, true),
        (None, None) => errors.push(file.required("one of fieldRef and resourceFieldRef is required")),
    }
    checks::file_mode(errors, &file.child("mode"));
}

/// `items` of Secrets and ConfigMaps.
pub(super) fn key_to_path(errors: &mut Errors, item: &At) {
    item.require(errors, "key");
    item.require(errors, "path");
    checks::local_path(errors, &item.child("path"));
    checks::file_mode(errors, &item.child("mode"));
}

/// A `projected` volume source.
pub(super) fn projected(errors: &mut Errors, volume: &At) {
    checks::file_mode(errors, &volume.child("defaultMode"));
    let mut paths: BTreeSet<String> = BTreeSet::new();
    for source in volume.items("sources") {
        let mut count = 0;
        let mut taken = |errors: &mut Errors, path: &str, shown: &str| {
            if !paths.insert(path.to_owned()) {
                errors.push(volume.invalid_as(shown, "conflicting duplicate paths"));
            }
        };
        for object in ["secret", "configMap"].iter().filter_map(|key| source.some(key)) {
            count += 1;
            object.require(errors, "name");
            for item in object.items("items") {
                key_to_path(errors, &item);
                if !item.str("path").is_empty() {
                    taken(errors, item.str("path"), object.str("name"));
                }
            }
        }
        if let Some(downward) = source.some("downwardAPI") {
            count += 1;
            for item in downward.items("items") {
                downward_file(errors, &At::new(item.value, downward.path.clone()));
                if !item.str("path").is_empty() {
                    taken(errors, item.str("path"), item.str("path"));
                }
            }
        }
        if let Some(token) = source.some("serviceAccountToken") {
            count += 1;
            service_account_token(errors, volume, &token);
        }
        if let Some(bundle) = source.some("clusterTrustBundle") {
            count += 1;
            trust_bundle(errors, &bundle);
            taken(errors, bundle.str("path"), bundle.str("path"));
        }
        if let Some(certificate) = source.some("podCertificate") {
            count += 1;
            let files = pod_certificate(errors, &certificate);
            for key in files {
                let path = certificate.child(key);
                checks::local_path(errors, &path);
                taken(errors, path.text(), path.text());
            }
        }
        if count > 1 {
            errors.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
}

fn service_account_token(errors: &mut Errors, volume: &At, token: &At) {
    let expiration = token.child("expirationSeconds");
    let seconds = expiration.number().unwrap_or_default();
    if seconds < 600 {
        errors.push(expiration.invalid_as(seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > 1 << 32 {
        errors.push(expiration.invalid_as(seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    // Upstream gives the volume's path for the token's file.
    let path = At::new(token.child("path").value, volume.child("path").path);
    if path.text().is_empty() {
        errors.push(path.required(""));
    } else {
        checks::local_path(errors, &path);
    }
}

fn trust_bundle(errors: &mut Errors, bundle: &At) {
    let (name, signer) = (bundle.child("name"), bundle.child("signerName"));
    let selector = bundle.child("labelSelector");
    match (name.value.is_null(), signer.value.is_null()) {
        (false, false) => {
            let shown = internal::compact("ClusterTrustBundleProjection", bundle.value);
            errors.push(bundle.invalid_shown(shown, "only one of name and signerName may be used"));
        }
        (false, true) => {
            if name.text().is_empty() {
                errors.push(name.required("must be a valid object name"));
            }
            for complaint in trust_bundle_name(name.text()) {
                errors.push(name.invalid(format!("not a valid clustertrustbundlename: {complaint}")));
            }
            if !selector.value.is_null() {
                let shown = internal::compact("!LabelSelector", selector.value);
                errors
                    .push(selector.invalid_shown(shown, "labelSelector must be unset if name is specified"));
            }
        }
        (true, false) => {
            if signer.text().is_empty() {
                errors.push(signer.required("must be a valid signer name"));
            }
            signer_name(errors, &signer);
            checks::label_selector(errors, &selector);
        }
        (true, true) => errors.push(bundle.required("either name or signerName must be specified")),
    }
    bundle.require(errors, "path");
    checks::local_path(errors, &bundle.child("path"));
}

/// `example.com:signer:name` for a signer's bundle, a plain name otherwise.
pub fn trust_bundle_name(name: &str) -> Vec<String> {
    names::dns_subdomain(name.rsplit(':').next().unwrap_or_default())
}

/// A signer's name, `example.com/signer` (`ValidateSignerName`).
pub fn signer_name(errors: &mut Errors, at: &At) {
    if at.text().is_empty() {
        errors.push(at.required(""));
        return;
    }
    let parts: Vec<&str> = at.text().split('/').collect();
    let [domain, path] = parts.as_slice() else {
        let words = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(at.invalid(words));
        return;
    };
    if domain.len() > names::DNS_SUBDOMAIN_BYTES_MAX {
        errors.push(FieldError::too_long(&at.path, names::DNS_SUBDOMAIN_BYTES_MAX));
    }
    segments(errors, at, domain, names::dns_label);
    if !domain.contains('.') {
        let words = "should be a domain with at least two segments separated by dots";
        errors.push(at.invalid_as(*domain, words));
    }
    segments(errors, at, path, names::dns_subdomain);
    if at.text().len() > SIGNER_BYTES_MAX {
        errors.push(FieldError::too_long(&at.path, SIGNER_BYTES_MAX));
    }
}

/// Every part between dots by a rule; the first faulty one is named.
fn segments(errors: &mut Errors, at: &At, text: &str, rule: fn(&str) -> Vec<String>) {
    for label in text.split('.') {
        let complaints = rule(label);
        if !complaints.is_empty() {
            let shown = |complaint| at.invalid_as(text, format!("validating label {label:?}: {complaint}"));
            errors.extend(complaints.into_iter().map(shown));
            return;
        }
    }
}

/// Checks a certificate projection; gives the fields that name files.
fn pod_certificate(errors: &mut Errors, certificate: &At) -> Vec<&'static str> {
    signer_name(errors, &certificate.child("signerName"));
    metadata::annotations(errors, &certificate.child("userAnnotations"));
    certificate.child("keyType").one_of(errors, &KEY_TYPES);
    if let Some(expiration) = certificate.some("maxExpirationSeconds") {
        let seconds = expiration.number().unwrap_or_default();
        let host = certificate.str("signerName").split('/').next().unwrap_or_default();
        let own = host == "kubernetes.io" || host.ends_with(".kubernetes.io");
        let longest = if own { 86_400 } else { 7_862_400 };
        if seconds < 3600 {
            errors.push(expiration.invalid("if provided, maxExpirationSeconds must be >= 3600"));
        }
        if seconds > longest {
            errors
                .push(expiration.invalid(format!("if provided, maxExpirationSeconds must be <= {longest}")));
        }
    }
    let files = ["credentialBundlePath", "keyPath", "certificateChainPath"];
    let given: Vec<&'static str> = files.into_iter().filter(|key| !certificate.str(key).is_empty()).collect();
    if given.is_empty() {
        let words = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(certificate.required(words));
    }
    given
}
