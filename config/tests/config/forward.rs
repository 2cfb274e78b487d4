//! Forward routes, and what they match.

use prism_config::{HttpProtocol, PathMatch, TargetAddress};

use crate::common::{load, problems};

/// A listener with these routes, each in one line, and three plugins.
fn document(routes: &[&str]) -> String {
    let routes: String = routes.iter().map(|route| format!("      - {{ {route} }}\n")).collect();
    format!(
        "\
plugins:
  - {{ name: near, type: sidecar, socket: near.sock }}
  - {{ name: far, type: remote, endpoint: 'far.example:1', tls: {{ ca_cert: ca.pem }} }}
  - {{ name: mem, type: builtin, builtin: memory }}
listeners:
  - name: a
    address: 127.0.0.1:1
    routes:
{routes}"
    )
}

/// What is wrong with one route.
fn told(route: &str) -> Vec<String> {
    let found = problems(&document(&[route]));
    found
        .iter()
        .map(|it| it.to_string().split_once(' ').map_or_else(String::new, |(_, text)| text.into()))
        .collect()
}

#[test]
fn everything_has_its_default_and_its_whole_path() {
    let text = document(&[
        "match: { host: 'API.Example:8080', path_prefix: /x/ }, forward: true, prefix_rewrite: /y/, \
         targets: [{ address: 'unix:./run/x.sock' }, { address: 'Host.Example:1', weight: 0, protocol: http1, \
         tls: { ca_cert: ca.pem, client_cert: c.pem, client_key: k.pem } }, { address: 'unix:///run/y.sock' }]",
        "match: { grpc: { service: a.B } }, forward: true, plugin: near",
        "match: { grpc: { service: a.B, method: C } }, forward: true, plugin: far",
        "match: { path: /z }, forward: true, targets: [{ address: 'h.example:1', tls: { enabled: false } }]",
        "match: {}, forward: false",
    ]);
    let config = load(&text);
    let routes = &config.listeners[0].routes;
    assert_eq!(routes[0].matcher.host.as_deref(), Some("api.example:8080"));
    assert_eq!(routes[0].matcher.paths(), PathMatch::Prefix("/x/".into()));
    let [unix, tls, grpc_style] = &routes[0].targets[..] else { panic!("{:?}", routes[0].targets) };
    assert_eq!(unix.address, TargetAddress::Unix("/etc/prism/run/x.sock".into()));
    assert_eq!((unix.weight, unix.protocol, &unix.tls), (1, HttpProtocol::Http2, &None));
    assert_eq!((tls.weight, tls.protocol), (0, HttpProtocol::Http1));
    let secured = tls.tls.as_ref().unwrap();
    assert_eq!(secured.ca_cert, std::path::Path::new("/etc/prism/ca.pem"));
    assert_eq!(secured.client.as_ref().unwrap().client_key, std::path::Path::new("/etc/prism/k.pem"));
    assert_eq!(grpc_style.address, TargetAddress::Unix("/run/y.sock".into()));
    assert_eq!(routes[1].matcher.paths(), PathMatch::Prefix("/a.B/".into()));
    assert_eq!(routes[2].matcher.paths(), PathMatch::Exact("/a.B/C".into()));
    assert_eq!(routes[3].targets[0].tls, None);
    assert!(!routes[4].forward);
    // What is shown can be read again.
    let shown = serde_json::to_value(&routes[0]).unwrap();
    assert_eq!(shown["targets"][1]["address"], "host.example:1");
    assert_eq!(shown["targets"][1]["tls"]["ca_cert"], "/etc/prism/ca.pem");
}

#[test]
fn what_only_looks_like_a_mistake_is_taken() {
    for route in [
        "match: { path_prefix: /x }, forward: true, prefix_rewrite: /y, plugin: near",
        "match: { path_prefix: / }, forward: true, prefix_rewrite: /y/, plugin: near",
        "match: { path: /x }, forward: true, prefix_rewrite: /y/, plugin: near",
        "match: { grpc: { service: a.B } }, forward: true, targets: [{ address: '127.0.0.1:1', protocol: http1 }, \
         { address: '127.0.0.1:2' }]",
    ] {
        load(&document(&[route]));
    }
}

