//! Tests of `signing`.

#![allow(clippy::unwrap_used)]
use super::turns::{due, turn};
use super::*;
use crate::domain::time::{DAY_MS, MINUTE_MS};
use base64::Engine as _;
use serde::Deserialize;
use serde_json::{Value, json};

const START: Timestamp = Timestamp(1_800_000_000_000);

fn minutes(minutes: u64) -> Timestamp {
    START.plus_ms(minutes * MINUTE_MS)
}

fn life(made: u64, signs: u64) -> Life {
    Life {
        made_at: minutes(made),
        signs_from: minutes(signs),
    }
}

// --- keys taking turns ------------------------------------------------------------------------------------

/// The keys A, B, C…, one for each life, and what they do at a moment: who signs, who is published,
/// who verifies.
fn roles(lives: &[Life], now: Timestamp) -> (char, String, String) {
    let keys = (1..)
        .zip(lives)
        .map(|(seed, life)| Key::new(&[seed; 32], *life));
    let names: Vec<(String, char)> = (keys.map(|key| key.id().to_owned())).zip('A'..).collect();
    let name = |id: &str| names.iter().find(|(known, _)| known == id).unwrap().1;
    let keys = (1..)
        .zip(lives)
        .map(|(seed, life)| Key::new(&[seed; 32], *life));
    let ring = KeyRing::new(keys.collect()).unwrap();
    let verifying = names
        .iter()
        .filter(|(id, _)| ring.verifying(id, now).is_some());
    let mut verifying: Vec<char> = verifying.map(|(_, name)| *name).collect();
    let mut published: Vec<char> = ring.published(now).map(|key| name(key.id())).collect();
    verifying.sort_unstable();
    published.sort_unstable();
    (
        name(ring.signing(now).id()),
        published.into_iter().collect(),
        verifying.into_iter().collect(),
    )
}

#[test]
fn a_key_is_published_then_signs_then_verifies_then_is_over() {
    // A from the beginning; B made at 100 and signing from 110; C at once at 115.
    let lives = [life(0, 0), life(100, 110), life(115, 115)];
    let before = |minute: u64| minutes(minute).minus_ms(1);
    for (now, signs, published, verifies) in [
        (minutes(0), 'A', "ABC", "A"),
        (before(110), 'A', "ABC", "A"),
        (minutes(110), 'B', "ABC", "AB"),
        (before(115), 'B', "ABC", "AB"),
        (minutes(115), 'C', "ABC", "ABC"),
        (before(121), 'C', "ABC", "ABC"),
        (minutes(121), 'C', "BC", "BC"),
        (before(126), 'C', "BC", "BC"),
        (minutes(126), 'C', "C", "C"),
        (minutes(1_000_000), 'C', "C", "C"),
        // A clock that was set back to before all of them: somebody signs all the same.
        (START.minus_ms(1), 'A', "ABC", "A"),
    ] {
        let expected = (signs, published.to_owned(), verifies.to_owned());
        let after = now.since_ms(START);
        assert_eq!(roles(&lives, now), expected, "{after} ms after the start");
        // Whatever the order in which the store has them.
        let (signs, ..) = roles(&[lives[0], lives[2], lives[1]], now);
        let swapped = |name| match name {
            'B' => 'C',
            'C' => 'B',
            other => other,
        };
        assert_eq!(signs, swapped(expected.0));
    }
    assert!(KeyRing::new(Vec::new()).is_none());
}

