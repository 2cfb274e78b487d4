//! Certificates that change, on disk and in the configuration, under connections that stay.

use crate::{behind, call, nobody, own, pki, serves, sign, somebody, start};
use prism_tests::{
    DEMO, Proxy,
    client::{
        http2,
        tls::{self, certificate},
    },
    wait,
};
use prism_tls::{ClientFiles, alpn, testing::Authority};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

/// The certificate that new connections see.
async fn shown(proxy: &Proxy, files: &ClientFiles) -> Vec<u8> {
    certificate(&tls::connect(proxy.port(), files, alpn::HTTP2).await.unwrap())
}

/// Waits until new connections see another one.
async fn renewed(proxy: &Proxy, files: &ClientFiles, before: &[u8]) -> Vec<u8> {
    wait::until_async("new connections should see the new certificate", || async {
        let now = shown(proxy, files).await;
        (now != before).then_some(now)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_files_are_for_new_connections_and_old_ones_go_on() {
    let (pki, proxy, nobody) = start("");
    let old = tls::http2(proxy.port(), &nobody).await.unwrap();
    let first = shown(&proxy, &nobody).await;

    // A certificate whose key is not there yet: what was in use stays in use.
    let (next, next_key) = pki.authority.identity(&["127.0.0.1"], |_| {});
    let failures = || proxy.admin().metric("prism_tls_failed_renewals_total", "edge");
    assert_eq!(failures(), 0.0);
    pki.folder.write("edge.crt", &next);
    wait::until("the half renewal should be seen", || {
        proxy.process.log().contains("are not one identity").then_some(())
    });
    assert_eq!(shown(&proxy, &nobody).await, first);
    serves(&proxy, &nobody).await.unwrap();
    // Neither does a file that is gone, nor one that is empty, change anything.
    for spoil in [|path: &str| fs::remove_file(path).unwrap(), |path: &str| fs::write(path, "").unwrap()] {
        let seen = proxy.process.log().matches("cannot be renewed").count();
        spoil(&pki.path("edge.key"));
        wait::until("it should be seen", || {
            (proxy.process.log().matches("cannot be renewed").count() > seen).then_some(())
        });
        assert_eq!(shown(&proxy, &nobody).await, first);
    }

    pki.folder.write("edge.key", &next_key);
    let second = renewed(&proxy, &nobody, &first).await;
    assert_ne!(second, first);
    assert_eq!(failures(), 3.0);
    call(&old).await.expect("the old connection goes on");
    serves(&proxy, &nobody).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_lost_while_certificates_change() {
    let (pki, proxy, nobody) = start("");
    let held = tls::http2(proxy.port(), &nobody).await.unwrap();
    let mut before = shown(&proxy, &nobody).await;
    for _ in 0..3 {
        sign(&pki);
        loop {
            // Each is a new connection, and each is served.
            serves(&proxy, &nobody).await.unwrap();
            call(&held).await.unwrap();
            let now = shown(&proxy, &nobody).await;
            if std::mem::replace(&mut before, now) != before {
                break;
            }
        }
    }
}

/// Everything that can be renewed at once, by those who do it well: nobody hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_everything_is_renewed_under_load() {
    let pki = pki();
    let revoked = |serials: &[u64]| {
        let list = pki.authority.revoked(serials, SystemTime::now() + Duration::from_secs(3600));
        pki.folder.write("ca.crl", &list);
    };
    revoked(&[]);
    let more = pki.folder.identity("more", &pki.authority.identity(&["more.test"], |_| {}));
    let settings = format!(
        ", client_ca: '{}', crls: ['{}'], certificates: [{{ cert: '{}', key: '{}' }}]",
        pki.path("ca.crt"),
        pki.path("ca.crl"),
        more.certificates.display(),
        more.key.display()
    );
    let proxy = Arc::new(Proxy::start(&behind(&own(&pki, &settings), "")));
    let client = somebody(&pki, pki.folder.identity("app", &pki.authority.identity(&["app.test"], |_| {})));
    let done = Arc::new(AtomicBool::new(false));
    let calls = (0..8).map(|number| {
        let (proxy, client, done) = (Arc::clone(&proxy), client.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let held = tls::http2(proxy.port(), &client).await.unwrap();
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                match number % 2 {
                    0 => call(&held).await.unwrap(),
                    _ => serves(&proxy, &client).await.unwrap(),
                }
                served += 1;
            }
            served
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut before = shown(&proxy, &client).await;
    for round in 0..5 {
        sign(&pki);
        pki.folder.identity("more", &pki.authority.identity(&["more.test"], |_| {}));
        revoked(&[1000 + round]);
        pki.folder.write("ca.crt", &format!("{}\n# renewed {round}\n", pki.authority.pem()));
        before = renewed(&proxy, &client, &before).await;
    }
    done.store(true, Ordering::Relaxed);
    for calls in calls {
        assert!(wait::guard("the last call", calls).await.expect("no call fails") > 0);
    }
    assert_eq!(crate::failed(&proxy), 0.0);
    assert_eq!(proxy.admin().metric("prism_tls_clients_ended_total", "edge"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_ca_that_is_gone_are_refused() {
    let pki = pki();
    let clients = Authority::new();
    pki.folder.write("clients.crt", &clients.pem());
    let proxy = Proxy::start(&behind(&own(&pki, &format!(", client_ca: '{}'", pki.path("clients.crt"))), ""));
    let client = somebody(&pki, pki.folder.identity("app", &clients.identity(&["app.test"], |_| {})));
    let open = tls::http2(proxy.port(), &client).await.unwrap();
    call(&open).await.unwrap();
    pki.folder.write("clients.crt", &Authority::new().pem());
    wait::until_async("its clients should be refused", || async {
        serves(&proxy, &client).await.is_err().then_some(())
    })
    .await;
    wait::guard("the old connection's end", open.driver).await.unwrap().unwrap();
}

async fn applied(proxy: &Proxy, template: &str) {
    let version = proxy.admin().version();
    proxy.hang_up(template);
    wait::until("it should be applied", || (proxy.admin().version() > version).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_changes_between_clear_and_tls_for_new_connections() {
    let pki = pki();
    let nobody = nobody(&pki);
    let proxy = Proxy::start(DEMO);
    let clear = http2::connect(proxy.port()).await;
    call(&clear).await.unwrap();

    applied(&proxy, &behind(&own(&pki, ""), "")).await;
    let encrypted = tls::http2(proxy.port(), &nobody).await.unwrap();
    call(&encrypted).await.unwrap();
    let refused = http2::connect(proxy.port()).await;
    call(&refused).await.expect_err("nothing in clear any more");
    call(&clear).await.expect("the old connection goes on in clear");

    applied(&proxy, DEMO).await;
    call(&http2::connect(proxy.port()).await).await.unwrap();
    serves(&proxy, &nobody).await.expect_err("there is no TLS any more");
    call(&encrypted).await.expect("the old connection goes on encrypted");
    call(&clear).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_files_in_the_configuration_are_for_new_connections() {
    let (pki, proxy, nobody) = start("");
    let old = tls::http2(proxy.port(), &nobody).await.unwrap();
    let first = shown(&proxy, &nobody).await;
    let other = pki.folder.identity("other", &pki.authority.identity(&["127.0.0.1"], |_| {}));
    let settings = format!("{{ cert: '{}', key: '{}' }}", other.certificates.display(), other.key.display());
    applied(&proxy, &behind(&settings, "")).await;
    let second = shown(&proxy, &nobody).await;
    assert_ne!(second, first);
    call(&old).await.unwrap();

    // The files that are in use now are the ones that are looked at.
    pki.folder.identity("other", &pki.authority.identity(&["127.0.0.1"], |_| {}));
    renewed(&proxy, &nobody, &second).await;

    // And who may come changes the same way.
    let ca = format!("{}, client_ca: '{}' }}", settings.trim_end_matches(" }"), pki.path("ca.crt"));
    applied(&proxy, &behind(&ca, "")).await;
    serves(&proxy, &nobody).await.expect_err("a certificate is needed now");
    wait::guard("the old connection's end", old.driver).await.unwrap().unwrap();
}
