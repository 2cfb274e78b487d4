use super::*;
use http::HeaderValue;
use std::io::Write as _;

const RANDOM: &str = "k7Qm2xZp9RtYvB4nL8sWc3Df";
const SLOW: &str = "shop.correct horse";

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn slow_hash(key: &str, memory: u32) -> String {
    use argon2::{Algorithm, Params, PasswordHasher as _, Version};
    let params = Params::new(memory, 1, 1, None).unwrap();
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = hasher.hash_password_with_salt(key.as_bytes(), b"0123456789abcdef").unwrap();
    hash.to_string()
}

fn parse(text: &str) -> Result<Keys, String> {
    Keys::parse("keys.yaml", text.as_bytes(), Platform::system().wall_clock())
}

fn fast(name: &str, key: &str, more: &str) -> String {
    format!("  - {{ name: {name}, sha256: {}{more} }}\n", hex(&sha256(key.as_bytes())))
}

struct Rig {
    keys: ApiKeys,
    file: tempfile::NamedTempFile,
}

impl Rig {
    fn new(entries: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "keys:\n{entries}").unwrap();
        let settings = Settings { file: file.path().to_owned(), header: default_header() };
        let keys = ApiKeys::open(&settings, Path::new("/"), &Platform::system(), || {}).unwrap();
        Self { keys, file }
    }

    async fn prove(&self, values: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-api-key", HeaderValue::from_bytes(value).unwrap());
        }
        let mut proof = self.keys.prove(&headers);
        if let Proof::Ask(asking) = proof {
            proof = asking.await;
        }
        format!("{proof:?}")
    }
}

#[tokio::test]
async fn a_key_is_its_owners_and_nothing_near_it_is() {
    let rig = Rig::new(&(fast("batch", RANDOM, "") + &fast("other", &RANDOM.to_lowercase(), "")));
    assert_eq!(rig.prove(&[RANDOM.as_bytes()]).await, "Good(key:batch)");
    assert_eq!(rig.prove(&[RANDOM.to_lowercase().as_bytes()]).await, "Good(key:other)");
    assert_eq!(rig.prove(&[]).await, "Absent");
    let digest = sha256(RANDOM.as_bytes());
    for wrong in [
        &b""[..],
        b"batch",
        &RANDOM.as_bytes()[1..],
        &RANDOM.as_bytes()[..RANDOM.len() - 1],
        &[RANDOM.as_bytes(), b"x"].concat(),
        &RANDOM.to_uppercase().into_bytes(),
        hex(&digest).as_bytes(),
        b"\xff\xfe",
        &vec![b'a'; digests::MOST + 1],
    ] {
        let found = rig.prove(&[wrong]).await;
        assert!(found.starts_with("Bad("), "{found}");
        assert!(!found.contains(RANDOM), "{found}");
    }
    assert_eq!(rig.prove(&[RANDOM.as_bytes(), RANDOM.as_bytes()]).await, "Bad(it has two API keys)");
}

#[tokio::test]
async fn a_plain_digest_of_a_short_key_is_not_taken() {
    let rig = Rig::new(&fast("batch", "secret", ""));
    assert!(rig.prove(&[b"secret"]).await.contains("too short"));
}

#[tokio::test]
async fn a_key_ends() {
    let ended = fast("old", RANDOM, ", expires: '2020-01-01T00:00:00Z'");
    let rig = Rig::new(&(ended + &fast("new", &RANDOM.repeat(2), ", expires: '2120-01-01T00:00:00Z'")));
    assert_eq!(rig.prove(&[RANDOM.as_bytes()]).await, "Bad(the API key of key:old has expired)");
    assert_eq!(rig.prove(&[RANDOM.repeat(2).as_bytes()]).await, "Good(key:new)");
}

#[tokio::test]
async fn a_slow_key_is_hashed_until_it_was_right_once() {
    let rig = Rig::new(&format!("  - {{ name: shop, argon2: '{}' }}\n", slow_hash(SLOW, 64)));
    assert_eq!(rig.prove(&[b"nobody.x"]).await, "Bad(it has an API key that nobody has)");
    for _ in 0..2 {
        assert_eq!(
            rig.prove(&[b"shop.wrong horse"]).await,
            "Bad(it has an API key that is not that of key:shop)"
        );
        assert_eq!(rig.prove(&[SLOW.as_bytes()]).await, "Good(key:shop)");
    }
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static(SLOW));
    assert!(matches!(rig.keys.prove(&headers), Proof::Good(_)), "it is known now");
    headers.insert("x-api-key", HeaderValue::from_static("shop.y"));
    assert!(matches!(rig.keys.prove(&headers), Proof::Bad(_)), "there is only one right key");
}

#[tokio::test]
async fn slow_keys_wait_for_one_another_and_not_for_ever() {
    let rig = Rig::new(&format!("  - {{ name: shop, argon2: '{}' }}\n", slow_hash(SLOW, 64)));
    let _turn = rig.keys.turns.acquire().await.unwrap();
    tokio::time::pause();
    assert_eq!(rig.prove(&[SLOW.as_bytes()]).await, "Unknown(too many API keys wait to be hashed)");
}