#[test]
fn age_brings_a_successor_that_is_published_before_it_signs_and_removes_what_is_over() {
    let rotate_ms = 90 * DAY_MS;
    let day = 24 * 60;
    let make = |made: u64, signs: u64| Some(life(made, signs));
    for (lives, now, expected_make, expected_remove) in [
        // Nothing there: the first key signs at once.
        (vec![], 0, make(0, 0), vec![]),
        (vec![life(0, 0)], 1, None, vec![]),
        (vec![life(0, 0)], 90 * day - 11, None, vec![]),
        (
            vec![life(0, 0)],
            90 * day - 10,
            make(90 * day - 10, 90 * day),
            vec![],
        ),
        // After a long stop: still published before it signs.
        (
            vec![life(0, 0)],
            300 * day,
            make(300 * day, 300 * day + 10),
            vec![],
        ),
        // One is on its way.
        (
            vec![life(0, 0), life(90 * day - 10, 90 * day)],
            90 * day - 5,
            None,
            vec![],
        ),
        (vec![life(0, 0), life(50, 60)], 60, None, vec![]),
        (vec![life(0, 0), life(50, 60)], 70, None, vec![]),
        (vec![life(0, 0), life(50, 60)], 71, None, vec![0]),
        // The age is that of the key that signs.
        (
            vec![life(0, 0), life(50, 60)],
            60 + 90 * day - 10,
            make(50 + 90 * day, 60 + 90 * day),
            vec![0],
        ),
    ] {
        let plan = due(&lives, minutes(now), rotate_ms);
        assert_eq!(plan.make, expected_make, "{lives:?} at {now}");
        assert_eq!(plan.remove, expected_remove, "{lives:?} at {now}");
    }
}

#[test]
fn a_command_brings_a_key_now_or_soon_but_not_two_and_never_too_many() {
    let one = [life(0, 0)];
    let soon = turn(&one, minutes(50), When::Soon).unwrap();
    assert_eq!(soon.make, Some(life(50, 60)));
    assert!(soon.remove.is_empty());
    let now = turn(&one, minutes(50), When::Now).unwrap();
    assert_eq!(now.make, Some(life(50, 50)));

    // Also in the millisecond in which the one before it began.
    let plan = turn(&one, START, When::Now).unwrap();
    let at_once = plan.make.unwrap();
    assert_eq!(at_once.signs_from, START);
    for lives in [[one[0], at_once], [at_once, one[0]]] {
        let keys = (1..)
            .zip(lives)
            .map(|(seed, life)| Key::new(&[seed; 32], life));
        let ring = KeyRing::new(keys.collect()).unwrap();
        assert_eq!(ring.signing(START).life(), at_once);
    }

    let coming = [life(0, 0), life(50, 60)];
    let refused = turn(&coming, minutes(55), When::Soon).unwrap_err();
    let signs_from = minutes(60);
    assert_eq!(refused, NoTurn::Coming { signs_from });
    // The one that has not begun is dropped: it has signed nothing.
    let now = turn(&coming, minutes(55), When::Now).unwrap();
    assert_eq!((now.make, now.remove), (Some(life(55, 55)), vec![1]));

    let many: Vec<Life> = (0..KEYS_MAX as u64).map(|n| life(n, n)).collect();
    let room_from = minutes(1).plus_ms(KEPT_MS);
    for when in [When::Now, When::Soon] {
        let refused = turn(&many, minutes(8), when).unwrap_err();
        assert_eq!(refused, NoTurn::Full { room_from });
        let plan = turn(&many, room_from, when).unwrap();
        assert_eq!(plan.remove, [0]);
    }
    // Age waits for room as well.
    assert_eq!(due(&many, minutes(8), MINUTE_MS).make, None);
    assert!(due(&many, room_from, MINUTE_MS).make.is_some());
}

// --- tokens -----------------------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: u64,
    exp: u64,
}

impl Dated for Claims {
    fn issued_at_seconds(&self) -> u64 {
        self.iat
    }

    fn expires_at_seconds(&self) -> u64 {
        self.exp
    }
}

const EXPECTED: Expected<'static> = Expected {
    kind: Kind::Identity,
    issuer: "https://portero.example",
    audience: "bot",
};

fn claims() -> Claims {
    Claims {
        iss: EXPECTED.issuer.to_owned(),
        aud: EXPECTED.audience.to_owned(),
        sub: "somebody".to_owned(),
        iat: START.seconds(),
        exp: START.seconds() + 300,
    }
}

