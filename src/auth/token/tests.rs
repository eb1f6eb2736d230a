//! Attacks on the verifier, table by table (RFC 8725), and the clocks it must bear.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::crypto::sign;
use serde_json::{Value, json};

use super::*;
use crate::auth::key;

const ISSUED: i64 = 1_800_000_000;
const LIFETIME: Duration = Duration::from_secs(1_800);
/// {"alg":"none","typ":"JWT"}, {"alg":"RS256","typ":"JWT"}, {"typ":"JWT"}, base64url.
const HEADER_NONE: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
const HEADER_RS256: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
const HEADER_NO_ALG: &str = "eyJ0eXAiOiJKV1QifQ";

struct Bench {
    key: Key,
    signer: Signer,
    user: User,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn some_key() -> Key {
    let directory = tempfile::tempdir().unwrap();
    key::load_or_create(&directory.path().join("key")).unwrap()
}

fn bench() -> Bench {
    let key = some_key();
    let signer = Signer::new(&key, "unit-1");
    let user = User {
        id: 7,
        name: "ada".into(),
        role: Role::Admin,
        enabled: true,
        must_change_password: false,
        password_hash: "secret hash".into(),
        created_at: at(0),
        token_generation: 5,
        kept_token: None,
    };
    Bench { key, signer, user }
}

impl Bench {
    fn access(&self) -> Issued {
        self.signer.issue_access(&self.user, at(ISSUED), LIFETIME).unwrap()
    }

    /// Any header and claims under the right key: what an attacker could only wish for, or a bug of ours could make.
    fn forge(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &EncodingKey::from_secret(self.key.bytes())).unwrap()
    }

    fn forge_claims(&self, claims: &Value) -> String {
        self.forge(&Header::new(Algorithm::HS256), claims)
    }

    #[track_caller]
    fn refused(&self, case: &str, token: &str) {
        let error = self.signer.verify(token, at(ISSUED)).expect_err(case);
        assert_eq!(error.kind(), ErrorKind::Authentication, "{case}");
        assert_eq!(error.message(), "The token is not valid; log in again.", "{case}");
    }
}

