//! What is agreed on, by programs of other people.

use crate::{own, pki, s_server, start};
use prism_tests::{
    DEMO, Proxy,
    client::{
        curl,
        tls::{Said, s_client},
    },
    h2spec, tools, wait,
};
use prism_tls::testing::end;
use std::{
    fs,
    process::Command,
    time::{Duration, SystemTime},
};

const VERSIONS: [(&str, &str); 2] = [("--http2", "2"), ("--http1.1", "1.1")];

#[test]
fn curl_speaks_both_versions() {
    let (pki, proxy, _) = start("");
    let url = format!("https://127.0.0.1:{}/v1/demo", proxy.port());
    for (flag, version) in VERSIONS {
        let mut command = Command::new(tools::tool("curl"));
        command.args(["-sS", "--fail", "--max-time", "30", "--noproxy", "*", "-o", "/dev/null"]);
        command.args(["-w", "%{http_version} %{ssl_verify_result}", flag, "--cacert", &pki.path("ca.crt")]);
        assert_eq!(tools::succeed(command.arg(&url)), format!("{version} 0"));
    }
    // In clear, and with a CA that has not signed it: nothing.
    assert_eq!(curl::run(&[&proxy.url("/v1/demo")]).status, 0);
    assert_eq!(curl::run(&[&url]).status, 0);
}

#[test]
fn grpcurl_calls_by_name() {
    let (pki, proxy, _) = start("");
    let grpcurl = |before: &[&str], after: &[&str]| {
        let mut command = Command::new(tools::tool("grpcurl"));
        command.args(["-cacert", &pki.path("ca.crt"), "-max-time", "30"]);
        command.args(["-H", "x-prism-namespace: demo"]).args(before);
        command.arg(format!("127.0.0.1:{}", proxy.port())).args(after);
        tools::succeed(&mut command)
    };
    let service = "prism.kv.v1.KeyValueService";
    assert!(grpcurl(&[], &["list"]).contains(service));
    let set = r#"{"key": "greeting", "value": "aGVsbG8="}"#;
    assert!(grpcurl(&["-d", set], &[&format!("{service}/Set")]).contains("\"applied\": true"));
    let get = r#"{"key": "greeting"}"#;
    assert!(grpcurl(&["-d", get], &[&format!("{service}/Get")]).contains("aGVsbG8="));
    let mut plaintext = Command::new(tools::tool("grpcurl"));
    plaintext.args(["-plaintext", "-max-time", "5", &format!("127.0.0.1:{}", proxy.port()), "list"]);
    assert!(!tools::output(&mut plaintext).status.success());
}

#[test]
fn h2spec_passes_every_case() {
    let pki = pki();
    let (configuration, _service) = h2spec::passed_on(&crate::behind(&own(&pki, ""), ""));
    let proxy = Proxy::start(&configuration);
    h2spec::passes_every_case(proxy.port(), &["-t", "-k"]);
}

/// A handshake and nothing more, by somebody who trusts the listener.
fn handshake(port: u16, ca: &str, arguments: &[&str]) -> Said {
    let always = ["-CAfile", ca, "-verify_return_error"];
    s_client(port, &[&always[..], arguments].concat(), b"")
}

/// What `openssl` needs to speak something as old.
const OLD: [&str; 3] = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];

#[test]
fn what_is_old_or_weak_is_refused() {
    let (pki, proxy, _) = start("");
    let ca = pki.path("ca.crt");
    for (arguments, version) in [(["-tls1_2"], "TLSv1.2"), (["-tls1_3"], "TLSv1.3")] {
        let said = handshake(proxy.port(), &ca, &arguments);
        assert!(said.success && said.text.contains(&format!("New, {version}, Cipher is ")), "{said:?}");
    }
    let before = crate::failed(&proxy);
    let weak: [&[&str]; 6] = [
        &OLD,
        &["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"],
        // Without forward secrecy, CBC, and with anonymous servers.
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
        &["-tls1_2", "-cipher", "ADH-AES128-GCM-SHA256@SECLEVEL=0"],
        &["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"],
    ];
    for arguments in weak {
        let said = handshake(proxy.port(), &ca, arguments);
        assert!(!said.success, "{arguments:?}: {said:?}");
        // It was the proxy that refused, and not openssl that cannot.
        assert!(
            said.text.contains("alert protocol version") || said.text.contains("alert handshake failure"),
            "{said:?}"
        );
    }
    assert_eq!(crate::failed(&proxy) - before, weak.len() as f64);
}