fn ring() -> KeyRing {
    KeyRing::new(vec![Key::new(&[1; 32], life(0, 0))]).unwrap()
}

fn verified(token: &str, now: Timestamp) -> Result<Claims, Refused> {
    ring().verify(token, &EXPECTED, now)
}

fn encoded(value: &Value) -> String {
    base64url(value.to_string().as_bytes())
}

/// Signed by the ring's key over whatever header and claims.
fn signed(header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let pair = ::ring::signature::Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    format!(
        "{message}.{}",
        base64url(pair.sign(message.as_bytes()).as_ref())
    )
}

fn header_of_ours() -> Value {
    let ring = ring();
    json!({"typ": "portero-identity+jwt", "alg": "EdDSA", "kid": ring.signing(START).id()})
}

#[test]
fn a_token_is_believed_until_its_last_millisecond() {
    let token = ring().sign(Kind::Identity, &claims(), START);
    let token = token.reveal();
    assert_eq!(verified(token, START), Ok(claims()));
    assert_eq!(verified(token, minutes(5).minus_ms(1)), Ok(claims()));
    assert_eq!(verified(token, minutes(5)), Err(Refused::Expired));
    // The clock that made it is the one that judges it: a moment of difference is all there can be.
    assert_eq!(verified(token, START.minus_ms(5_000)), Ok(claims()));
    assert_eq!(verified(token, START.minus_ms(5_001)), Err(Refused::Early));
    // What the helpers below sign by hand is believed too, so that it is refused for its reason.
    let by_hand = signed(&header_of_ours(), &json!(claims()));
    assert_eq!(verified(&by_hand, START), Ok(claims()));
}