#[test]
fn mistakes_in_forward_routes_are_told() {
    let target = "targets: [{ address: '127.0.0.1:1' }]";
    let forward = |rest: &str| format!("match: {{ path_prefix: /x }}, forward: true, {rest}");
    for (route, expected) in [
        (format!("match: {{}}, {target}"), "`targets` has a meaning only with `forward: true`"),
        ("match: {}, plugin: near".to_owned(), "`plugin` has a meaning only with `forward: true`"),
        (
            "match: { path: /x }, forward: false, prefix_rewrite: /".to_owned(),
            "`prefix_rewrite` has a meaning only",
        ),
        ("match: {}, forward: true".to_owned(), "a forward route needs somewhere to go"),
        (forward(&format!("plugin: near, {target}")), "`plugin` and `targets` exclude each other"),
        (forward("plugin: nea"), "there is no plugin `nea` (did you mean `near`?)"),
        (forward("plugin: mem"), "plugin `mem` is of type `builtin`: there is no process to forward to"),
        (forward("targets: []"), "`targets` is empty"),
        (forward("targets: [{ address: '127.0.0.1:1', weight: 0 }]"), "every target has the weight 0"),
        (forward("targets: [{ address: '127.0.0.1:1', weight: -1 }]"), "weight"),
        (forward("targets: [{ address: 'http://127.0.0.1:1' }]"), "expected `HOST:PORT`"),
        (forward("targets: [{ address: '10.0.0.1:1' }]"), "a target on another host needs `tls`"),
        (forward("targets: [{ address: '10.0.0.1:1', tls: {} }]"), "`tls` needs a `ca_cert`"),
        (
            forward("targets: [{ address: 'a.example:1', tls: { ca_cert: a, client_cert: b } }]"),
            "`client_cert` needs a `client_key`",
        ),
        (
            forward("targets: [{ address: 'unix:/x', tls: { enabled: false } }]"),
            "a unix socket is not secured by TLS",
        ),
        (forward("targets: [{ address: 'a:1', protocol: http3 }]"), "expected one of `http2`, `http1`"),
        (forward("targets: [{ address: 'LOCALHOST:1' }, { address: 'localhost:1' }]"), "is there twice"),
        (forward(&format!("{target}, namespace: near")), "a forward route has no namespace"),
        (forward(&format!("{target}, prefix_rewrite: x")), "a path begins with `/`"),
        (forward(&format!("{target}, prefix_rewrite: '/x?y'")), "`?` and `#` never match"),
        (
            forward(&format!("{target}, prefix_rewrite: /prism.plugin.")),
            "the plugin protocol is not forwarded",
        ),
        (
            format!("match: {{ grpc: {{ service: a.B }} }}, forward: true, {target}, prefix_rewrite: /"),
            "replaces what `path_prefix` or `path` matched, and there is neither",
        ),
        (
            format!("match: {{ path: /x, grpc: {{ service: a.B }} }}, forward: true, {target}"),
            "exclude each other",
        ),
        (
            format!("match: {{ grpc: {{ service: a/B }} }}, forward: true, {target}"),
            "expected a name of letters",
        ),
        (
            format!("match: {{ grpc: {{ service: '' }} }}, forward: true, {target}"),
            "expected a name of letters",
        ),
        (
            format!("match: {{ grpc: {{ method: B }} }}, forward: true, {target}"),
            "the key `service` is missing",
        ),
        (
            forward(&format!("{target}, prefix_rewrite: /")),
            "the other does not (write `path_prefix: /x/` and `prefix_rewrite: /`)",
        ),
        (
            format!("match: {{ path_prefix: /x/ }}, forward: true, {target}, prefix_rewrite: /v2"),
            "(write `path_prefix: /x/` and `prefix_rewrite: /v2/`)",
        ),
        (forward(&format!("{target}, prefix_rewrite: ''")), "to drop a prefix, end `path_prefix` with `/`"),
        (
            "match: { grpc: { service: a.B } }, forward: true, targets: [{ address: '127.0.0.1:1', protocol: http1 }]"
                .to_owned(),
            "gRPC is spoken over HTTP/2",
        ),
        (format!("match: {{ host: 'http://a' }}, forward: true, {target}"), "expected a host such as"),
        (format!("match: {{ host: '*.a' }}, forward: true, {target}"), "wildcards are not known here"),
        (format!("match: {{ host: 'a/b' }}, forward: true, {target}"), "expected a host such as"),
        (format!("match: {{ host: '' }}, forward: true, {target}"), "expected a host such as"),
    ] {
        let told = told(&route);
        assert!(told.iter().any(|told| told.contains(expected)), "{route}: {told:#?}");
    }
}

#[test]
fn hosts_and_services_decide_between_routes_of_one_path() {
    let route = |matcher: &str| format!("match: {{ {matcher} }}");
    let at = |matchers: &[&str]| {
        let routes: Vec<String> = matchers.iter().map(|matcher| route(matcher)).collect();
        document(&routes.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for matchers in [
        &["path_prefix: /", "path_prefix: /, host: a", "host: b", "host: 'a:1'"][..],
        &["path_prefix: /a.B/", "grpc: { service: a.B }", "grpc: { service: a.B }, host: a"],
        &["path: /a.B/C", "grpc: { service: a.B, method: C }"],
        &["host: a", "host: a, headers: { x: y }", "host: b, headers: { x: y }"],
    ] {
        assert_eq!(load(&at(matchers)).listeners[0].routes.len(), matchers.len());
    }
    for matchers in [
        &["host: a", "host: A"][..],
        &["host: a, headers: { x: y }", "host: a, headers: { z: y }"],
        &["grpc: { service: a.B }", "grpc: { service: a.B }"],
        &[
            "grpc: { service: a.B, method: C }, headers: { x: y }",
            "grpc: { service: a.B, method: C }, headers: { z: y }",
        ],
    ] {
        let found = problems(&at(matchers)).to_string();
        assert!(found.contains("could match the same requests"), "{matchers:?}: {found}");
    }
}
