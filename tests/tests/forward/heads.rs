//! What goes on of a request, and what does not.

use super::{CLIENTS, SPEAKS, all_to, get, reason, routes, values};
use prism_tests::{
    Proxy,
    backend::{Backend, Speaks},
};

#[test]
fn a_request_arrives_as_it_came_without_what_belongs_to_the_hop() {
    for (speaks, protocol) in SPEAKS {
        let backend = Backend::start(speaks);
        let proxy = Proxy::start(&routes(&[all_to(&backend, protocol)]));
        for version in CLIENTS {
            let answer = get(
                &proxy,
                version,
                "/a%20b/c;d?e=%2F..&f",
                &[
                    "-X",
                    "PUT",
                    "--data-binary",
                    "hello",
                    "-H",
                    "content-type: text/x",
                    "-H",
                    "host: Shop.Example:81",
                    "-H",
                    "x-own: 1",
                    "-H",
                    "x-own: 2",
                    "-H",
                    "cookie: a=b",
                    "-H",
                    "authorization: Bearer t",
                    "-H",
                    "x-prism-principal: root",
                    "-H",
                    "X_Prism_Principal: root",
                    "-H",
                    "x-prism-namespace: demo",
                    "-H",
                    "x-forwarded-client-cert: Hash=1",
                    "-H",
                    "x_forwarded_client_cert: Hash=1",
                    "-H",
                    "x-forwarded-for: 10.0.0.1",
                    "-H",
                    "x_forwarded_for: 10.0.0.1",
                    "-H",
                    "forwarded: for=10.0.0.1",
                    "-H",
                    "x-forwarded-proto: https",
                    "-H",
                    "x-real-ip: 10.0.0.1",
                    "-H",
                    "x-forwarded-prefix: /admin",
                    "-H",
                    "X_Forwarded_Server: a",
                    "-H",
                    "http2-settings: AAMAAABkAAQAAP__",
                    "-H",
                    "x-request-id: mine",
                    "-H",
                    "proxy-authorization: Basic x",
                    "-H",
                    "te: trailers, deflate",
                ],
            )
            .expect(200);
            let asked = answer.json();
            assert_eq!(asked["method"], "PUT");
            assert_eq!(asked["target"], "/a%20b/c;d?e=%2F..&f");
            assert_eq!(asked["length"], 5);
            let host = match speaks {
                Speaks::Http1 => values(&asked, "host")[0].to_owned(),
                Speaks::Http2 => asked["authority"].as_str().unwrap().to_owned(),
            };
            assert_eq!(host, "Shop.Example:81");
            assert_eq!(values(&asked, "x-own"), ["1", "2"]);
            for (name, value) in [
                ("content-type", "text/x"),
                ("cookie", "a=b"),
                ("authorization", "Bearer t"),
                ("content-length", "5"),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-proto", "http"),
            ] {
                assert_eq!(values(&asked, name), [value], "{name}: {asked}");
            }
            for name in [
                "x-prism-principal",
                "x_prism_principal",
                "x-prism-namespace",
                "x-forwarded-client-cert",
                "x_forwarded_client_cert",
                "x_forwarded_for",
                "forwarded",
                "x-real-ip",
                "x-forwarded-prefix",
                "x_forwarded_server",
                "http2-settings",
                "proxy-authorization",
                "transfer-encoding",
                "connection",
            ] {
                assert!(values(&asked, name).is_empty(), "{name}: {asked}");
            }
            let te: &[&str] = if speaks == Speaks::Http2 { &["trailers"] } else { &[] };
            assert_eq!(values(&asked, "te"), te);
            assert_ne!(values(&asked, "x-request-id"), ["mine"]);
            assert_eq!(Some(values(&asked, "x-request-id")[0]), answer.header("x-request-id"));
            assert_eq!(values(&asked, "traceparent").len(), 1);
            assert_eq!(answer.header("x-kept"), Some("1"));
            for name in ["x-prism-principal", "x_prism_principal", "x-hop"] {
                assert_eq!(answer.header(name), None, "{name}");
            }
        }
    }
}

#[test]
fn what_connection_names_goes_and_what_the_proxy_says_stays() {
    let backend = Backend::start(Speaks::Http2);
    let proxy = Proxy::start(&routes(&[all_to(&backend, "http2")]));
    let answer = get(
        &proxy,
        "--http1.1",
        "/",
        &[
            "-H",
            "Connection: close, X-Secret, x-request-id, X-Forwarded-For, host",
            "-H",
            "x-secret: 1",
            "-H",
            "x-other: 1",
        ],
    );
    let asked = answer.expect(200).json();
    assert!(values(&asked, "x-secret").is_empty());
    assert_eq!(values(&asked, "x-other"), ["1"]);
    assert_eq!(values(&asked, "x-request-id").len(), 1);
    assert_eq!(values(&asked, "x-forwarded-for"), ["127.0.0.1"]);
    assert!(asked["authority"].as_str().unwrap().starts_with("127.0.0.1:"));
}

#[test]
fn a_path_that_can_be_written_in_another_way_is_refused() {
    let backend = Backend::start(Speaks::Http1);
    let proxy = Proxy::start(&routes(&[
        all_to(&backend, "http1"),
        format!(
            "match: {{ path_prefix: /api }}, forward: true, prefix_rewrite: /prism, targets: [{{ address: '{}' }}]",
            backend.address
        ),
    ]));
    for version in CLIENTS {
        for path in [
            "//x",
            "/x//y",
            "/x/../y",
            "/x/./y",
            "/..",
            "/x/%2e%2e/y",
            "/x%2fy",
            "/x%5cy",
            "/x\\y",
            "/%61",
            "/x%00",
            "/x%0d%0ay",
            "/%",
            "/x%zz",
            "/x%25",
            "/x/..;/y",
            "/x/..%3b/y",
            "/%c0%af",
        ] {
            let answer = get(&proxy, version, path, &[]);
            assert_eq!(answer.status, 400, "{path}");
            assert_eq!(reason(&answer), "MALFORMED_PATH", "{path}");
        }
        for path in
            ["/prism.plugin.BackendPlugin/Execute", "/api.plugin.BackendPlugin/Execute", "/PRISM.PLUGIN.x/y"]
        {
            let answer = get(&proxy, version, path, &[]).expect(404);
            assert_eq!(reason(&answer), "NO_ROUTE", "{path}");
        }
    }
    for method in ["TRACE", "CONNECT"] {
        let answer = get(&proxy, "--http1.1", "/", &["-X", method, "--request-target", "/"]);
        assert!([400, 404, 405].contains(&answer.status), "{method}: {}", answer.status);
    }
    assert!(backend.requests().is_empty(), "{:?}", backend.requests());
}