#[test]
fn only_what_was_meant_so_is_believed() {
    let with = |name: &str, value: Value| {
        let mut header = header_of_ours();
        header[name] = value;
        signed(&header, &json!(claims()))
    };
    let claiming = |name: &str, value: Value| {
        let mut claims = json!(claims());
        claims[name] = value;
        signed(&header_of_ours(), &claims)
    };
    let without = |name: &str| {
        let mut claims = json!(claims());
        claims.as_object_mut().unwrap().remove(name);
        signed(&header_of_ours(), &claims)
    };
    let mut untyped = header_of_ours();
    untyped.as_object_mut().unwrap().remove("typ");
    let mut unnamed = header_of_ours();
    unnamed.as_object_mut().unwrap().remove("kid");
    for (token, refused) in [
        (with("typ", json!("JWT")), Refused::Type),
        (signed(&untyped, &json!(claims())), Refused::Type),
        (signed(&unnamed, &json!(claims())), Refused::Key),
        (with("kid", json!("another")), Refused::Key),
        (with("alg", json!("none")), Refused::Algorithm),
        (with("alg", json!("ES256")), Refused::Algorithm),
        (with("alg", json!("HS256")), Refused::Algorithm),
        (with("alg", json!("Ed25519")), Refused::Algorithm),
        (with("crit", json!(["exp"])), Refused::Malformed),
        (with("b64", json!(false)), Refused::Malformed),
        (
            with("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})),
            Refused::Malformed,
        ),
        (
            claiming("iss", json!("https://other.example")),
            Refused::Issuer,
        ),
        (claiming("aud", json!("directory")), Refused::Audience),
        (claiming("exp", json!("never")), Refused::Malformed),
        (claiming("exp", json!(START.seconds())), Refused::Expired),
        (claiming("iat", json!(START.seconds() + 60)), Refused::Early),
        (without("exp"), Refused::Malformed),
        (String::new(), Refused::Malformed),
        ("..".to_owned(), Refused::Malformed),
        ("a.b".to_owned(), Refused::Malformed),
        ("🦀.🦀.🦀".to_owned(), Refused::Malformed),
        (
            format!("{}.x", with("typ", json!("portero-identity+jwt"))),
            Refused::Malformed,
        ),
        ("a".repeat(TOKEN_BYTES_MAX + 1), Refused::Malformed),
    ] {
        assert_eq!(verified(&token, START), Err(refused), "{token}");
    }
}

#[test]
fn who_made_a_token_and_for_whom_must_be_said_also_when_nobody_reads_it() {
    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct Times {
        iat: u64,
        exp: u64,
    }
    impl Dated for Times {
        fn issued_at_seconds(&self) -> u64 {
            self.iat
        }

        fn expires_at_seconds(&self) -> u64 {
            self.exp
        }
    }
    let verified = |claims: Value| {
        let token = signed(&header_of_ours(), &claims);
        ring().verify::<Times>(&token, &EXPECTED, START)
    };
    let mut claims = json!(claims());
    assert!(verified(claims.clone()).is_ok());
    for name in ["iss", "aud"] {
        let kept = claims[name].take();
        assert_eq!(
            verified(claims.clone()),
            Err(Refused::Malformed),
            "{name}: null"
        );
        claims.as_object_mut().unwrap().remove(name);
        assert_eq!(
            verified(claims.clone()),
            Err(Refused::Malformed),
            "no {name}"
        );
        claims[name] = kept;
    }
}

#[test]
fn a_token_without_a_signature_or_under_the_public_key_as_a_password_is_refused() {
    use hmac::{Hmac, KeyInit, Mac};
    let ring = ring();
    let kid = ring.signing(START).id();
    let message = |alg: &str| {
        let header = json!({"typ": "portero-identity+jwt", "alg": alg, "kid": kid});
        format!("{}.{}", encoded(&header), encoded(&json!(claims())))
    };
    assert_eq!(
        verified(&format!("{}.", message("none")), START),
        Err(Refused::Algorithm)
    );
    assert_eq!(
        verified(&format!("{}.", message("EdDSA")), START),
        Err(Refused::Signature)
    );
    let jwks: Value = serde_json::from_str(&ring.jwks(START)).unwrap();
    let x = jwks["keys"][0]["x"].as_str().unwrap();
    for (alg, refused) in [("HS256", Refused::Algorithm), ("EdDSA", Refused::Signature)] {
        for password in [x.as_bytes().to_vec(), from_base64url(x).unwrap()] {
            let message = message(alg);
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&password).unwrap();
            mac.update(message.as_bytes());
            let token = format!("{message}.{}", base64url(&mac.finalize().into_bytes()));
            assert_eq!(verified(&token, START), Err(refused));
        }
    }
}

#[test]
fn no_character_of_a_token_can_be_changed() {
    let token = ring().sign(Kind::Identity, &claims(), START);
    let token = token.reveal();
    for (at, was) in token.bytes().enumerate() {
        let other = if was == b'A' { 'B' } else { 'A' };
        let mut altered = token.to_owned();
        altered.replace_range(at..=at, other.encode_utf8(&mut [0; 4]));
        assert!(verified(&altered, START).is_err(), "the character {at}");
        let mut shorter = token.to_owned();
        shorter.remove(at);
        assert!(
            verified(&shorter, START).is_err(),
            "without the character {at}"
        );
    }
    for longer in [
        format!("{token}A"),
        format!("{token}="),
        format!("{token}\n"),
        format!(" {token}"),
    ] {
        assert!(verified(&longer, START).is_err());
    }
}

