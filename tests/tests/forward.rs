//! Forward routes: another service, over HTTP/1.1 or HTTP/2, behind the same filters.

use bytes::Bytes;
use prism_proto::kv::v1::{GetRequest, GetResponse, SetRequest, SetResponse};
use prism_tests::{
    Pki, Proxy, Sidecar, Start,
    backend::{Backend, Speaks},
    client::{
        curl::{self, Answer},
        http2, web,
    },
    wait, wire,
};
use serde_json::Value;
use std::process::Command;
use tonic::Code;

const CLIENTS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];
const SPEAKS: [(Speaks, &str); 2] = [(Speaks::Http1, "http1"), (Speaks::Http2, "http2")];

/// A listener with these routes.
fn routes(routes: &[String]) -> String {
    let routes: String = routes.iter().map(|route| format!("      - {{ {route} }}\n")).collect();
    format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters: [ trace: {{}}, plugin_dispatch: {{}} ]
    routes:
{routes}namespaces:
  - {{ name: demo, backend: memory }}
"
    )
}

/// A route for everything to one service.
fn all_to(backend: &Backend, protocol: &str) -> String {
    let address = &backend.address;
    format!("match: {{}}, forward: true, targets: [{{ address: '{address}', protocol: {protocol} }}]")
}

fn get(proxy: &Proxy, version: &str, path: &str, more: &[&str]) -> Answer {
    let url = proxy.url(path);
    let mut arguments = vec![version, "--path-as-is", &url];
    arguments.extend(more);
    curl::run(&arguments)
}

/// The header's values, as the service saw them.
fn values<'a>(asked: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = asked["headers"].as_array().unwrap();
    headers.iter().filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect()
}

