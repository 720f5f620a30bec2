//! The cluster's certificate authority and the certificates it issues.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use stdx::clock::Clock;
use stdx::entropy::Entropy;

use crate::Error;

/// Life of the authority itself: ten years, as kubeadm's.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Clocks that are a little behind must accept what was just issued.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// What a certificate is for.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// Common name: the user name of a client.
    pub common_name: String,
    /// Organisations: the groups of a client.
    pub organizations: Vec<String>,
    /// Names of a server.
    pub dns_names: Vec<String>,
    /// Addresses of a server.
    pub ips: Vec<IpAddr>,
    /// Good for servers.
    pub server: bool,
    /// Good for clients.
    pub client: bool,
    /// Life.
    pub life: Duration,
}

/// A certificate with its key, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Certificate.
    pub certificate_pem: String,
    /// PKCS#8 key.
    pub key_pem: String,
}

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    clock: Clock,
    entropy: Entropy,
}

impl Authority {
    /// Loads `ca.crt` and `ca.key` of a folder, or makes them. Both or neither must be there.
    pub fn open(folder: &Path, common_name: &str, clock: Clock, entropy: Entropy) -> Result<Self, Error> {
        let (certificate, key) = (folder.join("ca.crt"), folder.join("ca.key"));
        if !certificate.exists() && !key.exists() {
            let (certificate_pem, key_pem) = make_authority(common_name, &clock, &entropy)?;
            write_private(&key, key_pem.as_bytes())?;
            write_public(&certificate, certificate_pem.as_bytes())?;
        }
        let certificate_pem = read(&certificate)?;
        let key_pem = read(&key)?;
        let broken = |path: &Path, error: rcgen::Error| Error::broken(path.display().to_string(), error);
        let pair = KeyPair::from_pem(&key_pem).map_err(|error| broken(&key, error))?;
        let issuer =
            Issuer::from_ca_cert_pem(&certificate_pem, pair).map_err(|error| broken(&certificate, error))?;
        Ok(Self { issuer, certificate_pem, clock, entropy })
    }

    /// The authority's certificate: what clients trust (`kube-root-ca.crt`).
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Issues a certificate with a new key.
    pub fn issue(&self, profile: &Profile) -> Result<Issued, Error> {
        let broken =
            |error: rcgen::Error| Error::broken(format!("certificate {:?}", profile.common_name), error);
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = subject(&profile.common_name, &profile.organizations);
        for name in &profile.dns_names {
            parameters.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(broken)?));
        }
        parameters.subject_alt_names.extend(profile.ips.iter().copied().map(SanType::IpAddress));
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if profile.server {
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if profile.client {
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        parameters.use_authority_key_identifier_extension = true;
        parameters.serial_number = Some(serial(&self.entropy));
        live(&mut parameters, self.clock.now(), profile.life)?;
        let pair = KeyPair::generate().map_err(broken)?;
        let certificate = parameters.signed_by(&pair, &self.issuer).map_err(broken)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: pair.serialize_pem() })
    }

    /// Loads `<name>.crt` and `<name>.key` of a folder if they are good (this authority's, of this profile, not in
    /// the last fifth of their life), else issues and writes them.
    pub fn ensure(&self, folder: &Path, name: &str, profile: &Profile) -> Result<Issued, Error> {
        let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        if let (Ok(certificate_pem), Ok(key_pem)) =
            (fs::read_to_string(&certificate), fs::read_to_string(&key))
            && self.good(&certificate_pem, profile)
        {
            return Ok(Issued { certificate_pem, key_pem });
        }
        let issued = self.issue(profile)?;
        write_private(&key, issued.key_pem.as_bytes())?;
        write_public(&certificate, issued.certificate_pem.as_bytes())?;
        Ok(issued)
    }

    fn good(&self, pem: &str, profile: &Profile) -> bool {
        let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pem.as_bytes()) else { return false };
        let Ok(certificate) = pem.parse_x509() else { return false };
        let Ok((_, own)) = x509_parser::pem::parse_x509_pem(self.certificate_pem.as_bytes()) else {
            return false;
        };
        let Ok(own) = own.parse_x509() else { return false };
        let left_s = certificate.validity().not_after.timestamp() - self.clock.now().as_second();
        let issued_by_us = certificate.verify_signature(Some(own.public_key())).is_ok();
        issued_by_us
            && left_s > i64::try_from(profile.life.as_secs() / 5).unwrap_or(i64::MAX)
            && names(&certificate) == wanted_names(profile)
            && crate::identity::user_of(&certificate).username == profile.common_name
    }
}

