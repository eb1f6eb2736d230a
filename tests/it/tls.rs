//! TLS in the daemon: a certificate of its own, and somebody else's that is renewed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::unit::Unit;

/// The answer to `GET /health` of a client that trusts nothing but `certificate`.
fn health(unit: &Unit, certificate: &[u8]) -> std::io::Result<String> {
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_slice(certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(&unit.address)?);
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn certificate(directory: &Path) -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::set_permissions(directory.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(directory.join("certificate.pem"), made.pem()).unwrap();
    made.pem().into_bytes()
}

#[test]
fn a_self_signed_certificate_is_made_shown_and_kept() {
    let unit = Unit::with(&[("API__TLS__SELF_SIGNED", "true")]);
    let file = unit.state_directory().join("tls-self-signed.pem");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let made = std::fs::read(&file).unwrap();
    let answer = health(&unit, &made).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.to_lowercase().contains("strict-transport-security: max-age="), "{answer}");
    assert!(!unit.log.text().contains("PRIVATE KEY"));

    let fingerprint = unit.log.text().split("fingerprint ").nth(1).unwrap()[..95].to_owned();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_vehicle-classifierd"))
        .args(["doctor", "--state-directory"])
        .arg(unit.state_directory())
        .env("VEHICLE_CLASSIFIER__API__TLS__SELF_SIGNED", "true")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(told.contains(&fingerprint) && told.contains("valid until 4"), "{fingerprint}: {told}");

    // Plain HTTP gets nothing on that port.
    let mut plain = TcpStream::connect(&unit.address).unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
    let unit = unit.kill_and_restart();
    assert!(health(&unit, &made).is_ok(), "the same certificate after a restart");
}

#[test]
fn a_renewed_certificate_is_taken_over_and_a_broken_one_is_not() {
    let files = tempfile::tempdir().unwrap();
    let old = certificate(files.path());
    let path = |name: &str| files.path().join(name).display().to_string();
    let unit = Unit::with(&[("API__TLS__CERTIFICATE", &path("certificate.pem")), ("API__TLS__KEY", &path("key.pem"))]);
    assert!(health(&unit, &old).unwrap().starts_with("HTTP/1.1 200"));
    let new = certificate(files.path());
    assert!(health(&unit, &new).is_err(), "not before it is told to");
    unit.signal("HUP");
    unit.log.wait_for("tls config changed");
    assert!(health(&unit, &new).unwrap().starts_with("HTTP/1.1 200"));
    assert!(health(&unit, &old).is_err());
    std::fs::write(files.path().join("certificate.pem"), "no certificate").unwrap();
    unit.signal("HUP");
    unit.log.wait_for("nothing was reloaded");
    assert!(unit.log.text().contains("certificate.pem"), "{}", unit.log.text());
    assert!(health(&unit, &new).is_ok(), "the last good one stays");
}

#[test]
fn a_certificate_that_cannot_be_used_keeps_the_unit_from_starting() {
    let files = tempfile::tempdir().unwrap();
    certificate(files.path());
    std::fs::set_permissions(files.path().join("key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = crate::unit::program()
        .args(["serve", "--state-directory"])
        .arg(files.path().join("state"))
        .env("VEHICLE_CLASSIFIER__API__LISTEN", "127.0.0.1:0")
        .env("VEHICLE_CLASSIFIER__API__TLS__CERTIFICATE", files.path().join("certificate.pem"))
        .env("VEHICLE_CLASSIFIER__API__TLS__KEY", files.path().join("key.pem"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(78), "{said}");
    assert!(said.contains("key.pem") && said.contains("chmod"), "{said}");
}

#[test]
fn the_doctor_tells_when_a_certificate_ends() {
    let directory = tempfile::tempdir().unwrap();
    let day = |from_now: i64| {
        let date =
            jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).date() + jiff::Span::new().days(from_now);
        rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
    };
    for (days, verdict, said) in [(-2, "failed", "expired on"), (10, "note", "expires on"), (200, "ok", "valid until")]
    {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_after = day(days);
        let made = parameters.self_signed(&key).unwrap();
        let file = directory.path().join("both.pem");
        std::fs::write(&file, made.pem() + &key.serialize_pem()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let checked = crate::unit::program()
            .args(["doctor", "--json", "--state-directory"])
            .arg(directory.path().join("state"))
            .env("VEHICLE_CLASSIFIER__API__TLS__CERTIFICATE", &file)
            .env("VEHICLE_CLASSIFIER__API__TLS__KEY", &file)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&checked.stdout).into_owned();
        let line = told.lines().find(|line| line.contains("\"tls\"")).unwrap_or_else(|| panic!("{told}"));
        let found: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(found["verdict"] == verdict && found["message"].as_str().unwrap().contains(said), "{days}: {line}");
    }
}
