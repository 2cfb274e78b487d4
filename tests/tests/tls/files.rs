//! Files and settings that cannot be used are refused with what is wrong, before anything changes.

use crate::{behind, nobody, own, pki, serves, sign};
use prism_tests::{DEMO, Proxy, client::tls, tools, wait};
use prism_tls::{alpn, testing::Authority};
use std::{
    fs,
    process::Command,
    time::{Duration, SystemTime},
};

/// What `prism-edge check` says of a configuration that it refuses.
fn checked(proxy: &Proxy, text: &str) -> String {
    let file = proxy.folder().join("checked.yaml");
    fs::write(&file, text).unwrap();
    let output = tools::output(Command::new(tools::own("prism-edge")).args(["check", "--config"]).arg(&file));
    assert_eq!(output.status.code(), Some(1), "accepted:\n{text}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_cannot_be_used_is_taken() {
    let pki = pki();
    pki.folder.identity("other", &pki.authority.identity(&["edge.test", "127.0.0.1"], |_| {}));
    pki.folder.write("empty.crt", "");
    pki.folder.write("cut.crt", &pki.authority.pem()[..100]);
    let proxy = Proxy::start(&behind(&own(&pki, ""), ""));
    let nobody = nobody(&pki);
    let shown = async || tls::certificate(&tls::connect(proxy.port(), &nobody, alpn::HTTP2).await.unwrap());
    let (version, certificate) = (proxy.admin().version(), shown().await);

    let place = "listeners[0].filters[0].tls";
    let list = |authority: &Authority| authority.revoked(&[], SystemTime::now() + Duration::from_secs(3600));
    pki.folder.write("ca.crl", &list(&pki.authority));
    pki.folder.write("other.crl", &list(&Authority::new()));
    pki.folder.identity("nameless", &pki.authority.identity(&["127.0.0.1"], |_| {}));
    let crls = |name: &str| {
        own(&pki, &format!(", client_ca: '{}', crls: ['{}']", pki.path("ca.crt"), pki.path(name)))
    };
    let more = |cert: &str, key: &str| {
        let (cert, key) = (pki.path(&format!("{cert}.crt")), pki.path(&format!("{key}.key")));
        own(&pki, &format!(", certificates: [{{ cert: '{cert}', key: '{key}' }}]"))
    };
    let ca = |name: &str| own(&pki, &format!(", client_ca: '{}'", pki.path(name)));
    let settings = [
        (own(&pki, "").replace("edge.crt", "none.crt"), "none.crt: No such file"),
        (own(&pki, "").replace("edge.key", "none.key"), "none.key: No such file"),
        (own(&pki, "").replace("edge.crt", "empty.crt"), "empty.crt: has no certificate"),
        (own(&pki, "").replace("edge.crt", "cut.crt"), "cut.crt: not PEM"),
        (own(&pki, "").replace("edge.crt", "edge.key"), "edge.key: has no certificate"),
        (own(&pki, "").replace("edge.key", "edge.crt"), "edge.crt: has no private key"),
        (own(&pki, "").replace("edge.key", "other.key"), "other.key are not one identity"),
        (own(&pki, "").replace("edge.crt", ""), "it is no regular file"),
        (ca("none.crt"), "none.crt: No such file"),
        (ca("edge.key"), "edge.key: has no certificate"),
        (ca("empty.crt"), "empty.crt: has no certificate"),
        (own(&pki, ", client_auth: required"), "needs a `client_ca`"),
        (own(&pki, ", client_auth: optional"), "needs a `client_ca`"),
        (ca("ca.crt").replace(" }", ", client_auth: none }"), "does nothing with `client_auth: none`"),
        ("{}".to_owned(), "the key `cert` is missing"),
        (format!("{{ cert: '{}' }}", pki.path("edge.crt")), "the key `key` is missing"),
        ("{ cert: 7, key: [a] }".to_owned(), "expected a string"),
        ("".to_owned(), "expected a mapping, found nothing"),
        (own(&pki, ", client_auth: maybe"), "expected one of `required`, `optional`, `none`"),
        (crls("none.crl"), "none.crl: No such file"),
        (crls("empty.crt"), "empty.crt: has no revocation list"),
        (crls("ca.crt"), "ca.crt: has no revocation list"),
        (crls("other.crl"), "an authority of the clients has no revocation list in"),
        (own(&pki, &format!(", crls: ['{}']", pki.path("ca.crl"))), "do nothing without a `client_ca`"),
        (ca("ca.crt").replace(" }", ", crls: [] }"), "at least 1 item"),
        (more("none", "other"), "none.crt: No such file"),
        (more("other", "edge"), "edge.key are not one identity"),
        (more("other", "other"), "`edge.test` is a name of both"),
        (more("nameless", "nameless"), "nameless.crt: has no DNS name"),
        (own(&pki, ", certificates: []"), "at least 1 item"),
        (own(&pki, ", certificates: [{ cert: x }]"), "the key `key` is missing"),
        // What is not built is not accepted and ignored.
        (own(&pki, ", crl: x"), "unknown key `crl`"),
        (own(&pki, ", min_version: '1.3'"), "unknown key `min_version`"),
    ];
    let mut cases: Vec<(String, &str)> =
        settings.into_iter().map(|(settings, said)| (behind(&settings, ""), said)).collect();
    let good = behind(&own(&pki, ""), "");
    let filter = format!("- tls: {}", own(&pki, ""));
    cases.extend([
        (good.replace(&filter, "- tls"), "`tls` has no defaults for `cert` and `key`"),
        (DEMO.replace("- trace: {}", &format!("- trace: {{}}\n      {filter}")), "must come before `trace`"),
        (
            good.replace("path_prefix: / }", "path_prefix: / }\n        filters: { tls: false }"),
            "unknown filter `tls`",
        ),
        (good.replace(&filter, &format!("{filter}\n      {filter}")), "is there twice"),
    ]);
    for (template, said) in cases {
        let text = proxy.fill(&template);
        let refused = proxy.admin().over_socket("PUT", "/config", &text).expect(400).text();
        let checked = checked(&proxy, &text);
        for refusal in [&refused, &checked] {
            assert!(refusal.contains(said), "`{said}` is not in: {refusal}\n{text}");
            assert!(refusal.contains("listeners[0]"), "{refusal}");
        }
        if said.contains(": ") && said.contains('.') {
            assert!(refused.contains(place), "{refused}");
        }
    }
    // By a signal it is no other.
    proxy.hang_up(&good.replace("edge.key", "none.key"));
    wait::until("it should be refused", || {
        proxy.process.log().contains("none.key: No such file").then_some(())
    });
    assert_eq!((proxy.admin().version(), shown().await), (version, certificate));
    serves(&proxy, &nobody).await.unwrap();
}

#[test]
fn a_proxy_does_not_start_on_files_that_cannot_be_used() {
    let pki = pki();
    let template = behind(&own(&pki, "").replace("edge.key", "none.key"), "");
    let mut proxy = prism_tests::Start::new(&template).spawn();
    assert_eq!(proxy.process.wait().code(), Some(1));
    assert!(proxy.process.log().contains("none.key: No such file"), "{}", proxy.process.log());
}

/// However little it has to do with them: the next start would refuse it.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_spoiled_refuse_every_change_until_they_are_mended() {
    let pki = pki();
    let proxy = Proxy::start(&behind(&own(&pki, ""), ""));
    let nobody = nobody(&pki);
    let changed = proxy.fill(&behind(&own(&pki, ""), "limits: { handshake_timeout: 9s }"));
    pki.folder.write("edge.key", "nothing");
    let refused = proxy.admin().over_socket("PUT", "/config", &changed).expect(400).text();
    assert!(refused.contains("edge.key"), "{refused}");
    serves(&proxy, &nobody).await.unwrap();
    sign(&pki);
    let _ = proxy.admin().over_socket("PUT", "/config", &changed).expect(200);
    serves(&proxy, &nobody).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_start_where_the_configuration_is() {
    let pki = pki();
    let proxy = Proxy::start(DEMO);
    fs::create_dir(proxy.folder().join("tls")).unwrap();
    for name in ["edge.crt", "edge.key"] {
        fs::copy(pki.path(name), proxy.folder().join("tls").join(name)).unwrap();
    }
    let template = behind("{ cert: tls/edge.crt, key: ./tls/edge.key }", "");
    let file = proxy.folder().join("checked.yaml");
    fs::write(&file, proxy.fill(&template)).unwrap();
    let mut check = Command::new(tools::own("prism-edge"));
    tools::succeed(check.current_dir("/").args(["check", "--config"]).arg(&file));
    proxy.hang_up(&template);
    wait::until_async("it should be encrypted", || async { serves(&proxy, &nobody(&pki)).await.ok() }).await;
}