/// Else the test above would show that this machine's openssl cannot speak it any more.
#[test]
fn a_server_that_takes_what_is_old_is_told_from_ours() {
    let pki = pki();
    let port = Proxy::start(DEMO).port();
    let _server = s_server(&pki, port, &OLD);
    let said = handshake(port, &pki.path("ca.crt"), &OLD);
    assert!(said.success && said.text.contains("TLSv1.1"), "{said:?}");
}

#[test]
fn the_protocol_is_agreed_on() {
    let (pki, proxy, _) = start("");
    let ca = pki.path("ca.crt");
    for version in ["-tls1_2", "-tls1_3"] {
        for (offered, agreed) in [
            ("h2,http/1.1", "ALPN protocol: h2"),
            // The listener's order counts.
            ("http/1.1,h2", "ALPN protocol: h2"),
            ("spdy/3,http/1.1", "ALPN protocol: http/1.1"),
            ("h2", "ALPN protocol: h2"),
        ] {
            let said = handshake(proxy.port(), &ca, &[version, "-alpn", offered]);
            assert!(said.success && said.text.contains(agreed), "{offered}: {said:?}");
        }
        let said = handshake(proxy.port(), &ca, &[version]);
        assert!(said.success && said.text.contains("No ALPN negotiated"), "{said:?}");
        for offered in ["spdy/3", "h2c", "prism/1", "H2"] {
            let said = handshake(proxy.port(), &ca, &[version, "-alpn", offered]);
            // RFC 7301 section 3.2: "it SHALL send a "no_application_protocol" alert".
            assert!(!said.success && said.text.contains("no application protocol"), "{offered}: {said:?}");
        }
    }
}

/// As a client of another library asks for it.
#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let pki = pki();
    let more = |name: &str, names: &[&str]| {
        let files = pki.folder.identity(name, &pki.authority.identity(names, |_| {}));
        format!("{{ cert: '{}', key: '{}' }}", files.certificates.display(), files.key.display())
    };
    let (wildcard, exact) = (more("wildcard", &["*.shop.test"]), more("exact", &["pay.shop.test"]));
    let settings = own(&pki, &format!(", certificates: [{wildcard}, {exact}]"));
    let proxy = Proxy::start(&crate::behind(&settings, ""));
    let ca = pki.path("ca.crt");
    for version in ["-tls1_2", "-tls1_3"] {
        for (asked, file) in [
            (&["-servername", "edge.test"][..], "edge.crt"),
            (&["-servername", "a.shop.test"], "wildcard.crt"),
            (&["-servername", "A.SHOP.test"], "wildcard.crt"),
            (&["-servername", "pay.shop.test"], "exact.crt"),
            (&["-servername", "a.pay.shop.test"], "edge.crt"),
            (&["-servername", "shop.test"], "edge.crt"),
            (&["-servername", "unknown.test"], "edge.crt"),
            (&["-noservername"], "edge.crt"),
        ] {
            let said = handshake(proxy.port(), &ca, &[&[version], asked].concat());
            let expected = fs::read_to_string(pki.path(file)).unwrap();
            // `s_client` shows the server's certificate as PEM.
            let body: String = expected.lines().filter(|line| !line.starts_with('-')).collect();
            let shown: String = said.text.lines().map(str::trim).collect();
            assert!(said.success && shown.contains(&body), "{asked:?}: {said:?}");
        }
    }
}

