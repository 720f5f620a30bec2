//! Who a client certificate stands for: the common name is the user, the organisations are the groups.

use model::UserInfo;
use ring::digest::{SHA256, digest};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::Error;

/// The user of a parsed certificate.
pub fn user_of(certificate: &X509Certificate<'_>) -> UserInfo {
    let subject = certificate.subject();
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        attribute.as_str().unwrap_or_default().to_owned()
    };
    let groups: Vec<String> = subject.iter_organization().map(text).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let name = subject.iter_common_name().next().map(text).unwrap_or_default();
    UserInfo::authenticated(name, &groups)
}

/// The user of a certificate that TLS has already verified, with the certificate's hash among what else is known
/// (`authentication.kubernetes.io/credential-id`).
pub fn user_of_der(der: &[u8]) -> Result<UserInfo, Error> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| Error::broken("client certificate", error))?;
    let mut user = user_of(&certificate);
    let hash = digest(&SHA256, der);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    user.extra
        .insert("authentication.kubernetes.io/credential-id".into(), vec![format!("X509SHA256={hash}")]);
    Ok(user)
}

/// The user of a certificate in PEM.
pub fn user_of_pem(pem: &str) -> Result<UserInfo, Error> {
    let broken = |error: &dyn std::fmt::Display| Error::broken("certificate", error);
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|error| broken(&error))?;
    user_of_der(&pem.contents)
}