fn claims() -> Value {
    json!({
        "iss": "unit-1", "aud": "vehicle-classifierd", "sub": "ada", "jti": "4b8c", "use": "access", "uid": 7,
        "role": "admin", "iat": ISSUED, "nbf": ISSUED, "exp": ISSUED + 1_800, "gen": 5,
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn an_issued_token_says_what_was_put_in() {
    let bench = bench();
    let now = at(ISSUED) + Duration::from_micros(250_017);
    let issued = bench.signer.issue_access(&bench.user, now, LIFETIME).unwrap();
    let claims = bench.signer.verify(&issued.token, now).unwrap();
    let grant = Grant::Access { user_id: 7, generation: 5, role: Role::Admin };
    let expected = Claims { id: issued.id.clone(), subject: "ada".into(), expires_at: issued.expires_at, grant };
    assert_eq!(claims, expected);
    assert_eq!(issued.expires_at, at(ISSUED + 1_800));
    assert!(Uuid::parse_str(&issued.id).is_ok());
    assert_ne!(issued.id, bench.access().id);

    let scopes = [Scope::Metrics, Scope::Read];
    let year = Duration::from_secs(365 * 86_400);
    let issued = bench.signer.issue_service("prometheus", &scopes, now, year).unwrap();
    let claims = bench.signer.verify(&issued.token, at(ISSUED + 364 * 86_400)).unwrap();
    assert_eq!((claims.id, claims.subject.as_str()), (issued.id, "prometheus"));
    assert_eq!(claims.grant, Grant::Service { scopes: scopes.to_vec() });
}

#[test]
fn a_token_holds_the_claims_of_the_contract_and_no_secret() {
    let bench = bench();
    let token = bench.access().token;
    assert!(token.len() < TOKEN_BYTES_MAX / 4, "{} bytes", token.len());
    let payload: Value = jsonwebtoken::dangerous::insecure_decode(&token).unwrap().claims;
    let mut names: Vec<_> = payload.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["aud", "exp", "gen", "iat", "iss", "jti", "nbf", "role", "sub", "uid", "use"]);
    assert!(!format!("{:?}", bench.signer).contains("encoding"));
}

#[test]
fn the_given_clock_decides_not_the_system_s() {
    let bench = bench();
    let token = bench.access().token;
    for (now, expected) in [
        (ISSUED - 3_600, Err("not valid yet")),
        (ISSUED - 6, Err("not valid yet")),
        (ISSUED - 5, Ok(())),
        (ISSUED, Ok(())),
        (ISSUED + 1_799, Ok(())),
        (ISSUED + 1_800, Err("has expired")),
        (ISSUED + 10_000_000, Err("has expired")),
        (0, Err("not valid yet")),
    ] {
        match (bench.signer.verify(&token, at(now)), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(reason)) => {
                assert_eq!(error.kind(), ErrorKind::Authentication);
                assert!(error.message().contains(reason), "{now}: {error}");
            }
            (outcome, _) => panic!("{now}: {outcome:?}"),
        }
    }
    // `nbf` and `iat` each count by themselves.
    for name in ["nbf", "iat"] {
        let error = bench.signer.verify(&bench.forge_claims(&with(name, json!(ISSUED + 60))), at(ISSUED)).unwrap_err();
        assert!(error.message().contains("not valid yet"), "{name}");
    }
    assert!(bench.signer.issue_access(&bench.user, Timestamp::MAX, LIFETIME).is_err(), "no expiry beyond time");
}

#[test]
fn other_algorithms_and_broken_signatures_are_refused() {
    let bench = bench();
    let token = bench.access().token;
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let secret = EncodingKey::from_secret(bench.key.bytes());
    let hs256 = |message: &str| sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();

    bench.refused("alg none, no signature", &format!("{HEADER_NONE}.{payload}."));
    bench.refused("alg none, the old signature", &format!("{HEADER_NONE}.{payload}.{signature}"));
    for (case, other) in [("none", HEADER_NONE), ("RS256", HEADER_RS256), ("no alg", HEADER_NO_ALG)] {
        let message = format!("{other}.{payload}");
        bench
            .refused(&format!("key confusion: {case}, signed with our key"), &format!("{message}.{}", hs256(&message)));
    }
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        bench.refused("a stronger algorithm is another one", &bench.forge(&Header::new(algorithm), &claims()));
    }
    bench.refused("stripped signature", &format!("{header}.{payload}."));
    bench.refused("no signature part", &format!("{header}.{payload}"));
    bench.refused("truncated signature", &token[..token.len() - 4]);
    bench.refused("padded", &format!("{token}="));
    bench.refused("trailing part", &format!("{token}.{signature}"));
    bench.refused("foreign payload", &format!("{header}.{}.{signature}", payload.replace('W', "X")));

    let foreign = Signer::new(&some_key(), "unit-1").issue_access(&bench.user, at(ISSUED), LIFETIME).unwrap();
    bench.refused("foreign key", &foreign.token);
    let empty_key = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(b""));
    bench.refused("empty key", &empty_key.unwrap());
    assert!(bench.signer.verify(&bench.forge_claims(&claims()), at(ISSUED)).is_ok(), "the forge itself works");
}

#[test]
fn every_bit_of_the_signature_counts() {
    let bench = bench();
    let token = bench.access().token;
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (head, last) = token.split_at(token.len() - 1);
    for other in alphabet.chars().filter(|other| !last.contains(*other)) {
        bench.refused("last character, spare bits included", &format!("{head}{other}"));
    }
}

#[test]
fn headers_that_point_elsewhere_change_nothing() {
    let bench = bench();
    let plain = Header::new(Algorithm::HS256);
    for (case, header) in [
        ("no typ", Header { typ: None, ..plain.clone() }),
        ("another typ", Header { typ: Some("at+jwt".into()), ..plain.clone() }),
        ("unknown crit", Header { crit: Some(vec!["x-must-understand".into()]), ..plain.clone() }),
        ("empty crit", Header { crit: Some(vec![]), ..plain.clone() }),
    ] {
        bench.refused(case, &bench.forge(&header, &claims()));
    }
    // An attacker's key, and a header that says where to find it: nobody looks.
    let own = some_key();
    for header in [
        Header { kid: Some("../../dev/null".into()), ..plain.clone() },
        Header { kid: Some("' OR '1'='1".into()), ..plain.clone() },
        Header { jku: Some("https://attacker.example/jwks.json".into()), ..plain.clone() },
        Header { x5u: Some("https://attacker.example/cert.pem".into()), ..plain.clone() },
        Header {
            jwk: serde_json::from_value(json!({"kty": "oct", "alg": "HS256", "k": "YXR0YWNrZXI"})).unwrap(),
            ..plain.clone()
        },
    ] {
        let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(own.bytes())).unwrap();
        bench.refused("a key of the attacker's choice", &token);
    }
}