/// What ends soon is seen before it does.
#[test]
fn metrics_say_when_certificates_and_revocation_lists_end() {
    let pki = pki();
    let in_days = |days: u64| SystemTime::now() + Duration::from_secs(days * 86_400);
    let soon = pki.authority.identity(&["127.0.0.1"], |params| end(params, in_days(10)));
    pki.folder.identity("edge", &soon);
    pki.folder.write("ca.crl", &pki.authority.revoked(&[], in_days(3)));
    let settings = format!(", client_ca: '{}', crls: ['{}']", pki.path("ca.crt"), pki.path("ca.crl"));
    let proxy = Proxy::start(&crate::behind(&own(&pki, &settings), ""));
    let value = |name: &str, label: &str, file: &str| {
        let series = format!("{name}{{{label}=\"{}\",listener=\"edge\"}} ", pki.path(file));
        let text = proxy.admin().get("/metrics").expect(200).text();
        let line = text.lines().find_map(|line| line.strip_prefix(&series).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse::<f64>().unwrap()
    };
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let near =
        |found: f64, expected: f64, by: f64| assert!((found - expected).abs() < by, "{found} {expected}");
    near(value("prism_tls_certificate_expiry_days", "certificate", "edge.crt"), 10.0, 0.1);
    near(
        value("prism_tls_certificate_expiry_timestamp_seconds", "certificate", "edge.crt"),
        seconds(in_days(10)),
        600.0,
    );
    near(value("prism_tls_crl_expiry_timestamp_seconds", "crl", "ca.crl"), seconds(in_days(3)), 600.0);

    let later = pki.authority.identity(&["127.0.0.1"], |params| end(params, in_days(90)));
    pki.folder.identity("edge", &later);
    wait::until("the renewal should be seen", || {
        (value("prism_tls_certificate_expiry_days", "certificate", "edge.crt") > 80.0).then_some(())
    });
    // What is not used any more ends no more.
    proxy.hang_up(DEMO);
    wait::until("the series should go", || {
        let text = proxy.admin().get("/metrics").expect(200).text();
        (!text.contains("prism_tls_certificate_expiry")).then_some(())
    });
}

#[test]
fn who_agrees_on_nothing_is_known_by_the_first_bytes() {
    let (pki, proxy, _) = start("");
    let ca = pki.path("ca.crt");
    let ask = |more: &[&str], input: &[u8]| {
        s_client(proxy.port(), &[&["-quiet", "-CAfile", &ca], more].concat(), input).text
    };
    let get = b"GET /v1/demo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(ask(&[], get).contains("HTTP/1.1 200 OK"));
    // SETTINGS, and then a stream that only servers open: GOAWAY.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x05\0\0\0\x02\x82";
    let answer = ask(&[], preface);
    assert!(answer.contains("\0\0\0\x04\x01\0\0\0\0"), "SETTINGS are acknowledged: {answer:?}");
    // Whoever agrees on one and speaks the other gets no answer in either.
    assert!(!ask(&["-alpn", "h2"], get).contains("HTTP/1.1"));
    assert!(!ask(&["-alpn", "http/1.1"], preface).contains("\0\0\0\x04\x01\0\0\0\0"));
    // Neither of the two.
    for input in [&b"INVALID CONNECTION PREFACE\r\n\r\n"[..], b"\x16\x03\x01\0\x05hello\n", &[0xff; 100]] {
        assert!(!ask(&[], input).contains("HTTP/1.1 2"));
    }
}

#[test]
fn large_bodies_pass_both_ways() {
    let pki = pki();
    let template = crate::behind(&own(&pki, ""), "")
        .replace("plugin: memory }", "plugin: memory, limits: { max_message_bytes: 64MiB } }");
    let proxy = Proxy::start(&template);
    let folder = tempfile::tempdir().unwrap();
    let body: Vec<u8> =
        (0..32_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = folder.path().join("body");
    fs::write(&file, &body).unwrap();
    let (ca, raw) = (pki.path("ca.crt"), "content-type: application/octet-stream");
    let url = |operation: &str| format!("https://127.0.0.1:{}/v1/demo/{operation}", proxy.port());
    for (flag, _) in VERSIONS {
        let upload = format!("@{}", file.display());
        let set = url("set?key=large");
        let _ = curl::run(&[flag, "--cacert", &ca, "-H", raw, "--data-binary", &upload, &set]).expect(200);
        let got = curl::run(&[flag, "--cacert", &ca, "-H", raw, "-d", "large", &url("get")]).expect(200);
        assert!(got.body == body, "{flag}: {} of {} bytes, or others", got.body.len(), body.len());
    }
}
