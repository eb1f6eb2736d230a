//! What is presented as a token: any text, and any header and claims under the unit's own key, as a fault of ours could
//! make them.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value};
use vehicle_classifierd::auth::{Key, Signer};
use vehicle_classifierd::config::{Sources, load};
use vehicle_classifierd::daemon::token_key;
use vehicle_classifierd::error::ErrorKind;

const SECRET: &str = "forty-two characters that nobody would guess";
const UNIT: &str = "unit-1";
const NOW: i64 = 1_800_000_000;

thread_local! {
    static SIGNER: Signer = Signer::new(&key(), UNIT);
}

fn key() -> Key {
    let flags = vec![("auth.secret_key".to_owned(), SECRET.to_owned())];
    let file = tempfile::NamedTempFile::new().unwrap();
    let sources = Sources { file: Some(file.path().to_owned()), flags, ..Sources::default() };
    token_key(&load(&sources).unwrap(), std::path::Path::new("/nonexistent")).unwrap()
}

/// No text is a token, as nobody but the unit can sign; and of what it signs only what it writes itself is one.
pub fn token(bytes: &[u8]) {
    let now = Timestamp::from_second(NOW).unwrap();
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    SIGNER.with(|signer| {
        let refused = signer.verify(text, now).expect_err("somebody else's token was taken");
        assert_eq!(refused.kind(), ErrorKind::Authentication);
        let Some((header, claims)) = text.split_once('\n') else { return };
        let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
        let secret = EncodingKey::from_secret(SECRET.as_bytes());
        let signature = sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
        match signer.verify(&format!("{message}.{signature}"), now) {
            Ok(read) => {
                let (header, claims) = (object(header), object(claims));
                assert_eq!((&header["alg"], &header["typ"]), (&"HS256".into(), &"JWT".into()));
                assert!(!header.contains_key("crit"));
                assert_eq!((&claims["iss"], &claims["jti"]), (&UNIT.into(), &read.id.into()));
                assert_eq!(claims["sub"], Value::from(read.subject));
                assert_eq!(claims["exp"], Value::from(read.expires_at.as_second()));
                assert!(read.expires_at > now);
                let times = [&claims["nbf"], &claims["iat"]].map(|time| time.as_i64().unwrap());
                assert!(times.into_iter().all(|time| time <= NOW + 5), "{times:?}");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Authentication, "{}", error.chain()),
        }
    });
}

fn object(json: &str) -> Map<String, Value> {
    serde_json::from_str(json).unwrap()
}
