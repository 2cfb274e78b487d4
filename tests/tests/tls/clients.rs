//! Client certificates: who is let in, and who is not.

use crate::{behind, failed, nobody, own, pki, serves, somebody};
use prism_tests::{Pki, Proxy, client::curl, wait};
use prism_tls::{ClientFiles, testing::Authority};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType, date_time_ymd};
use std::time::{Duration, SystemTime};

/// Everybody whose certificate is not a right one.
fn wrong(pki: &Pki) -> Vec<(&'static str, ClientFiles)> {
    let strangers = Authority::new();
    let between = |from: i32, to: i32| {
        move |params: &mut CertificateParams| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        }
    };
    let own = {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["app.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let signed = |change: &dyn Fn(&mut CertificateParams)| {
        pki.authority.identity(&["app.test"], |params| change(params))
    };
    // What the client shows is the stranger's, however much of the right CA stands behind it.
    let (certificate, key) = strangers.identity(&["app.test"], |_| {});
    let borrowed = (certificate + &pki.authority.pem(), key);
    let identities = [
        ("wrong-ca", strangers.identity(&["app.test"], |_| {})),
        ("expired", signed(&between(2001, 2002))),
        ("not-yet", signed(&between(2999, 3000))),
        ("self-signed", own),
        (
            "for-servers",
            signed(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
        ("a-ca", signed(&|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained))),
        ("borrowed-chain", borrowed),
        ("revoked", signed(&|params| params.serial_number = Some(7.into()))),
    ];
    identities.map(|(name, identity)| (name, somebody(pki, pki.folder.identity(name, &identity)))).into()
}

fn right(pki: &Pki) -> ClientFiles {
    somebody(pki, pki.folder.identity("app", &pki.authority.identity(&["app.test"], |_| {})))
}

fn started(pki: &Pki, auth: &str) -> Proxy {
    let list = pki.authority.revoked(&[7], SystemTime::now() + Duration::from_secs(3600));
    pki.folder.write("ca.crl", &list);
    let settings = format!(", client_ca: '{}', crls: ['{}']{auth}", pki.path("ca.crt"), pki.path("ca.crl"));
    Proxy::start(&behind(&own(pki, &settings), ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_right_certificate_is_refused_in_the_handshake() {
    let pki = pki();
    // Nothing said means the same as `required`.
    for auth in [", client_auth: required", ""] {
        let proxy = started(&pki, auth);
        let mut refused = wrong(&pki);
        refused.push(("nobody", nobody(&pki)));
        for (name, files) in &refused {
            let error = serves(&proxy, files).await.expect_err(name);
            assert!(
                error.to_string().contains("alert") || error.to_string().contains("Alert"),
                "{name}: {error}"
            );
        }
        wait::until("each should be counted", || (failed(&proxy) == refused.len() as f64).then_some(()));
        serves(&proxy, &right(&pki)).await.unwrap();
        assert_eq!(failed(&proxy), refused.len() as f64);
        // Of those who were refused none has reached HTTP.
        let reached = || proxy.process.log().lines().filter(|line| line.contains("\"path\"")).count();
        wait::until("the call should be in the log", || (reached() > 0).then_some(()));
        assert_eq!(reached(), 1, "{}", proxy.process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_may_be_left_out_must_be_right() {
    let pki = pki();
    let proxy = started(&pki, ", client_auth: optional");
    for (name, files) in wrong(&pki) {
        serves(&proxy, &files).await.expect_err(name);
    }
    serves(&proxy, &nobody(&pki)).await.unwrap();
    serves(&proxy, &right(&pki)).await.unwrap();
}

/// It is not known of anybody whether he was revoked.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_revocation_list_lets_nobody_in() {
    let pki = pki();
    let list = pki.authority.revoked(&[], SystemTime::now() - Duration::from_secs(3600));
    pki.folder.write("ca.crl", &list);
    let settings = format!(", client_ca: '{}', crls: ['{}']", pki.path("ca.crt"), pki.path("ca.crl"));
    // Or a restart would be an outage for those who need no certificate too.
    let proxy = Proxy::start(&behind(&own(&pki, &settings), ""));
    assert!(proxy.process.log().contains("a revocation list has expired"), "{}", proxy.process.log());
    serves(&proxy, &right(&pki)).await.expect_err("its list has expired");
    wait::until("it should be counted", || (failed(&proxy) == 1.0).then_some(()));
    let log = proxy.process.log();
    assert!(log.contains("error=invalid peer certificate: certificate revocation list expired"), "{log}");
}

/// Names that could be read in two ways let nobody be who he is not: whoever has such a certificate has no name at all. The
/// authority vouches for it all the same, and that is all that a listener without authentication asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_with_strange_names_is_still_the_authoritys() {
    let pki = pki();
    let proxy = started(&pki, "");
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let names = [
        vec![uri("spiffe://a.test/x"), uri("spiffe://a.test/y")],
        vec![SanType::DnsName("a.test\0.evil.test".try_into().unwrap())],
    ];
    for (number, names) in names.into_iter().enumerate() {
        let identity = pki.authority.identity(&[], |params| params.subject_alt_names = names);
        let client = somebody(&pki, pki.folder.identity(&format!("strange-{number}"), &identity));
        serves(&proxy, &client).await.unwrap();
    }
}

/// TLS 1.2 has the whole handshake behind it before the client knows more, and TLS 1.3 has not.
#[test]
fn both_versions_of_tls_ask_for_it() {
    let pki = pki();
    let proxy = started(&pki, "");
    right(&pki);
    wrong(&pki);
    let url = format!("https://127.0.0.1:{}/v1/demo", proxy.port());
    let ca = pki.path("ca.crt");
    for version in ["1.2", "1.3"] {
        let call = |more: &[&str]| {
            let always = ["--cacert", &ca, "--tlsv1.2", "--tls-max", version];
            curl::run(&[&always[..], more, &[&url]].concat()).status
        };
        for name in ["expired", "wrong-ca", "revoked"] {
            let files = [pki.path(&format!("{name}.crt")), pki.path(&format!("{name}.key"))];
            assert_eq!(call(&["--cert", &files[0], "--key", &files[1]]), 0, "{name}");
        }
        assert_eq!(call(&[]), 0);
        assert_eq!(call(&["--cert", &pki.path("app.crt"), "--key", &pki.path("app.key")]), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_names_no_ca_asks_nobody() {
    let pki = pki();
    let proxy = Proxy::start(&behind(&own(&pki, ", client_auth: none"), ""));
    // It is not asked for, so it is not shown, and whatever it is makes no difference.
    for (_, files) in wrong(&pki) {
        serves(&proxy, &files).await.unwrap();
    }
    serves(&proxy, &nobody(&pki)).await.unwrap();
}
