//! TLS in the daemon: whose certificate it shows, and how a new one is taken over while it runs. TLS 1.3 only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use salvo::conn::rustls::{Keycert, RustlsConfig};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::config::{ApiConfig, TlsConfig};
use crate::error::{Error, Result};
use crate::files::write_new;

/// Every client of this decade speaks it.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
/// Certificate and key, made on the first start with `api.tls.self_signed`.
const SELF_SIGNED_FILE: &str = "tls-self-signed.pem";

/// What the unit proves itself with.
#[derive(Clone)]
pub struct TlsIdentity {
    config: RustlsConfig,
    /// Hex SHA-256 of the certificate, in pairs: what browsers and `openssl x509 -fingerprint -sha256` show.
    pub fingerprint: String,
    /// When the certificate stops being valid.
    pub expires_at: Timestamp,
    /// Where the certificate comes from.
    pub file: PathBuf,
}

/// The certificate and key that the configuration names; none without TLS, and none for a self-signed one that is still to be
/// made.
///
/// # Errors
/// Config, naming the file and what is wrong with it.
pub fn existing(tls: &TlsConfig, state_directory: &Path) -> Result<Option<TlsIdentity>> {
    if tls.self_signed {
        let file = state_directory.join(SELF_SIGNED_FILE);
        return if file.exists() { read(&file, &file).map(Some) } else { Ok(None) };
    }
    if tls.is_on() { read(&tls.certificate, &tls.key).map(Some) } else { Ok(None) }
}

/// As [`existing`], but a self-signed certificate is made when there is none.
///
/// # Errors
/// Config for files that cannot be used or written; internal when no certificate can be made.
pub fn load_or_make(api: &ApiConfig, state_directory: &Path, unit_id: &str) -> Result<Option<TlsIdentity>> {
    let file = state_directory.join(SELF_SIGNED_FILE);
    if api.tls.self_signed && !file.exists() {
        write_new(&file, make(names(api, unit_id), unit_id)?.as_bytes(), 0o600)?;
        tracing::info!("first start: a self-signed certificate was made in {}", file.display());
    }
    existing(&api.tls, state_directory)
}

fn read(certificate: &Path, key: &Path) -> Result<TlsIdentity> {
    let unusable = |file: &Path, why: String| Error::config(format!("Cannot use {} for TLS: {why}.", file.display()));
    let content = |file: &Path| fs::read(file).map_err(|cause| unusable(file, cause.to_string()));
    let (certificate_pem, key_pem) = (content(certificate)?, content(key)?);
    let mode = fs::metadata(key).map_or(0, |found| found.permissions().mode() & 0o777);
    if mode & 0o007 != 0 {
        return Err(unusable(key, format!("everybody may read the key (mode {mode:04o}); run chmod o= on it")));
    }
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificate_pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|cause| unusable(certificate, format!("it is no PEM file of certificates ({cause})")))?;
    let first = chain.first().ok_or_else(|| unusable(certificate, "there is no certificate in it".into()))?;
    let fingerprint = fingerprint(first);
    let (_, parsed) = x509_parser::parse_x509_certificate(first)
        .map_err(|cause| unusable(certificate, format!("it is no X.509 certificate ({cause})")))?;
    // RFC 5280 knows "no end", year 9999, which is beyond what the clock of this program holds by a day.
    let expires_at = Timestamp::from_second(parsed.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX);
    let private = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|cause| unusable(key, format!("it is no PEM file of a private key ({cause})")))?;
    CertifiedKey::from_der(chain, private, &default_provider())
        .map_err(|cause| unusable(key, format!("key and certificate do not work together ({cause})")))?;
    let config = RustlsConfig::new(Keycert::new().cert(certificate_pem).key(key_pem))
        .alpn_protocols(vec![b"http/1.1".to_vec()])
        .tls_versions(VERSIONS);
    Ok(TlsIdentity { config, fingerprint, expires_at, file: certificate.to_owned() })
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let pairs: Vec<_> = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// What people may call this unit by.
fn names(api: &ApiConfig, unit_id: &str) -> Vec<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".into(), "::1".into(), host, unit_id.to_owned()];
    if !api.listen.ip().is_unspecified() {
        names.push(api.listen.ip().to_string());
    }
    names.extend(api.trusted_hosts.iter().cloned());
    names.retain(|name| !name.is_empty() && name.is_ascii());
    names.sort();
    names.dedup();
    names
}

