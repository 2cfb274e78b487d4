//! Which service gets a request.

use super::{SPEAKS, all_to, get, reason, routes};
use prism_tests::{
    Proxy,
    backend::{Backend, Speaks},
    client::http2,
    wait, wire,
};

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
