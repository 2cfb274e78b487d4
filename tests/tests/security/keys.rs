//! API keys.

use super::{KEY, KeyFile, OTHER, config, curl_get, every_way, told};
use prism_tests::{Proxy, wait};

fn filter(keys: &KeyFile) -> String {
    format!("      - auth: {{ api_keys: {{ file: '{}' }} }}\n", keys.path())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_every_way_in_and_no_other_text_does() {
    let keys = KeyFile::new(&[("batch", KEY, "")]);
    let proxy = Proxy::start(&config(&filter(&keys)));
    for (way, outcome) in every_way(&proxy, &[("x-api-key", KEY)]).await {
        assert_eq!(outcome, "Ok", "{way}");
    }
    for headers in [
        &[("x-api-key", OTHER)][..],
        &[("x-api-key", "")],
        &[("x-api-key", "batch")],
        &[("x-api-key", KEY), ("x-api-key", KEY)],
        &[("authorization", KEY)],
        &[],
    ] {
        for (way, outcome) in every_way(&proxy, headers).await {
            let reason = match headers.iter().any(|(name, _)| *name == "x-api-key") {
                true => "401 INVALID_CREDENTIALS",
                false => "401 MISSING_CREDENTIALS",
            };
            let wanted = if way == "json" { reason } else { "Unauthenticated" };
            assert_eq!(outcome, wanted, "{way} {headers:?}");
        }
    }
    told(&proxy, "it has an API key that nobody has");
    told(&proxy, "it has two API keys");
    let log = proxy.process.log();
    assert!(!log.contains(KEY) && !log.contains(OTHER));
    assert!(log.contains(r#""principal":"key:batch""#));
    let refused = curl_get(&proxy, &[&format!("x-api-key: {OTHER}")]).expect(401);
    assert!(!refused.text().contains("API key"), "{}", refused.text());
    // No scheme stands for an API key.
    assert_eq!(refused.header("www-authenticate"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_goes_is_gone_and_one_that_comes_is_good() {
    let keys = KeyFile::new(&[("batch", KEY, "")]);
    let proxy = Proxy::start(&config(&filter(&keys)));
    let status = |key: &str| curl_get(&proxy, &[&format!("x-api-key: {key}")]).status;
    assert_eq!((status(KEY), status(OTHER)), (200, 401));
    keys.write(&[("shop", OTHER, "")]);
    wait::until("the new key is good", || (status(OTHER) == 200).then_some(()));
    assert_eq!(status(KEY), 401);
    std::fs::write(keys.path(), "keys: [{ name: nobody }]").unwrap();
    wait::until("the mistake is told", || {
        proxy.process.log().contains("cannot be used; what it said before stays in use").then_some(())
    });
    assert_eq!((status(KEY), status(OTHER)), (401, 200));
}
