//! A file that is read once and watched from then on; the changes themselves are tested with the tokens that they concern.

use super::*;
use prism_platform::Platform;
use serde_json::from_value;
use std::{fs, path::Path};

fn open(settings: Value, folder: &Path) -> Result<std::sync::Arc<Keys>, String> {
    let settings: Settings = from_value(settings).unwrap();
    Keys::open(&settings, &Platform::system(), folder, None).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        open(json!({"file": name}), folder.path()).unwrap_err()
    };
    for (said, words) in [
        (open(json!({"file": "none.json"}), folder.path()).unwrap_err(), "none.json: No such file"),
        (open(json!({"file": "."}), folder.path()).unwrap_err(), "it is no regular file"),
        (open(json!({"file": "/dev/zero"}), folder.path()).unwrap_err(), "/dev/zero: it is no regular file"),
        (file("a.json", ""), "a.json: it is no key set: not JSON"),
        (file("b.json", "{}"), "no list `keys`"),
        (file("c.json", &" ".repeat(MOST_BYTES + 1)), "above 256 KiB"),
        (file("d.json", "{\"keys\":[{\"kty\":\"oct\"}]}"), "key 1: it is a secret"),
        (file("e.pem", "-----BEGIN PUBLIC KEY-----"), "not JSON"),
        (open(json!({}), folder.path()).unwrap_err(), "one of the two"),
        (
            open(json!({"file": "a", "url": "https://id.example"}), folder.path()).unwrap_err(),
            "one of the two",
        ),
        (open(json!({"url": "http://id.example"}), folder.path()).unwrap_err(), "is for this host alone"),
        (
            open(json!({"url": "https://id.example", "ca_cert": "no.crt"}), folder.path()).unwrap_err(),
            "no.crt",
        ),
    ] {
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_file_is_not_fetched() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keys.json"), document(&[named(&Issuer::new(), Algorithm::EdDSA, "a")]))
        .unwrap();
    let keys = open(json!({"file": "keys.json"}), folder.path()).unwrap();
    assert!(!keys.refetch().await && !keys.fetched().await);
    assert_eq!((keys.fetches(), keys.generation(), keys.problem()), (0, 1, None));
}

#[test]
fn settings_that_do_nothing_or_cannot_be_are_refused() {
    let said = |settings: Value| {
        let problems = from_value::<Settings>(settings).unwrap().check("jwks");
        problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")
    };
    for good in [
        json!({"file": "keys.json"}),
        json!({"url": "https://id.example/keys"}),
        json!({"url": "https://id.example/keys", "ca_cert": "ca.crt", "refresh": "30s"}),
        json!({"url": "http://127.0.0.1:81/keys", "refresh": "1d"}),
    ] {
        assert_eq!(said(good), "");
    }
    for (settings, words) in [
        (json!({}), "neither `file` nor `url`"),
        (json!({"file": "a", "url": "https://id.example"}), "cannot both be used"),
        (json!({"file": "a", "ca_cert": "b"}), "`ca_cert` does nothing with a `file`"),
        (json!({"file": "a", "refresh": "5m"}), "`refresh` does nothing with a `file`"),
        (json!({"url": "http://localhost/", "ca_cert": "b"}), "`ca_cert` does nothing with `http://`"),
        (json!({"url": "http://id.example/"}), "for this host alone"),
        (json!({"url": "keys"}), "expected an address"),
        (json!({"url": "https://a:b@id.example/"}), "no user name"),
        (json!({"url": "https://id.example", "refresh": "29s"}), "not within"),
        (json!({"url": "https://id.example", "refresh": "2d"}), "not within"),
    ] {
        let said = said(settings.clone());
        assert!(said.contains(words), "{settings}: {said}");
    }
    assert!(from_value::<Settings>(json!({"url": "https://id.example", "follow": true})).is_err());
}