#[tokio::test]
async fn tries_for_one_name_hold_up_no_other() {
    let entry = |name: &str| {
        format!("  - {{ name: {name}, argon2: '{}' }}\n", slow_hash(&format!("{name}.correct horse"), 64))
    };
    let rig = Rig::new(&(entry("shop") + &entry("batch")));
    let keys = rig.keys.keys.current();
    let _turn = keys.slow["shop"].turn.acquire().await.unwrap();
    assert_eq!(rig.prove(&[b"batch.correct horse"]).await, "Good(key:batch)");
    tokio::time::pause();
    assert_eq!(rig.prove(&[SLOW.as_bytes()]).await, "Unknown(too many API keys wait to be hashed)");
}

#[tokio::test]
async fn who_is_no_longer_in_the_file_no_longer_holds() {
    let rig = Rig::new(&(fast("batch", RANDOM, "") + &fast("gone", &RANDOM.repeat(2), "")));
    let (batch, gone) = (RANDOM.to_owned(), RANDOM.repeat(2));
    let credential = |key: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", key.parse().unwrap());
        match rig.keys.prove(&headers) {
            Proof::Good(credential) => credential,
            other => panic!("{other:?}"),
        }
    };
    let (kept, lost) = (credential(&batch), credential(&gone));
    assert!(rig.keys.holds(&kept) && rig.keys.holds(&lost));
    std::fs::write(rig.file.path(), format!("keys:\n{}", fast("batch", RANDOM, ""))).unwrap();
    assert!(rig.keys.keys.look());
    assert!(rig.keys.holds(&kept) && !rig.keys.holds(&lost));
    // Another key of the same owner: what was opened with the one before is over.
    std::fs::write(rig.file.path(), format!("keys:\n{}", fast("batch", &RANDOM.repeat(3), ""))).unwrap();
    assert!(rig.keys.keys.look());
    assert!(!rig.keys.holds(&kept));
}

#[test]
fn a_file_of_keys_says_what_is_wrong_with_it() {
    assert!(parse("keys: []").is_ok());
    let digest = hex(&sha256(RANDOM.as_bytes()));
    let cheap = slow_hash(SLOW, 64);
    for (text, said) in [
        (String::new(), ""),
        ("keys: 1".to_owned(), "list"),
        (format!("keys: [{{ name: a, sha256: {digest}, sha256: {digest} }}]"), "sha256"),
        (format!("keys: [{{ name: a, sha: {digest} }}]"), "sha256"),
        ("keys: [{ name: a }]".to_owned(), "`sha256` or `argon2`"),
        (format!("keys: [{{ name: a, sha256: {digest}, argon2: '{cheap}' }}]"), "one of them"),
        (format!("keys: [{{ name: '', sha256: {digest} }}]"), "name"),
        (format!("keys: [{{ name: a, sha256: {} }}]", &digest[1..]), "64 hexadecimal"),
        (format!("keys: [{{ name: a, sha256: g{} }}]", &digest[1..]), "64 hexadecimal"),
        (format!("keys: [{{ name: a, sha256: é{} }}]", &digest[2..]), "64 hexadecimal"),
        (format!("keys: [{{ name: a, sha256: {digest} }}, {{ name: b, sha256: {digest} }}]"), "same"),
        (
            format!("keys: [{{ name: a, sha256: {digest} }}, {{ name: a, argon2: '{cheap}' }}]"),
            "two of that name",
        ),
        (format!("keys: [{{ name: a.b, argon2: '{cheap}' }}]"), "no dot"),
        ("keys: [{ name: a, argon2: 'secret' }]".to_owned(), "PHC"),
        (
            format!("keys: [{{ name: a, argon2: '{}' }}]", cheap.replace("argon2id", "argon2d")),
            "another kind",
        ),
        (format!("keys: [{{ name: a, argon2: '{}' }}]", cheap.replace("m=64", "m=2000000")), "may cost"),
        (format!("keys: [{{ name: a, argon2: '{}' }}]", cheap.replace("t=1", "t=900")), "may cost"),
        (format!("keys: [{{ name: a, sha256: {digest}, expires: tomorrow }}]"), "expires"),
        (format!("keys: [{{ name: a, sha256: {digest}, claims: [] }}]"), "claims"),
    ] {
        let refused = parse(&text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert!(refused.contains(said), "{text}: {refused}");
        assert!(!refused.contains(&digest) && !refused.contains(&cheap), "{refused}");
    }
    assert!(Keys::parse("keys.yaml", b"\xff", Platform::system().wall_clock()).is_err());
}

#[test]
fn a_header_of_another_meaning_holds_no_key() {
    for (header, fits) in [
        ("x-api-key", true),
        ("X-Shop-Key", true),
        ("Authorization", false),
        ("cookie", false),
        ("x-prism-key", false),
        ("a b", false),
        ("", false),
    ] {
        let mut problems = Vec::new();
        check(&Settings { file: "a".into(), header: header.into() }, &mut problems, "api_keys");
        assert_eq!(problems.is_empty(), fits, "{header}");
    }
}
