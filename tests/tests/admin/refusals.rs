//! Whom the admin address refuses, and what those are told.

use super::roles::{TOKENS, YAML, bearer, config, get, longer, put, url, version};
use prism_tests::{
    DEMO, Proxy,
    client::{curl, raw},
    sha256,
};
use std::collections::BTreeSet;

const PATHS: [&str; 5] = ["/config", "/namespaces", "/plugins", "/audit", "/metrics"];

/// Bytes on a connection of their own: the status of the answer.
fn send(proxy: &Proxy, request: &str) -> u16 {
    let mut socket = raw::connect(proxy.admin().port());
    raw::send(&mut socket, request.as_bytes());
    let answer = raw::until_closed(&mut socket);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[test]
fn nobody_comes_in_without_a_token() {
    let config = config("");
    let proxy = Proxy::start(&config);
    let more = proxy.fill(&longer(&config));
    let (_, token) = TOKENS[2];
    let of = |token: &str| format!("authorization: Bearer {token}");
    let fields: Vec<Vec<String>> = vec![
        vec![],
        vec!["authorization: Bearer nobody-u3Xr8Qm2Lk5Tz9Wc7Bn4".into()],
        vec![of(&token[..token.len() - 1])],
        vec![of(&token[1..])],
        vec![of(&format!("{token}x"))],
        vec![of(&token.to_uppercase())],
        vec![of(&token.to_lowercase())],
        vec![of(&sha256(token))],
        vec![of(&format!("{token}, {token}"))],
        vec![of(&format!(" {token}"))],
        vec![of("")],
        vec![format!("authorization: {token}")],
        vec![format!("authorization: Token {token}")],
        vec!["authorization: Basic YWRtaW46YWRtaS11M1hyOFFtMkxrNVR6OVdjN0JuNA==".into()],
        vec![of(token), of(token)],
        vec![of("nobody-u3Xr8Qm2Lk5Tz9Wc7Bn4"), of(token)],
        vec![format!("x-api-key: {token}")],
        vec![format!("cookie: token={token}")],
        vec![format!("proxy-authorization: Bearer {token}")],
        vec![format!("x-forwarded-for: 127.0.0.1"), "x-prism-principal: token:the-admin".into()],
        vec![of(&"a".repeat(2000))],
    ];
    let (mut answers, mut sent) = (BTreeSet::new(), 0);
    for fields in &fields {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        for path in PATHS.iter().chain(&[
            "/nothing",
            "//config",
            "/config/",
            "/healthz/",
            "/ready/../config",
            "/%63onfig",
        ]) {
            let answer = get(&proxy, path, &fields).expect(401);
            assert_eq!(
                answer.header("www-authenticate"),
                Some(r#"Bearer realm="prism-edge""#),
                "{path} {fields:?}"
            );
            answers.insert(answer.text());
            sent += 1;
        }
        let with: Vec<&str> = fields.iter().copied().chain([YAML]).collect();
        for path in ["/config", "/config?dry_run=true", "/nothing", "/drain"] {
            answers.insert(put(&proxy, path, &more, &with).expect(401).text());
        }
    }
    for query in
        [format!("access_token={token}"), format!("token={token}"), format!("authorization=Bearer%20{token}")]
    {
        answers.insert(get(&proxy, &format!("/config?{query}"), &[]).expect(401).text());
        answers.insert(put(&proxy, &format!("/config?{query}"), &more, &[YAML]).expect(401).text());
    }
    for method in ["POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
        for path in ["/healthz", "/ready", "/config", "/nothing"] {
            answers.insert(curl::run(&["-X", method, &url(&proxy, path)]).expect(401).text());
        }
    }
    // Whatever it was, the answer is one, so that nobody learns what there is.
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(curl::run(&["-I", &url(&proxy, "/config")]).status, 401);
    assert_eq!(version(&proxy), 1);
    // The log says why, not for each of them, and not what was sent.
    let log = proxy.process.log();
    assert!(log.contains("it has no token"), "{log}");
    let lines = log.lines().filter(|line| line.contains("the admin address refused a request")).count();
    assert!(lines < sent, "{lines} lines of {sent} requests");
    assert!(!log.contains("u3Xr8Qm2Lk5"), "{log}");
}

/// What was allowed over the socket does not make the address say more.
#[test]
fn a_token_is_shown_nowhere() {
    let config = config("");
    let proxy = Proxy::start(&config);
    let wrong = proxy.fill(&config).replace("role: viewer", "role: root");
    let refused = proxy.admin().over_socket("PUT", "/config", &wrong).expect(400).text();
    assert!(refused.contains("admin.tokens[0].role"), "{refused}");
    let mut all = refused;
    for path in PATHS {
        all.push_str(&proxy.admin().over_socket("GET", path, "").expect(200).text());
        all.push_str(&get(&proxy, path, &[&bearer("admin")]).expect(200).text());
    }
    all.push_str(&proxy.process.log());
    assert!(all.contains("the-admin") && all.contains("<redacted>"), "{all}");
    for (_, token) in TOKENS {
        assert!(!all.contains(token) && !all.contains(&sha256(token)), "{all}");
    }
}

#[test]
fn a_name_that_was_pointed_here_is_refused() {
    let guarded = config(", hosts: [edge.example.com]");
    for (template, field) in [(&*guarded, Some(bearer("admin"))), (DEMO, None)] {
        let proxy = Proxy::start(template);
        let ask = |host: &str, path: &str| {
            let host = format!("host: {host}");
            let fields: Vec<&str> = std::iter::once(&*host).chain(field.as_deref()).collect();
            get(&proxy, path, &fields).status
        };
        for host in ["localhost", "localhost:80", "127.0.0.1", "[::1]:50052", "LOCALHOST"] {
            assert_eq!(ask(host, "/config"), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:50052",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.9",
            "0.0.0.0",
            "2130706433",
            "user@localhost",
        ] {
            for path in ["/config", "/healthz", "/ready", "/metrics", "/nothing"] {
                assert_eq!(ask(host, path), 421, "{host} {path}");
            }
        }
        assert_eq!(ask("edge.example.com:80", "/config"), if field.is_some() { 200 } else { 421 });
        let more = proxy.fill(&longer(template));
        let evil = [bearer("admin"), "host: evil.example".into(), YAML.into()];
        let _ = put(&proxy, "/config", &more, &evil.each_ref().map(|field| &**field)).expect(421);
        let close = "connection: close\r\n\r\n";
        for (request, status) in [
            (format!("GET /healthz HTTP/1.1\r\n{close}"), 400),
            (format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n{close}"), 400),
            (format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n{close}"), 400),
            (format!("GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost\r\n{close}"), 421),
            (format!("GET http://localhost/healthz HTTP/1.1\r\nhost: evil.example\r\n{close}"), 421),
            (format!("GET http://localhost/healthz HTTP/1.1\r\nhost: localhost\r\n{close}"), 200),
            ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 200),
            ("GET /healthz HTTP/1.0\r\nhost: evil.example\r\n\r\n".to_owned(), 421),
            (format!("PUT /config HTTP/1.0\r\ncontent-length: 0\r\n{}\r\n\r\n", bearer("admin")), 400),
        ] {
            assert_eq!(send(&proxy, &request), status, "{request}");
        }
        assert_eq!(version(&proxy), 1);
    }
}

#[test]
fn a_web_page_changes_nothing() {
    let config = config("");
    let proxy = Proxy::start(&config);
    let more = proxy.fill(&longer(&config));
    let admin = bearer("admin");
    for origin in ["origin: http://localhost", "origin: null", "origin: https://evil.example"] {
        let _ = put(&proxy, "/config", &more, &[&admin, YAML, origin]).expect(403);
        let preflight = curl::run(&[
            "-X",
            "OPTIONS",
            "-H",
            origin,
            "-H",
            "access-control-request-method: PUT",
            &url(&proxy, "/config"),
        ]);
        assert_eq!(preflight.status, 403);
        assert_eq!(preflight.header("access-control-allow-origin"), None);
        let read = get(&proxy, "/config", &[&admin, origin]).expect(200);
        assert_eq!(read.header("access-control-allow-origin"), None);
    }
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data; boundary=a",
        "application/octet-stream",
    ] {
        let _ = put(&proxy, "/config", &more, &[&admin, &format!("content-type: {kind}")]).expect(415);
        let _ = put(&proxy, "/config?dry_run=true", &more, &[&admin, &format!("content-type: {kind}")])
            .expect(415);
    }
    let _ = put(&proxy, "/config", &more, &[&admin, "content-type:"]).expect(415);
    assert_eq!(version(&proxy), 1);
    let _ =
        put(&proxy, "/config", &more, &[&admin, "content-type: application/yaml; charset=utf-8"]).expect(200);
    assert_eq!(version(&proxy), 2);
}

#[test]
fn a_head_without_end_is_not_collected() {
    let proxy = Proxy::start(&config(""));
    let huge = "a".repeat(256 << 10);
    let status = send(&proxy, &format!("GET /config HTTP/1.1\r\nhost: localhost\r\nx: {huge}\r\n\r\n"));
    assert!(matches!(status, 0 | 400 | 431), "{status}");
    let many: String = (0..500).map(|at| format!("x{at}: 1\r\n")).collect();
    let status = send(&proxy, &format!("GET /config HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"));
    assert!(matches!(status, 0 | 400 | 431), "{status}");
    let _ = get(&proxy, "/healthz", &[]).expect(200);
}