/// Alternative names of a certificate, sorted.
fn names(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Vec<String> {
    use x509_parser::extensions::GeneralName;
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let mut names: Vec<String> = extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
                _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            },
            _ => None,
        })
        .collect();
    names.sort();
    names
}

fn wanted_names(profile: &Profile) -> Vec<String> {
    let ips = profile.ips.iter().map(ToString::to_string);
    let mut names: Vec<String> = profile.dns_names.iter().cloned().chain(ips).collect();
    names.sort();
    names
}

fn make_authority(common_name: &str, clock: &Clock, entropy: &Entropy) -> Result<(String, String), Error> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = subject(common_name, &[]);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.serial_number = Some(serial(entropy));
    live(&mut parameters, clock.now(), AUTHORITY_LIFE)?;
    let broken = |error| Error::broken("certificate authority", error);
    let pair = KeyPair::generate().map_err(broken)?;
    let certificate = parameters.self_signed(&pair).map_err(broken)?;
    Ok((certificate.pem(), pair.serialize_pem()))
}

fn subject(common_name: &str, organizations: &[String]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    // rcgen keeps one value per attribute type, so several groups are told apart by custom types of the same number.
    for organization in organizations.iter().take(1) {
        subject.push(DnType::OrganizationName, organization.as_str());
    }
    subject.push(DnType::CommonName, common_name);
    subject
}

fn serial(entropy: &Entropy) -> SerialNumber {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    bytes[0] &= 0x7f;
    SerialNumber::from(bytes.to_vec())
}

fn live(parameters: &mut CertificateParams, now: Timestamp, life: Duration) -> Result<(), Error> {
    let at = |time: i64| {
        time::OffsetDateTime::from_unix_timestamp(time)
            .map_err(|error| Error::broken("certificate's life", error))
    };
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4);
    parameters.not_before = at(now.as_second() - seconds(BACKDATE))?;
    parameters.not_after = at(now.as_second() + seconds(life))?;
    Ok(())
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::File { path: path.display().to_string(), error })
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let file = |error| Error::File { path: path.display().to_string(), error };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(file)?;
    }
    // Written beside and renamed, so that a crash leaves the old file or the new one.
    let temporary = path.with_extension("tmp");
    let mut handle = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .map_err(file)?;
    handle.write_all(bytes).and_then(|()| handle.sync_all()).map_err(file)?;
    fs::rename(&temporary, path).map_err(file)
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(path, bytes, 0o600)
}

/// Writes a file that everybody may read.
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(path, bytes, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into()],
            dns_names: vec!["localhost".into()],
            ips: vec![IpAddr::from([127, 0, 0, 1])],
            server: true,
            client: true,
            life: Duration::from_secs(1000),
        }
    }

    #[test]
    fn certificates_are_kept_until_their_last_fifth() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().unwrap());
        let open = || Authority::open(folder.path(), "kubernetes", clock.clone(), Entropy::system()).unwrap();
        let first = open().ensure(folder.path(), "node", &profile()).unwrap();
        assert_eq!(open().ensure(folder.path(), "node", &profile()).unwrap(), first);
        clock.set("2026-01-01T00:15:00Z".parse().unwrap());
        assert_ne!(
            open().ensure(folder.path(), "node", &profile()).unwrap(),
            first,
            "900 of 1000 seconds are over"
        );
        let other = Profile { ips: vec![IpAddr::from([10, 0, 0, 1])], ..profile() };
        let second = open().ensure(folder.path(), "node", &other).unwrap();
        assert_ne!(open().ensure(folder.path(), "node", &profile()).unwrap(), second, "other addresses");
    }

    #[test]
    fn the_user_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let authority =
            Authority::open(folder.path(), "kubernetes", Clock::system(), Entropy::system()).unwrap();
        let issued = authority.issue(&profile()).unwrap();
        let user = crate::identity::user_of_pem(&issued.certificate_pem).unwrap();
        assert_eq!(user.username, "system:node:n1");
        assert_eq!(user.groups, ["system:nodes", "system:authenticated"]);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(folder.path().join("ca.key")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
}