#[test]
fn what_an_old_key_signed_is_believed_until_that_key_is_over() {
    let old = Key::new(&[1; 32], life(0, 0));
    let ring = KeyRing::new(vec![
        Key::new(&[2; 32], life(100, 110)),
        Key::new(&[1; 32], life(0, 0)),
    ])
    .unwrap();
    // The last one that it signed, which lives as long as one can.
    let expected = Expected {
        kind: Kind::Directory,
        ..EXPECTED
    };
    let made = |kind, at: Timestamp, life_seconds: u64| {
        let claims = Claims {
            iat: at.seconds(),
            exp: at.seconds() + life_seconds,
            ..claims()
        };
        (old.sign(kind, &claims), claims)
    };
    let (token, claims) = made(Kind::Directory, minutes(110), 600);
    let verified = |now| ring.verify::<Claims>(token.reveal(), &expected, now);
    assert_eq!(verified(minutes(110)), Ok(claims.clone()));
    assert_eq!(verified(minutes(120).minus_ms(1)), Ok(claims));
    assert_eq!(verified(minutes(120)), Err(Refused::Expired));
    assert_eq!(verified(minutes(121)), Err(Refused::Key));
    // Whoever has stolen it makes nothing with it that was made after its turn, or that lives on.
    let identity = |at, life_seconds, now| {
        let (token, _) = made(Kind::Identity, at, life_seconds);
        ring.verify::<Claims>(token.reveal(), &EXPECTED, now)
    };
    let after = |ms| minutes(110).plus_ms(ms);
    assert!(identity(after(5_000), 300, minutes(112)).is_ok());
    assert_eq!(identity(after(6_000), 300, minutes(112)), Err(Refused::Key));
    assert_eq!(
        identity(minutes(109), 301, minutes(112)),
        Err(Refused::Life)
    );
    // A key that has not begun has signed nothing.
    let early = Key::new(&[2; 32], life(100, 110)).sign(Kind::Identity, &self::claims());
    let refused = ring.verify::<Claims>(early.reveal(), &EXPECTED, minutes(4));
    assert_eq!(refused, Err(Refused::Key));
}

// --- forms ------------------------------------------------------------------------------------------------

fn rfc_8037_key() -> Key {
    let seed = from_base64url("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    Key::new(&seed.try_into().unwrap(), life(0, 0))
}

/// RFC 8037, A.2 and A.3: the public key and its thumbprint.
#[test]
fn keys_are_published_as_the_standard_has_them() {
    let ring = KeyRing::new(vec![rfc_8037_key()]).unwrap();
    let jwks: Value = serde_json::from_str(&ring.jwks(START)).unwrap();
    assert_eq!(
        jwks,
        json!({"keys": [{
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "alg": "EdDSA",
            "use": "sig",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        }]})
    );
}

/// RFC 8037, A.4 and A.5: the signature, and its verification.
#[test]
fn signatures_are_those_of_the_standard() {
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let key = rfc_8037_key();
    let made = jsonwebtoken::crypto::sign(message.as_bytes(), &key.signing, Algorithm::EdDSA);
    assert_eq!(made.unwrap(), signature);
    let verify = |message: &str| {
        jsonwebtoken::crypto::verify(
            signature,
            message.as_bytes(),
            &key.verifying,
            Algorithm::EdDSA,
        )
    };
    assert!(verify(message).unwrap());
    assert!(!verify(&message.replace('R', "S")).unwrap());
}

#[test]
fn a_key_does_not_print_its_secret() {
    let seed = [0xab; 32];
    let ring = KeyRing::new(vec![Key::new(&seed, life(0, 0))]).unwrap();
    let shown = format!("{ring:?} {ring:#?} {:?}", ring.signing(START).signing).to_lowercase();
    let base64 = base64::engine::general_purpose::STANDARD.encode(seed);
    for secret in ["abab", "171", &base64.to_lowercase()[..8]] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// How long it takes: `cargo test --release --lib signing -- --ignored --nocapture`.
#[test]
#[ignore = "tells times and holds nobody to them"]
fn signing_and_verifying_take() {
    const TIMES: u32 = 20_000;
    let ring = ring();
    let token = ring.sign(Kind::Identity, &claims(), START);
    let begun = std::time::Instant::now();
    for _ in 0..TIMES {
        std::hint::black_box(ring.sign(Kind::Identity, &claims(), START));
    }
    let signing = begun.elapsed() / TIMES;
    let begun = std::time::Instant::now();
    for _ in 0..TIMES {
        std::hint::black_box(ring.verify::<Claims>(token.reveal(), &EXPECTED, START)).unwrap();
    }
    println!("sign {signing:?}, verify {:?}", begun.elapsed() / TIMES);
}
