//! What is no handshake, or none that ends, costs its connection and nothing else.

use crate::{failed, own, pki, serves, somebody, start};
use prism_tests::{
    Pki, Proxy, Signal,
    client::{
        raw,
        tls::{client_hello, connect, s_client},
    },
    tools, wait,
};
use prism_tls::{ClientFiles, alpn, testing::Authority};
use std::{
    io::Write,
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_and_garbage_are_closed_without_an_answer() {
    let (_pki, proxy, nobody) = start("");
    let hello = client_hello(&nobody).await;
    let mut broken = hello.clone();
    // The handshake message's type: no ClientHello any more.
    broken[5] ^= 0xff;
    let mut long = hello.clone();
    // RFC 8446 section 5.1: "The length MUST NOT exceed 2^14 bytes."
    long[3..5].copy_from_slice(&0x4001_u16.to_be_bytes());
    long.resize(0x4001 + 5, 0);
    let inputs: [&[u8]; 12] = [
        b"GET /v1/demo HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/demo/set HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello",
        PREFACE,
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        &[0xff; 64],
        // A client of SSL 2, and of TLS that begins with an alert, with application data, with a change of ciphers.
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80\x03\x00\x80",
        b"\x15\x03\x03\0\x02\x02\x28",
        b"\x17\x03\x03\0\x05hello",
        b"\x14\x03\x03\0\x01\x01\x16\x03\x03\0\x05hello",
        b"\x16\x03\x01\0\0\x16\x03\x01\0\0\x16\x03\x01\0\0",
        &broken,
        &long,
    ];
    for (number, input) in inputs.iter().enumerate() {
        let mut socket = raw::connect(proxy.port());
        raw::send(&mut socket, input);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let answer = raw::until_closed(&mut socket);
        assert!(!answer.contains("HTTP") && answer.len() < 16, "{number}: {answer:?}");
        serves(&proxy, &nobody).await.unwrap();
    }
    wait::until("each should be counted", || (failed(&proxy) == inputs.len() as f64).then_some(()));
    let log = proxy.process.log();
    assert!(log.contains("TLS handshake failed") && log.contains("listener=\"edge\""), "{log}");
}

/// A certificate and its key as `openssl x509 -req` makes one without extensions: of version 1.
fn version_one(pki: &Pki) -> (String, String) {
    let (certificate, key, request) = (pki.path("old.crt"), pki.path("old.key"), pki.path("old.csr"));
    let openssl = |arguments: &[&str]| tools::succeed(Command::new(tools::tool("openssl")).args(arguments));
    openssl(&[
        "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=old", "-keyout", &key, "-out", &request,
    ]);
    openssl(&["x509", "-req", "-in", &request, "-signkey", &key, "-out", &certificate]);
    (certificate, key)
}

/// In the words of docs/operate.md, which is where they are looked up.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_why() {
    let pki = pki();
    let list = |serials: &[u64], authority: &Authority, next_update: SystemTime| {
        pki.folder.write("ca.crl", &authority.revoked(serials, next_update));
    };
    let hour = Duration::from_secs(3600);
    list(&[7], &pki.authority, SystemTime::now() + hour);
    let auth = format!(", client_ca: '{}', crls: ['{}']", pki.path("ca.crt"), pki.path("ca.crl"));
    let proxy = Proxy::start(&crate::behind(&own(&pki, &auth), "limits: { handshake_timeout: 1s }"));
    let nobody = crate::nobody(&pki);
    let hello = client_hello(&nobody).await;
    let strangers = Authority::new();
    let stranger = somebody(&pki, pki.folder.identity("stranger", &strangers.identity(&["a.test"], |_| {})));
    let expired = pki.authority.identity(&["a.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let expired = somebody(&pki, pki.folder.identity("expired", &expired));
    let revoked = pki.authority.identity(&["a.test"], |params| params.serial_number = Some(7.into()));
    let revoked = somebody(&pki, pki.folder.identity("revoked", &revoked));
    // Signed by one between, of which there is no list.
    let between = pki.authority.between(8);
    let (certificate, key) = between.identity(&["a.test"], |_| {});
    let unlisted = somebody(&pki, pki.folder.identity("unlisted", &(certificate + &between.pem(), key)));
    let authority = pki.authority.identity(&["a.test"], |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let authority = somebody(&pki, pki.folder.identity("authority", &authority));
    let distrusts = ClientFiles { ca: pki.folder.write("strangers.crt", &strangers.pem()), identity: None };
    let right = somebody(&pki, pki.folder.identity("app", &pki.authority.identity(&["a.test"], |_| {})));
    let said = |bytes: &[u8], end: bool| {
        let mut socket = raw::connect(proxy.port());
        raw::send(&mut socket, bytes);
        if end {
            socket.shutdown(std::net::Shutdown::Write).unwrap();
        }
        raw::until_closed(&mut socket);
    };
    let text = std::fs::read_to_string(tools::repository().join("docs/operate.md")).unwrap();
    let table = text.split("| `TLS handshake failed … error=` |").nth(1).expect("the table is there");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<&str> = rows.map(|row| row.split('`').nth(1).unwrap().trim_end_matches('…')).collect();
    assert_eq!(rows.len(), 14, "{rows:?}");
    let (old, old_key) = version_one(&pki);
    for words in rows {
        // One a second: the next is sure to be among them when it is tried until it is.
        wait::until_async(&format!("the log should say `{words}`"), || async {
            match words {
                "received corrupt message of type InvalidContentType" => said(PREFACE, false),
                "peer sent no certificates" => drop(serves(&proxy, &nobody).await),
                "invalid peer certificate: UnknownIssuer" => drop(serves(&proxy, &stranger).await),
                "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))" => {
                    drop(serves(&proxy, &authority).await);
                }
                "invalid peer certificate: Other(OtherError(UnsupportedCertVersion))" => {
                    drop(s_client(proxy.port(), &["-cert", &old, "-key", &old_key], b""));
                }
                "invalid peer certificate: certificate expired" => drop(serves(&proxy, &expired).await),
                "invalid peer certificate: Revoked" => drop(serves(&proxy, &revoked).await),
                "invalid peer certificate: UnknownRevocationStatus" => {
                    list(&[7], &pki.authority, SystemTime::now() + hour);
                    drop(serves(&proxy, &unlisted).await);
                }
                "invalid peer certificate: certificate revocation list expired" => {
                    list(&[], &pki.authority, SystemTime::now() - hour);
                    drop(serves(&proxy, &right).await);
                }
                "received fatal alert: UnknownCA" => drop(serves(&proxy, &distrusts).await),
                "peer doesn't support any known protocol" => {
                    drop(connect(proxy.port(), &nobody, alpn::FRAMES).await);
                }
                "peer is incompatible: " => {
                    drop(s_client(proxy.port(), &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], b""));
                }
                "tls handshake eof" => said(&hello[..20], true),
                "it was not complete within limits.handshake_timeout" => said(&hello[..20], false),
                other => panic!("nothing leads to `{other}`"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            proxy.process.log().contains(&format!("error={words}")).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_whether_the_port_is_open_has_not_failed() {
    let (_pki, proxy, nobody) = start("");
    for _ in 0..20 {
        drop(TcpStream::connect(("127.0.0.1", proxy.port())).unwrap());
    }
    let accepted = || proxy.admin().metric("prism_connections_total", "edge");
    wait::until("they should be accepted", || (accepted() == 20.0).then_some(()));
    serves(&proxy, &nobody).await.unwrap();
    let open = || proxy.admin().metric("prism_connections_open", "edge");
    wait::until("they should be over", || (open() == 0.0).then_some(()));
    assert_eq!(failed(&proxy), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_not_waited_for() {
    let (_pki, proxy, nobody) = start("limits: { handshake_timeout: 1s }");
    let hello = client_hello(&nobody).await;
    for start in [&b""[..], &hello[..1], &hello[..5], &hello[..hello.len() - 1], &hello] {
        let mut socket = raw::connect(proxy.port());
        raw::send(&mut socket, start);
        raw::until_closed(&mut socket);
    }
    // Whoever said nothing at all has not failed.
    wait::until("the others should be counted", || (failed(&proxy) == 4.0).then_some(()));
    serves(&proxy, &nobody).await.unwrap();
}

/// One deadline for all of it: neither a byte now and then nor a finished step begins it anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_goes_on_forever_ends() {
    let (_pki, proxy, nobody) = start("limits: { handshake_timeout: 1s }");
    let hello = client_hello(&nobody).await;
    let mut socket = raw::connect(proxy.port());
    let start = Instant::now();
    let cut = hello.iter().cycle().any(|byte| {
        assert!(start.elapsed() < wait::GUARD, "it is never cut");
        thread::sleep(Duration::from_millis(100));
        socket.write_all(&[*byte]).is_err()
    });
    assert!(cut);
    // The handshake is done and HTTP/2 never begins.
    let mut stream = connect(proxy.port(), &nobody, alpn::HTTP2).await.unwrap();
    let mut said = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut said);
    wait::guard("the end of a silent connection", read).await.ok();
    serves(&proxy, &nobody).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_vanish_in_the_handshake_leave_nothing_behind() {
    let (_pki, proxy, nobody) = start("");
    let hello = client_hello(&nobody).await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", proxy.process.id())).unwrap().count();
    serves(&proxy, &nobody).await.unwrap();
    let open = || proxy.admin().metric("prism_connections_open", "edge");
    wait::until("the first should be over", || (open() == 0.0).then_some(()));
    let before = descriptors();
    for round in 0..200 {
        let mut socket = raw::connect(proxy.port());
        raw::send(&mut socket, &hello[..hello.len() * (round % 10 + 1) / 10]);
        if round % 2 == 0 {
            // An RST and no FIN.
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
        }
    }
    wait::until("all should be over", || (open() == 0.0).then_some(()));
    wait::until("their descriptors should be back", || (descriptors() <= before + 2).then_some(()));
    serves(&proxy, &nobody).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_ends_though_a_handshake_is_under_way() {
    let pki = pki();
    let template = crate::behind(&own(&pki, ""), "") + "drain: { timeout: 1s }\n";
    let mut proxy = Proxy::start(&template);
    let hello = client_hello(&crate::nobody(&pki)).await;
    let mut socket = raw::connect(proxy.port());
    raw::send(&mut socket, &hello[..hello.len() / 2]);
    let accepted = || proxy.admin().metric("prism_connections_total", "edge");
    wait::until("it should be accepted", || (accepted() == 1.0).then_some(()));
    proxy.process.signal(Signal::TERM);
    assert_eq!(proxy.process.wait().code(), Some(0));
}