fn reason(answer: &Answer) -> String {
    answer.json()["reason"].as_str().unwrap().to_owned()
}

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
            for name in ["x-prism-principal", "x-hop"] {
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
fn answers_of_every_shape_come_back() {
    for (speaks, protocol) in SPEAKS {
        let backend = Backend::start(speaks);
        let proxy = Proxy::start(&routes(&[all_to(&backend, protocol)]));
        for version in CLIENTS {
            let at = |path: &str, more: &[&str]| get(&proxy, version, path, more);
            for status in [204, 304, 404, 418, 503] {
                let _ = at(&format!("/status/{status}"), &[]).expect(status);
            }
            assert_eq!(at("/large", &[]).expect(200).body.len(), 8 << 20, "{speaks:?} {version}");
            let head = at("/large", &["--head"]).expect(200);
            if speaks == Speaks::Http1 {
                assert_eq!(head.header("content-length"), Some("8388608"), "{version}");
            }
            assert_eq!(at("/trailers", &[]).expect(200).text(), "body");
            let chunked =
                at("/", &["--data-binary", "hello", "-H", "transfer-encoding: chunked"]).expect(200).json();
            assert_eq!(chunked["length"], 5);
        }
        let before = backend.connections();
        for _ in 0..20 {
            let _ = get(&proxy, "--http1.1", "/", &[]).expect(200);
        }
        let workers = std::thread::available_parallelism().unwrap().get();
        assert!(backend.connections() <= before + workers, "connections are kept: {}", backend.connections());
    }
}

#[tokio::test]
async fn trailers_come_back() {
    for (speaks, protocol) in SPEAKS {
        let backend = Backend::start(speaks);
        let proxy = Proxy::start(&routes(&[all_to(&backend, protocol)]));
        let connection = http2::connect(proxy.port()).await;
        let request =
            http::Request::get("http://a.example/trailers").header("te", "trailers").body(()).unwrap();
        let answer = connection.call(request, Bytes::new()).await.unwrap();
        assert_eq!(answer.body, b"body");
        if speaks == Speaks::Http2 {
            assert_eq!(answer.trailers["x-sum"], "7");
        }
    }
}

#[test]
fn a_path_that_can_be_written_in_another_way_is_refused() {
    let backend = Backend::start(Speaks::Http1);
    let proxy = Proxy::start(&routes(&[
        all_to(&backend, "http1"),
        format!(
            "match: {{ path_prefix: /api/ }}, forward: true, prefix_rewrite: /prism., targets: [{{ address: '{}' }}]",
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
        ] {
            let answer = get(&proxy, version, path, &[]);
            assert_eq!(answer.status, 400, "{path}");
            assert_eq!(reason(&answer), "MALFORMED_PATH", "{path}");
        }
        for path in
            ["/prism.plugin.BackendPlugin/Execute", "/api/plugin.BackendPlugin/Execute", "/PRISM.PLUGIN.x/y"]
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

#[test]
fn routes_are_chosen_by_host_path_service_and_headers() {
    let backends: Vec<Backend> = (0..7).map(|_| Backend::start(Speaks::Http1)).collect();
    let to = |index: usize, matcher: &str, more: &str| {
        let address = &backends[index].address;
        format!(
            "match: {{ {matcher} }}, forward: true, targets: [{{ address: '{address}', protocol: http1 }}] {more}"
        )
    };
    let proxy = Proxy::start(&routes(
        &[
            to(0, "", ""),
            to(1, "host: shop.example", ""),
            to(2, "host: 'shop.example:81'", ""),
            to(3, "path_prefix: /orders/", ", prefix_rewrite: /v2/"),
            to(4, "path: /orders/7", ", prefix_rewrite: /seven"),
            to(5, "path_prefix: /orders/, headers: { x-canary: 'yes' }", ""),
            to(6, "path_prefix: /orders/, host: SHOP.example", ", prefix_rewrite: ''"),
        ]
        .map(|route| route.replace(", prefix_rewrite: ''", "")),
    ));
    let hit = |host: &str, path: &str, more: &[&str]| {
        let host = format!("host: {host}");
        let mut arguments = vec!["-H", &*host];
        arguments.extend(more);
        let before: Vec<usize> = backends.iter().map(|backend| backend.requests().len()).collect();
        let asked = get(&proxy, "--http1.1", path, &arguments).expect(200).json();
        let index =
            backends.iter().zip(before).position(|(backend, before)| backend.requests().len() > before);
        (index.unwrap(), asked["target"].as_str().unwrap().to_owned())
    };
    for (host, path, more, index, target) in [
        ("other.example", "/x", &[][..], 0, "/x"),
        ("shop.example.evil", "/x", &[], 0, "/x"),
        ("evil-shop.example", "/x", &[], 0, "/x"),
        ("Shop.EXAMPLE", "/x", &[], 1, "/x"),
        ("shop.example.", "/x", &[], 1, "/x"),
        ("shop.example:80", "/x", &[], 1, "/x"),
        ("shop.example:81", "/x", &[], 2, "/x"),
        ("other.example", "/orders/8?a=b", &[], 3, "/v2/8?a=b"),
        ("shop.example", "/orders/7?a", &[], 4, "/seven?a"),
        ("other.example", "/orders/8", &["-H", "x-canary: yes"], 5, "/orders/8"),
        ("shop.example", "/orders/8", &["-H", "x-canary: yes"], 6, "/orders/8"),
    ] {
        assert_eq!(hit(host, path, more), (index, target.to_owned()), "{host} {path} {more:?}");
    }
}

#[test]
fn what_the_listener_serves_itself_stays_unless_a_route_names_it() {
    let backend = Backend::start(Speaks::Http2);
    let address = &backend.address;
    let catch_all = all_to(&backend, "http2");
    let health = |proxy: &Proxy| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let connection = http2::connect(proxy.port()).await;
            let head = http2::head("/grpc.health.v1.Health/Check", &[]);
            let answer = connection.call(head, wire::framed(b"")).await.unwrap();
            answer.headers.contains_key("x-kept")
        })
    };
    assert!(!health(&Proxy::start(&routes(std::slice::from_ref(&catch_all)))));
    let named = format!(
        "match: {{ grpc: {{ service: grpc.health.v1.Health }} }}, forward: true, targets: [{{ address: '{address}' }}]"
    );
    assert!(health(&Proxy::start(&routes(&[catch_all, named]))));
    // A namespace's calls need a route of their own beside one that takes everything.
    let beside =
        Proxy::start(&routes(&[all_to(&backend, "http2"), "match: { path_prefix: /v1/ }".to_owned()]));
    let set = ["-H", "content-type: application/octet-stream", "--data-binary", "v"];
    let _ = get(&beside, "--http1.1", "/v1/demo/set?key=k", &set).expect(200);
    assert!(backend.requests().iter().all(|asked| !asked["target"].as_str().unwrap().starts_with("/v1/")));
}

#[test]
fn weights_share_the_requests_and_what_is_away_gets_none() {
    let mut backends =
        [Backend::start(Speaks::Http1), Backend::start(Speaks::Http2), Backend::start(Speaks::Http2)];
    let target = |index: usize, weight: u32, protocol: &str| {
        format!("{{ address: '{}', weight: {weight}, protocol: {protocol} }}", backends[index].address)
    };
    let targets = [target(0, 3, "http1"), target(1, 1, "http2"), target(2, 0, "http2")].join(", ");
    let config = routes(&[format!("match: {{}}, forward: true, targets: [{targets}]")]);
    let proxy = Proxy::start(&format!("workers: 1\n{config}"));
    for _ in 0..40 {
        let _ = get(&proxy, "--http1.1", "/", &[]).expect(200);
    }
    let counts = backends.each_ref().map(|backend| backend.requests().len());
    assert_eq!(counts, [30, 10, 0]);

    backends[0].stop();
    for _ in 0..20 {
        let _ = get(&proxy, "--http1.1", "/", &["--data-binary", "hello"]).expect(200);
    }
    assert_eq!(backends[1].requests().len(), 30, "all of them went to the one that is there");
    backends[1].stop();
    let answer = get(&proxy, "--http1.1", "/", &[]).expect(503);
    assert_eq!(reason(&answer), "UPSTREAM_UNAVAILABLE");
    let told = answer.text();
    assert!(
        backends.iter().all(|backend| !told.contains(&backend.address)),
        "an address is no caller's business: {told}"
    );
}

#[test]
fn a_service_that_comes_back_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.sock");
    for (speaks, protocol) in SPEAKS {
        let config = routes(&[format!(
            "match: {{}}, forward: true, targets: [{{ address: 'unix:{}', protocol: {protocol} }}]",
            path.display()
        )]);
        let proxy = Proxy::start(&config);
        assert_eq!(reason(&get(&proxy, "--http1.1", "/", &[]).expect(503)), "UPSTREAM_UNAVAILABLE");
        for _ in 0..2 {
            let backend = Backend::unix(speaks, &path);
            wait::until("the service is found", || {
                (get(&proxy, "--http1.1", "/", &[]).status == 200).then_some(())
            });
            drop(backend);
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    for (speaks, protocol) in SPEAKS {
        let backend = Backend::start(speaks);
        let proxy = Proxy::start(&routes(&[all_to(&backend, protocol)]));
        for version in CLIENTS {
            let output = Command::new("curl")
                .args(["-sSf", "--max-time", "20", version, &proxy.url("/break")])
                .output()
                .unwrap();
            assert!(!output.status.success(), "{speaks:?} {version}: {output:?}");
        }
        let _ = get(&proxy, "--http1.1", "/", &[]).expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_and_resets_reach_the_service() {
    let backend = Backend::start(Speaks::Http2);
    let proxy = Proxy::start(&routes(&[all_to(&backend, "http2")]));
    let connection = http2::connect(proxy.port()).await;
    let head = http2::head("/never", &[("grpc-timeout", "300m")]);
    let answer = connection.call(head, wire::framed(b"x")).await.unwrap();
    assert_eq!(answer.code(), Code::DeadlineExceeded);
    wait::until("the service hears of the deadline", || (backend.cancelled() == 1).then_some(()));
    let asked = backend.requests();
    let passed = values(&asked[0], "grpc-timeout")[0];
    let micros: u64 = passed.strip_suffix('u').unwrap().parse().unwrap();
    assert!((1..=300_000).contains(&micros), "{passed}");

    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, stream) = send.send_request(http2::head("/never", &[]), true).unwrap();
    let waiting = tokio::spawn(response);
    wait::until("the call is there", || (backend.requests().len() == 2).then_some(()));
    let mut stream = stream;
    stream.send_reset(h2::Reason::CANCEL);
    let _ = waiting.await;
    wait::until("the service hears of the reset", || (backend.cancelled() == 2).then_some(()));
}

#[test]
fn a_client_that_goes_away_ends_its_request_at_the_service() {
    for (speaks, protocol) in SPEAKS {
        let backend = Backend::start(speaks);
        let proxy = Proxy::start(&routes(&[all_to(&backend, protocol)]));
        for (count, version) in CLIENTS.iter().enumerate() {
            let mut child =
                Command::new("curl").args(["-sS", version, &proxy.url("/never")]).spawn().unwrap();
            wait::until("the request is there", || (backend.requests().len() > count).then_some(()));
            child.kill().unwrap();
            child.wait().unwrap();
            wait::until("its end is seen", || (backend.cancelled() > count).then_some(()));
        }
    }
}

#[tokio::test]
async fn grpc_needs_a_service_that_speaks_http2() {
    let backend = Backend::start(Speaks::Http1);
    let proxy = Proxy::start(&routes(&[all_to(&backend, "http1")]));
    let connection = http2::connect(proxy.port()).await;
    let answer = connection.call(http2::head("/a.B/C", &[]), wire::framed(b"x")).await.unwrap();
    assert_eq!(answer.code(), Code::Unimplemented);
    assert!(backend.requests().is_empty());
}

#[tokio::test]
async fn a_grpc_call_without_a_route_and_one_to_a_service_that_is_away() {
    let mut backend = Backend::start(Speaks::Http2);
    let route = format!(
        "match: {{ grpc: {{ service: a.B, method: C }} }}, forward: true, targets: [{{ address: '{}' }}]",
        backend.address
    );
    let proxy = Proxy::start(&routes(&[route]));
    let connection = http2::connect(proxy.port()).await;
    for path in ["/a.B/D", "/a.Bc/C", "/b.B/C"] {
        let answer = connection.call(http2::head(path, &[]), wire::framed(b"x")).await.unwrap();
        assert_eq!(answer.code(), Code::Unimplemented, "{path}");
    }
    backend.stop();
    let answer = connection.call(http2::head("/a.B/C", &[]), wire::framed(b"x")).await.unwrap();
    assert_eq!(answer.code(), Code::Unavailable);
    // Not gRPC: the route is not for it.
    let request = http::Request::get("http://a.example/a.B/C").body(()).unwrap();
    let answer = connection.call(request, Bytes::new()).await.unwrap();
    assert_eq!(answer.status, 404);
}

#[test]
fn a_reload_keeps_connections_and_changes_where_requests_go() {
    let (one, other) = (Backend::start(Speaks::Http1), Backend::start(Speaks::Http1));
    let config = |backend: &Backend, more: &str| {
        let route = all_to(backend, "http1");
        format!("workers: 1\n{}", routes(&[route, format!("match: {{ path_prefix: /{more}/ }}")]))
    };
    let proxy = Proxy::start(&config(&one, "a"));
    let _ = get(&proxy, "--http1.1", "/", &[]).expect(200);
    proxy.hang_up(&config(&one, "b"));
    wait::until("the change", || (proxy.admin().version() == 2).then_some(()));
    let _ = get(&proxy, "--http1.1", "/", &[]).expect(200);
    assert_eq!((one.connections(), one.requests().len()), (1, 2), "the connection was kept");
    proxy.hang_up(&config(&other, "b"));
    wait::until("the change", || (proxy.admin().version() == 3).then_some(()));
    let _ = get(&proxy, "--http1.1", "/", &[]).expect(200);
    assert_eq!((one.requests().len(), other.requests().len()), (2, 1));
}

#[test]
fn the_access_log_and_the_metrics_know_forwarded_requests() {
    let backend = Backend::start(Speaks::Http1);
    let proxy = Proxy::start(&routes(&[all_to(&backend, "http1")]));
    let _ = get(&proxy, "--http1.1", "/status/404", &[]).expect(404);
    let text = proxy.admin().get("/metrics").text();
    let counted = r#"prism_requests_total{code="NOT_FOUND",namespace="(none)"} 1"#;
    assert!(text.lines().any(|line| line == counted), "{text}");
}

/// A proxy that serves the namespace `demo`, whoever asks, behind these filters: the service of another proxy.
fn behind(filters: &str) -> Proxy {
    Proxy::start(&format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters: [ {filters}trace: {{}}, plugin_dispatch: {{}} ]
    routes: [{{ match: {{}}, namespace: demo }}]
namespaces:
  - {{ name: demo, backend: memory }}
"
    ))
}

const RAW: [&str; 4] = ["-H", "content-type: application/octet-stream", "--data-binary", "hello"];

#[test]
fn a_target_is_reached_over_tls_and_no_other_certificate_is_taken() {
    let pki = Pki::new();
    let filter =
        format!("tls: {{ cert: '{}', key: '{}' }}, ", pki.path("plugin.crt"), pki.path("plugin.key"));
    let service = behind(&filter);
    for protocol in ["http1", "http2"] {
        let forward = |tls: &str| {
            let port = service.port();
            let target = format!("{{ address: '127.0.0.1:{port}', protocol: {protocol}, tls: {tls} }}");
            Proxy::start(&routes(&[format!("match: {{}}, forward: true, targets: [{target}]")]))
        };
        let ca = pki.path("ca.crt");
        for tls in
            [format!("{{ ca_cert: '{ca}' }}"), format!("{{ ca_cert: '{ca}', server_name: plugin.test }}")]
        {
            let proxy = forward(&tls);
            let _ = get(&proxy, "--http1.1", "/v1/demo/set?key=k", &RAW).expect(200);
        }
        let stranger = Pki::new();
        for tls in [
            format!("{{ ca_cert: '{}' }}", stranger.path("ca.crt")),
            format!("{{ ca_cert: '{ca}', server_name: other.test }}"),
            "{ enabled: false }".to_owned(),
        ] {
            let proxy = forward(&tls);
            // In clear, an HTTP/1.1 service is heard to answer something: an alert.
            let status = get(&proxy, "--http1.1", "/v1/demo/set?key=k", &RAW).status;
            assert!([502, 503].contains(&status), "{tls}: {status}");
        }
    }
    let missing = routes(&[
        "match: {}, forward: true, targets: [{ address: '127.0.0.1:1', tls: { ca_cert: /no/ca } }]".into(),
    ]);
    let mut refused = Start::new(&missing).without_ready().spawn();
    let status = wait::until("it should end", || refused.process.ended());
    assert!(!status.success());
    let log = refused.process.log();
    assert!(log.contains("listeners[0].routes[0]") && log.contains("/no/ca"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_s_own_process_can_be_forwarded_to() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("memory.sock");
    let _sidecar = Sidecar::memory(&socket);
    let route =
        "match: { grpc: { service: grpc.health.v1.Health } }, forward: true, plugin: cache".to_owned();
    let plugin = "match: { path_prefix: /prism.plugin. }, forward: true, plugin: cache".to_owned();
    let config = routes(&[route, plugin]);
    let config =
        format!("{config}plugins: [{{ name: cache, type: sidecar, socket: '{}' }}]\n", socket.display());
    let proxy = Proxy::start(&config);
    let connection = http2::connect(proxy.port()).await;
    let answer =
        connection.call(http2::head("/grpc.health.v1.Health/Check", &[]), wire::framed(b"")).await.unwrap();
    assert_eq!(answer.code(), Code::Ok);
    // Serving, as the plugin says of itself (`HealthCheckResponse.status`).
    assert_eq!(wire::messages(&answer.body), [[8, 1]]);
    for path in ["/prism.plugin.BackendPlugin/Describe", "/prism.plugin.BackendPlugin/Shutdown"] {
        let answer = connection.call(http2::head(path, &[]), wire::framed(b"")).await.unwrap();
        assert_eq!(answer.code(), Code::Unimplemented, "{path}");
    }
}

#[test]
fn grpc_web_is_grpc_for_a_service_too() {
    let service = behind("");
    let target = format!("targets: [{{ address: '127.0.0.1:{}' }}]", service.port());
    let route = format!(
        "    routes:\n      - {{ match: {{ grpc: {{ service: prism.kv.v1.KeyValueService }} }}, forward: true, {target} }}\n"
    );
    let proxy = Proxy::start(&web::config(web::APP).replace("    routes:\n", &route));
    for way in web::ways(&proxy) {
        let set = SetRequest { key: "k".into(), value: "v".into(), ..SetRequest::default() };
        let set: SetResponse = way.message("/prism.kv.v1.KeyValueService/Set", &[], &set);
        assert!(set.applied);
        let get = GetRequest { key: "k".into(), ..GetRequest::default() };
        let got: GetResponse = way.message("/prism.kv.v1.KeyValueService/Get", &[], &get);
        assert_eq!(got.value, "v");
    }
}