/// A certificate and its key as PEM, one behind the other. It does not expire in our time: a unit that starts without a
/// synchronised clock could not tell, and whoever trusts it does so by its fingerprint.
fn make(names: Vec<String>, unit_id: &str) -> Result<String> {
    let failed = |cause: rcgen::Error| Error::internal("The self-signed certificate cannot be made.").because(cause);
    let mut parameters = CertificateParams::new(names).map_err(failed)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, unit_id);
    parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    Ok(certificate.pem() + &key.serialize_pem())
}

/// Hands a new certificate to the listener.
pub struct Renewal(mpsc::Sender<RustlsConfig>);

impl Renewal {
    /// New connections get the new certificate; those that are open keep theirs.
    ///
    /// # Errors
    /// Internal when the listener is gone.
    pub fn show(&self, identity: TlsIdentity) -> Result<()> {
        self.0
            .try_send(identity.config)
            .map_err(|cause| Error::internal("The listener takes no certificate.").because(cause))
    }
}

/// The certificates for a listener, the first one at once, and the way to bring it new ones.
pub fn certificates(first: TlsIdentity) -> (Renewal, impl Stream<Item = RustlsConfig> + Send + 'static) {
    let (send, receive) = mpsc::channel(4);
    let later = stream::unfold(receive, |mut receive| async move { Some((receive.recv().await?, receive)) });
    (Renewal(send), stream::once(std::future::ready(first.config)).chain(later))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(directory: &Path, certificate: &str, key: &str) -> TlsConfig {
        TlsConfig { certificate: directory.join(certificate), key: directory.join(key), self_signed: false }
    }

    #[test]
    fn a_self_signed_certificate_is_made_once_and_kept_for_its_owner() {
        let state = tempfile::tempdir().unwrap();
        let api = ApiConfig { tls: TlsConfig { self_signed: true, ..TlsConfig::default() }, ..ApiConfig::default() };
        assert!(existing(&api.tls, state.path()).unwrap().is_none());
        let first = load_or_make(&api, state.path(), "unit-1").unwrap().unwrap();
        let again = load_or_make(&api, state.path(), "unit-1").unwrap().unwrap();
        assert_eq!(first.fingerprint, again.fingerprint);
        assert_eq!(first.fingerprint.len(), 95);
        let mode = fs::metadata(state.path().join(SELF_SIGNED_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_that_cannot_be_used_are_named_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str, mode| {
            fs::write(directory.path().join(name), text).unwrap();
            fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        let (one, other) = (make(vec!["a".into()], "one").unwrap(), make(vec!["b".into()], "other").unwrap());
        put("one.pem", &one, 0o600);
        put("other.pem", &other, 0o600);
        put("open.pem", &one, 0o644);
        put("text.pem", "no certificate", 0o600);
        let refused = |certificate, key| {
            existing(&tls(directory.path(), certificate, key), directory.path()).map(drop).unwrap_err().to_string()
        };
        assert!(existing(&tls(directory.path(), "one.pem", "one.pem"), directory.path()).unwrap().is_some());
        for (certificate, key, reason) in [
            ("one.pem", "other.pem", "do not work together"),
            ("one.pem", "open.pem", "everybody may read"),
            ("text.pem", "one.pem", "no certificate in it"),
            ("one.pem", "text.pem", "no PEM file of a private key"),
            ("none.pem", "one.pem", "No such file"),
        ] {
            let message = refused(certificate, key);
            assert!(message.contains(reason) && message.contains(".pem"), "{message}");
        }
    }
}
