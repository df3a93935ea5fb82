//! Proof of identity between processes: certificates whose SAN URI names an institution or service, and the
//! authority of a development mesh that issues them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::{Caller, config::Tls, reload::Reloaded};

/// Makes aws-lc the provider of this process's cryptography. Call it first in `main`; a second call does nothing.
pub fn install_provider() {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).with_context(|| format!("reading {}", path.display()))?.collect();
    let found = found.with_context(|| format!("certificates in {}", path.display()))?;
    anyhow::ensure!(!found.is_empty(), "no certificate in {}", path.display());
    Ok(found)
}

fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("private key in {}", path.display()))
}

fn authority(path: &Path) -> anyhow::Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    Ok(Arc::new(roots))
}

/// What a process shows to its callers, and whom it lets in: holders of a certificate of the authority.
/// `optional_client` lets callers without a certificate in as well; they must prove themselves otherwise.
/// Renewed files are taken for new connections. Within a runtime.
///
/// # Errors
/// When a file cannot be read or holds no usable certificate.
pub fn server(tls: &Tls, optional_client: bool) -> anyhow::Result<Reloaded<ServerConfig>> {
    let files = tls.clone();
    Reloaded::watch("tls towards callers", files_of(tls), move || server_config(&files, optional_client))
}

/// What a process shows to the services it calls. Renewed files are taken for new connections. Within a runtime.
///
/// # Errors
/// When a file cannot be read or holds no usable certificate.
pub fn client(tls: &Tls) -> anyhow::Result<Reloaded<ClientConfig>> {
    let files = tls.clone();
    Reloaded::watch("tls towards services", files_of(tls), move || client_config(&files))
}

fn files_of(tls: &Tls) -> Vec<PathBuf> {
    vec![tls.certificate.clone(), tls.key.clone(), tls.authority.clone()]
}

fn server_config(tls: &Tls, optional_client: bool) -> anyhow::Result<ServerConfig> {
    let mut clients = WebPkiClientVerifier::builder(authority(&tls.authority)?);
    if optional_client {
        clients = clients.allow_unauthenticated();
    }
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(clients.build()?)
        .with_single_cert(certificates(&tls.certificate)?, private_key(&tls.key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn client_config(tls: &Tls) -> anyhow::Result<ClientConfig> {
    let mut config = ClientConfig::builder()
        .with_root_certificates(authority(&tls.authority)?)
        .with_client_auth_cert(certificates(&tls.certificate)?, private_key(&tls.key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The identity in a certificate: the one SAN URI of our scheme.
#[must_use]
pub fn caller_of_certificate(der: &[u8]) -> Option<Caller> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Caller::from_uri(uri).ok(),
        _ => None,
    })
}

/// The authority of a development mesh: certificates for its processes, and the keys of tokens and assertions, in
/// one folder. Never for production, where certificates come from the operator.
#[derive(Debug, Clone)]
pub struct DevelopmentAuthority {
    folder: PathBuf,
}

/// How long a development certificate lives.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
const A_DAY: Duration = Duration::from_secs(24 * 3600);

impl DevelopmentAuthority {
    /// Opens the authority in a folder, and creates it there the first time.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let authority = Self { folder: folder.to_owned() };
        if !authority.path("authority.crt").exists() {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "JKN mesh development authority");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let certificate = params.self_signed(&key)?;
            write_private(&authority.path("authority.key"), &key.serialize_pem())?;
            write(&authority.path("authority.crt"), &certificate.pem())?;
        }
        for name in ["token", "assertion"] {
            if !authority.path(&format!("{name}.pub")).exists() {
                let key = KeyPair::generate_for(&PKCS_ED25519)?;
                write_private(&authority.path(&format!("{name}.key")), &key.serialize_pem())?;
                write(&authority.path(&format!("{name}.pub")), &key.public_key_pem())?;
            }
        }
        Ok(authority)
    }

    /// A file of the authority: `token.key`, `token.pub`, `assertion.key`, `assertion.pub`, `authority.crt`.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Issues a certificate for an identity; `name.crt` and `name.key` in the folder. A service answers to its name
    /// and to localhost.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn issue(&self, name: &str, caller: &Caller, now: Timestamp) -> anyhow::Result<Tls> {
        let key = KeyPair::generate()?;
        let mut params =
            CertificateParams::new(vec![name.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.push(SanType::URI(caller.to_uri().try_into()?));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        // A day back, for machines whose clocks differ.
        let (from, to) = (year_month_day(now - A_DAY), year_month_day(now + LIFETIME));
        let ((y0, m0, d0), (y1, m1, d1)) = from.zip(to).context("the clock is out of range")?;
        params.not_before = rcgen::date_time_ymd(y0, m0, d0);
        params.not_after = rcgen::date_time_ymd(y1, m1, d1);
        let issuer_key = KeyPair::from_pem(&read(&self.path("authority.key"))?)?;
        let issuer = Issuer::from_ca_cert_pem(&read(&self.path("authority.crt"))?, issuer_key)?;
        let certificate = params.signed_by(&key, &issuer)?;
        let tls = Tls {
            certificate: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
            authority: self.path("authority.crt"),
            assertion_key: self.path("assertion.pub"),
        };
        write_private(&tls.key, &key.serialize_pem())?;
        write(&tls.certificate, &certificate.pem())?;
        Ok(tls)
    }
}

fn year_month_day(at: Timestamp) -> Option<(i32, u8, u8)> {
    let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    Some((i32::from(date.year()), u8::try_from(date.month()).ok()?, u8::try_from(date.day()).ok()?))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// Written beside and renamed, readable by its owner alone from the first byte.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .with_context(|| format!("writing {}", beside.display()))?;
    file.write_all(text.as_bytes())?;
    fs::rename(&beside, path).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_names_its_holder_and_the_authority_outlives_a_restart() {
        install_provider();
        let folder = std::env::temp_dir().join(format!("jkn-pki-{}", uuid::Uuid::new_v4()));
        let caller = Caller::service("claims");
        for _ in 0..2 {
            let authority = DevelopmentAuthority::open(&folder).unwrap();
            let tls = authority.issue("claims", &caller, Timestamp::now()).unwrap();
            let der = certificates(&tls.certificate).unwrap();
            assert_eq!(caller_of_certificate(&der[0]), Some(caller.clone()));
            server_config(&tls, false).unwrap();
            client_config(&tls).unwrap();
        }
        assert_eq!(caller_of_certificate(b"no certificate"), None);
        fs::remove_dir_all(folder).unwrap();
    }
}