#[test]
fn each_claim_is_required_and_must_be_ours() {
    let bench = bench();
    let accepted = bench.signer.verify(&bench.forge_claims(&claims()), at(ISSUED)).unwrap();
    assert_eq!(accepted.id, "4b8c");
    for name in ["iss", "aud", "sub", "jti", "iat", "nbf", "exp", "gen", "use", "uid", "role"] {
        bench.refused(name, &bench.forge_claims(&without(name)));
        bench.refused(name, &bench.forge_claims(&with(name, Value::Null)));
    }
    for (name, value) in [
        ("iss", json!("unit-2")),
        ("iss", json!(["unit-1"])),
        ("aud", json!("another-service")),
        ("aud", json!(["vehicle-classifierd", "another-service"])),
        ("exp", json!("1900000000")),
        ("exp", json!(1.9e9)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(i64::MAX)),
        ("gen", json!("5")),
        ("role", json!("root")),
        ("sub", json!(7)),
        ("use", json!("refresh")),
        // A login's token is no machine's, and the other way round.
        ("use", json!("service")),
    ] {
        bench.refused(&format!("{name} = {value}"), &bench.forge_claims(&with(name, value)));
    }
    let mut machine = without("role");
    machine["use"] = json!("service");
    machine["scopes"] = json!(["metrics"]);
    assert!(bench.signer.verify(&bench.forge_claims(&machine), at(ISSUED)).is_ok());
    machine["use"] = json!("access");
    bench.refused("a machine's token as a login", &bench.forge_claims(&machine));
    machine["use"] = json!("service");
    machine["scopes"] = json!(["metrics", "admin"]);
    bench.refused("an unknown scope", &bench.forge_claims(&machine));
}

#[test]
fn claims_said_twice_or_in_another_encoding_are_refused() {
    let bench = bench();
    let signed = |header: &[u8], payload: &[u8]| {
        let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(payload));
        let secret = EncodingKey::from_secret(bench.key.bytes());
        let signature = sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    };
    let header = br#"{"alg":"HS256","typ":"JWT"}"#;
    let plain = claims().to_string();
    assert!(bench.signer.verify(&signed(header, plain.as_bytes()), at(ISSUED)).is_ok(), "the forge itself works");
    // Whose reader takes the first of two and whose takes the last is anybody's guess.
    for (name, value) in
        [("exp", json!(ISSUED + 999_999)), ("sub", json!("admin")), ("role", json!("admin")), ("gen", json!(5))]
    {
        let twice = format!("{{\"{name}\":{value},{}", &plain[1..]);
        bench.refused(&format!("{name} twice"), &signed(header, twice.as_bytes()));
    }
    bench.refused("alg twice", &signed(br#"{"alg":"none","alg":"HS256","typ":"JWT"}"#, plain.as_bytes()));
    let utf16: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    bench.refused("UTF-16", &signed(header, &utf16));
    bench.refused("a byte order mark", &signed(header, format!("\u{feff}{plain}").as_bytes()));
    bench.refused(
        "no UTF-8",
        &signed(header, &plain.replace("ada", "a\u{fe}a").chars().map(|c| c as u8).collect::<Vec<_>>()),
    );
}

#[test]
fn what_is_no_token_is_refused_at_any_size() {
    let bench = bench();
    let huge = bench.forge_claims(&with("padding", json!("x".repeat(TOKEN_BYTES_MAX))));
    bench.refused("over the limit, though signed", &huge);
    // RFC 7516, appendix A.1 (shortened): five parts, encrypted.
    let jwe = "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKTyKOMTYUmKoTCVJRgck\
               .48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6ji.XFBoMYUZodetZdvTiFvSkQ";
    for garbage in [
        "",
        ".",
        "..",
        "...",
        "Bearer",
        "a.b.c",
        "\0.\0.\0",
        "ä.ö.ü",
        "{}.{}.{}",
        "e30.e30.e30",
        "eyJhbGciOiJIUzI1NiJ9..",
        "{\"payload\":\"e30\",\"signatures\":[]}",
        jwe,
        &".".repeat(TOKEN_BYTES_MAX),
        &"A".repeat(10 << 20),
    ] {
        bench.refused("garbage", garbage);
    }
}
