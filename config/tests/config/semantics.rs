//! Names that must exist, things that must not be twice, orders and ties.

use crate::{
    common::{load, registry, source},
    mistakes::refused,
};
use prism_config::{FilterSchema, Phase, Registry, parse};

/// A listener with these routes, one `match` mapping each.
fn routes(matchers: &[&str]) -> String {
    let routes: String = matchers.iter().map(|matcher| format!("      - match: {{ {matcher} }}\n")).collect();
    format!("listeners:\n  - name: a\n    address: 127.0.0.1:1\n    routes:\n{routes}")
}

#[test]
fn names_and_addresses_must_differ() {
    refused(
        "\
listeners:
  - { name: a, address: '127.0.0.1:1' }
  - { name: a, address: '127.0.0.1:1' }
  - { name: b, address: '0.0.0.0:1' }
  - { name: c, address: '[::1]:1' }
  - { name: d, address: '127.0.0.1:50052' }
  - { name: e, address: '127.0.0.1:0' }
  - { name: f, address: '127.0.0.1:0' }
plugins:
  - { name: p, type: builtin, builtin: memory }
  - { name: p, type: sidecar, socket: x }
namespaces:
  - { name: n, backend: memory }
  - { name: n, backend: memory }
",
        &[
            "3:13: listeners[1].name: listener `a` is there twice; first on line 2",
            "3:25: listeners[1].address: listener `a` and listener `a` (line 2) have the same address 127.0.0.1:1",
            "4:25: listeners[2].address: listener `b` and listener `a` (line 2) have the same address 0.0.0.0:1",
            "6:25: listeners[4].address: listener `d` and the admin interface (line 1) have the same address \
             127.0.0.1:50052",
            "11:13: plugins[1].name: plugin `p` is there twice; first on line 10",
            "14:13: namespaces[1].name: namespace `n` is there twice; first on line 13",
        ],
    );
    refused(
        "admin: { address: 127.0.0.1:50051 }\n",
        &[
            "1:1: listeners: listener `edge` and the admin interface (line 1) have the same address 127.0.0.1:50051",
        ],
    );
}

#[test]
fn chains_have_an_order() {
    let chain =
        |filters: &str| format!("listeners: [{{ name: a, address: '127.0.0.1:1', filters: [{filters}] }}]");
    let none = "1:48: listeners[0].filters: the chain has no terminal filter, so nothing would answer (end it with \
                `- plugin_dispatch`)";
    refused(&chain(""), &[none]);
    refused(&chain("trace"), &[none]);
    refused(
        &chain("plugin_dispatch, trace"),
        &[
            "1:58: listeners[0].filters[0]: `plugin_dispatch` answers, so it must come last (move it to the end)",
        ],
    );
    refused(
        &chain("trace, trace, plugin_dispatch"),
        &["1:65: listeners[0].filters[1]: filter `trace` is there twice; first on line 1"],
    );
    refused(
        &chain("trace, tls, plugin_dispatch"),
        &[
            "1:65: listeners[0].filters[1]: `tls` runs on the connection, so it must come before `trace`, which runs \
             on requests (move it up)",
            "1:65: listeners[0].filters[1]: filter `tls` is not built yet",
        ],
    );
    refused(
        &chain("trace, auth, cors, plugin_dispatch"),
        &[
            "1:65: listeners[0].filters[1]: filter `auth` is not built yet",
            "1:71: listeners[0].filters[2]: `cors` must come before `auth`: a browser asks for leave without \
             credentials, so it would be refused there (move it up)",
            "1:71: listeners[0].filters[2]: filter `cors` is not built yet",
        ],
    );
    refused(
        &chain("authz, audit, trace, plugin_dispatch"),
        &[
            "1:58: listeners[0].filters[0]: `authz` asks what the caller may do, and there is no `auth` that finds out who \
             calls (add `- auth` before it)",
            "1:58: listeners[0].filters[0]: filter `authz` is not built yet",
            "1:65: listeners[0].filters[1]: `audit` must come before `authz`: what is refused there would not be in the \
             audit log (move it up)",
            "1:65: listeners[0].filters[1]: filter `audit` is not built yet",
            "1:72: listeners[0].filters[2]: `trace` must come before `audit`: a record of the audit log has the \
             request's id, which `trace` gives it (move it up)",
        ],
    );
    refused(
        &chain("audit, plugin_dispatch"),
        &[
            "1:58: listeners[0].filters[0]: a record of the audit log has the request's id, which `trace` gives it, and there \
             is no `trace` (add `- trace` before it)",
            "1:58: listeners[0].filters[0]: filter `audit` is not built yet",
        ],
    );
    refused(
        &chain("plugin_dispatch, plugin_dispatch"),
        &[
            "1:58: listeners[0].filters[0]: `plugin_dispatch` answers, so it must come last (move it to the end)",
            "1:75: listeners[0].filters[1]: filter `plugin_dispatch` is there twice; first on line 1",
        ],
    );
    refused(
        &chain("trace, plugin_dispach"),
        &["1:65: listeners[0].filters[1]: unknown filter `plugin_dispach` (did you mean `plugin_dispatch`?)"],
    );
}

/// A route may leave both out, or the audit log alone, but not what the log needs.
#[test]
fn a_route_that_is_audited_is_traced() {
    let schema = serde_json::json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let audit = FilterSchema { name: "audit", phase: Phase::Request, schema, check: |_| Vec::new() };
    let registry = Registry::new(registry().filters().clone().with(audit), ["memory"]);
    let read = |filters: &str| {
        let text = format!(
            "listeners: [{{ name: a, address: '127.0.0.1:1', filters: [trace, audit, plugin_dispatch], routes: [{{ match: {{}}, \
             filters: {{ {filters} }} }}] }}]\n"
        );
        parse(&source(&text), &registry).map(drop).map_err(|problems| problems.to_string())
    };
    for good in ["", "audit: false", "audit: false, trace: false", "trace: {}"] {
        assert_eq!(read(good), Ok(()), "{good}");
    }
    for bad in ["trace: false", "audit: {}, trace: false"] {
        let told = read(bad).unwrap_err();
        assert!(
            told.contains("routes[0].filters.trace: ") && told.contains("this route leaves it out"),
            "{bad}: {told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn a_filter_that_must_be_told_something_is_not_named_alone() {
    let schema = serde_json::json!({
        "type": "object",
        "properties": { "cert": { "type": "string" }, "key": { "type": "string" } },
        "required": ["cert", "key"],
        "additionalProperties": false,
    });
    let filters = registry().filters().clone();
    let filters =
        filters.with(FilterSchema { name: "tls", phase: Phase::Connection, schema, check: |_| Vec::new() });
    let registry = Registry::new(filters, ["memory"]);
    let read = |filters: &str| {
        let text = format!(
            "listeners: [{{ name: a, address: '127.0.0.1:1', filters: [{filters}, trace, plugin_dispatch] }}]"
        );
        parse(&source(&text), &registry).map_err(|problems| problems.to_string())
    };
    read("{ tls: { cert: a, key: b } }").unwrap();
    for (filters, said) in [
        (
            "tls",
            "listeners[0].filters[0]: `tls` has no defaults for `cert` and `key` (write `- tls: { cert: …, key: … }`)",
        ),
        ("tls:", "listeners[0].filters[0].tls: expected a mapping, found nothing"),
        ("{ tls: null }", "listeners[0].filters[0].tls: expected a mapping, found nothing"),
        ("{ tls: {} }", "listeners[0].filters[0].tls: the key `cert` is missing"),
        ("{ tls: { cert: a } }", "listeners[0].filters[0].tls: the key `key` is missing"),
    ] {
        let refused = read(filters).unwrap_err();
        assert!(refused.contains(said), "{filters}: {refused}");
    }
}

#[test]
fn routes_that_tie_are_refused_naming_both() {
    for (a, b) in [
        ("path: /x", "path: /x"),
        ("path_prefix: /x", "path_prefix: /x"),
        ("", ""),
        ("", "path_prefix: /"),
        ("path: /x, headers: { a: '1' }", "path: /x, headers: { a: '1' }"),
        // One request can have both headers.
        ("path: /x, headers: { a: '1' }", "path: /x, headers: { b: '1' }"),
        ("headers: { a: '1', b: '2' }", "headers: { b: '2', c: '3' }"),
        ("headers: { A: '1' }", "headers: { a: '1' }"),
    ] {
        refused(
            &routes(&[a, b]),
            &[
                "6:16: listeners[0].routes[1].match: route 1 could match the same requests as route 0 (line 5), and \
               neither is more specific (give one of them a longer path or another header)",
            ],
        );
    }
}

#[test]
fn routes_of_different_rank_do_not_tie() {
    for matchers in [
        &["path: /x", "path_prefix: /x", "path: /y", ""][..],
        &["path: /x", "path: /x, headers: { a: '1' }", "path: /x, headers: { a: '1', b: '1' }"],
        &["path: /x, headers: { a: '1' }", "path: /x, headers: { a: '2' }"],
        &["headers: { a: '1', b: '2' }", "headers: { a: '2', c: '3' }"],
        &["path_prefix: /x", "path_prefix: /x/"],
    ] {
        assert_eq!(load(&routes(matchers)).listeners[0].routes.len(), matchers.len());
    }
}

#[test]
fn a_thousand_routes_are_judged_pair_by_pair_only_where_they_must() {
    let matchers: Vec<String> =
        (0..5_000).map(|n| format!("path: /x, headers: {{ tenant: 't{n}' }}")).collect();
    let matchers: Vec<&str> = matchers.iter().map(String::as_str).collect();
    assert_eq!(load(&routes(&matchers)).listeners[0].routes.len(), 5_000);
}

#[test]
fn matchers_that_can_never_match_are_refused() {
    refused(
        &routes(&[
            "path: x",
            "path: /a?b",
            "path_prefix: '/ä'",
            "path: /a, path_prefix: /a",
            "headers: { 'a b': x }",
            "headers: { x-prism-principal: x }",
            "headers: { x-prism-namespace: x }",
            "headers: { a: ' x' }",
            "headers: { a: x, A: y }",
            "headers: { a: 5 }",
            "method: GET",
        ]),
        &[
            "5:24: listeners[0].routes[0].match.path: a path begins with `/`",
            "6:24: listeners[0].routes[1].match.path: a path is compared without the query, so `?` and `#` never match",
            "7:31: listeners[0].routes[2].match.path_prefix: a path is ASCII without blanks; other characters arrive \
             percent-encoded",
            "8:16: listeners[0].routes[3].match: `path` and `path_prefix` exclude each other (keep one)",
            "9:29: listeners[0].routes[4].match.headers[\"a b\"]: this is not a header's name",
            "10:29: listeners[0].routes[5].match.headers.x-prism-principal: a client's `x-prism-*` headers are dropped \
             before routes are chosen",
            "12:32: listeners[0].routes[7].match.headers.a: no header has such a value (remove blanks around it, and \
             control characters)",
            "13:35: listeners[0].routes[8].match.headers.A: the header is there twice; upper and lower case are the \
             same",
            "14:32: listeners[0].routes[9].match.headers.a: expected a string, found an integer `5` (put it in quotes)",
            "15:18: listeners[0].routes[10].match.method: unknown key `method` (known: `grpc`, `headers`, `host`, \
             `path`, `path_prefix`)",
        ],
    );
}

#[test]
fn routes_refer_to_what_is_there() {
    refused(
        "\
listeners:
  - name: a
    address: 127.0.0.1:1
    filters: [plugin_dispatch]
    routes:
      - match: { path: /a }
        namespace: dmo
        filters: { trace: { buffer: 5 } }
      - match: { path: /b }
        filters: { plugin_dispatch: false }
      - namespace: demo
namespaces:
  - { name: demo, backend: memory }
",
        &[
            "7:20: listeners[0].routes[0].namespace: there is no namespace `dmo` (did you mean `demo`?)",
            "8:20: listeners[0].routes[0].filters.trace: `trace` is not in this listener's chain (add it to the \
             listener's `filters`)",
            "10:20: listeners[0].routes[1].filters.plugin_dispatch: `plugin_dispatch` answers, so it cannot be left out",
            "11:9: listeners[0].routes[2]: the key `match` is missing",
        ],
    );
}

#[test]
fn plugins_have_what_their_type_needs() {
    refused(
        "\
plugins:
  - { name: a, type: sidecar }
  - { name: b, type: sidecar, builtin: memory, socket: x }
  - { name: c, type: builtin, builtin: memory, socket: x }
  - { name: d, type: builtin }
  - { name: e, type: builtin, builtin: memry }
  - { name: f, type: sidecar, socket: '' }
  - { name: g }
  - { name: h, type: in_process, builtin: memory, socket: x }
  - { name: i, type: sidecar, socket: x, library: y, offload: true }
",
        &[
            "2:5: plugins[0]: a `sidecar` needs a `socket` (add `socket:` with the unix socket it listens on)",
            "3:31: plugins[1].builtin: `builtin` has no meaning for a plugin of type `sidecar` (remove it)",
            "4:48: plugins[2].socket: `socket` has no meaning for a plugin of type `builtin` (remove it)",
            "5:5: plugins[3]: there is no builtin plugin `d` (built in: `memory`)",
            "6:40: plugins[4].builtin: there is no builtin plugin `memry` (did you mean `memory`?)",
            "7:39: plugins[5].socket: the path is empty",
            "8:5: plugins[6]: the key `type` is missing",
            "9:5: plugins[7]: an `in_process` plugin needs a `library` (add `library:` with the shared library's path)",
            "9:34: plugins[7].builtin: `builtin` has no meaning for a plugin of type `in_process` (remove it)",
            "9:51: plugins[7].socket: `socket` has no meaning for a plugin of type `in_process` (remove it)",
            "10:42: plugins[8].library: `library` has no meaning for a plugin of type `sidecar` (remove it)",
            "10:54: plugins[8].offload: `offload` has no meaning for a plugin of type `sidecar` (remove it)",
        ],
    );
}

#[test]
fn remote_plugins_say_where_they_are_and_how_they_are_secured() {
    refused(
        "plugins:
  - { name: a, type: remote }
  - { name: b, type: grpc, endpoint: 'a:1', endpoints: ['b:1'], tls: { ca_cert: x } }
  - { name: c, type: remote, endpoints: [], tls: {} }
  - { name: d, type: remote, endpoints: ['a:1', 'b:1', 'A:1'], tls: { ca_cert: x, client_cert: y } }
  - { name: e, type: remote, endpoint: 'http://a:1', tls: { ca_cert: x, client_key: y } }
  - { name: f, type: remote, endpoint: 'a:1', socket: x, library: y, tls: { enabled: false, ca_cert: x } }
  - { name: g, type: builtin, builtin: memory, endpoint: 'a:1', tls: { ca_cert: x } }
  - { name: h, type: remote, endpoint: 'a:1', tls: { enabled: false } }
  - { name: i, type: remote, endpoint: 'a:1', tls: { ca: x } }
namespaces:
  - { name: n, backend: x, plugin: h, credentials: { password: x } }
  - { name: o, backend: h, credentials: { password: x } }
  - name: p
    backend: x
    plugin: { type: grpc, endpoint: 'a:1', tls: { enabled: false } }
    credentials: { password: x }
",
        &[
            "2:5: plugins[0]: a `remote` plugin needs `endpoints` (add `endpoints: [HOST:PORT]`)",
            "2:5: plugins[0]: a `remote` plugin needs `tls` (add `tls:` with a `ca_cert`, or `tls: { enabled: false }` for a network that nobody else is on)",
            "3:5: plugins[1]: `endpoint` and `endpoints` are both there (put all of them into `endpoints`)",
            "4:5: plugins[2]: `endpoints` is empty (add at least one HOST:PORT)",
            "4:50: plugins[2].tls: `tls` needs a `ca_cert` (add `ca_cert:` with the PEM file of the authorities that its certificate may be from)",
            "5:56: plugins[3].endpoints[2]: `A:1` is there twice (each endpoint is a process of its own; remove it)",
            "5:83: plugins[3].tls.client_cert: `client_cert` needs a `client_key` (add `client_key:`)",
            "6:40: plugins[4].endpoint: expected a host and a port such as `cache.example.com:50100`, `10.0.0.7:50100` or `[2001:db8::7]:50100`, found a string `http://a:1`",
            "6:73: plugins[4].tls.client_key: `client_key` needs a `client_cert` (add `client_cert:`)",
            "7:47: plugins[5].socket: `socket` has no meaning for a plugin of type `remote` (remove it)",
            "7:58: plugins[5].library: `library` has no meaning for a plugin of type `remote` (remove it)",
            "7:93: plugins[5].tls.ca_cert: `ca_cert` has no meaning with `enabled: false` (remove one of the two)",
            "8:48: plugins[6].endpoint: `endpoint` has no meaning for a plugin of type `builtin` (remove it)",
            "8:65: plugins[6].tls: `tls` has no meaning for a plugin of type `builtin` (remove it)",
            "10:52: plugins[8].tls: `tls` needs a `ca_cert` (add `ca_cert:` with the PEM file of the authorities that its certificate may be from)",
            "10:54: plugins[8].tls.ca: unknown key `ca` (did you mean `ca_cert`?)",
            "12:39: namespaces[0].credentials: these would be sent in clear: the namespace's plugin has `tls: { enabled: false }` (give the plugin `tls` with a `ca_cert`)",
            "13:28: namespaces[1].credentials: these would be sent in clear: the namespace's plugin has `tls: { enabled: false }` (give the plugin `tls` with a `ca_cert`)",
            "17:5: namespaces[2].credentials: these would be sent in clear: the namespace's plugin has `tls: { enabled: false }` (give the plugin `tls` with a `ca_cert`)",
        ],
    );
}

#[test]
fn a_socket_s_path_has_to_fit() {
    let long = "x".repeat(100);
    refused(
        &format!("admin:\n  socket: {long}\n"),
        &[&format!(
            "2:11: admin.socket: the socket's path is 111 bytes long; a unix socket takes 107: /etc/prism/{long} \
             (choose a shorter absolute path)"
        )],
    );
    assert_eq!(load(&format!("admin:\n  socket: {}\n", &long[..96])).admin.socket.as_os_str().len(), 107);
}

#[test]
fn namespaces_find_their_plugins() {
    refused(
        "\
admin: { ready: [a, zz] }
plugins:
  - { name: cache, type: sidecar, socket: x }
namespaces:
  - { name: a, backend: redis, plugin: cach }
  - { name: b, backend: memory, plugin: memory }
  - { name: c, backend: redis }
  - { name: d, backend: redis, plugin: { name: cache, type: sidecar, socket: y } }
  - { name: e, backend: redis, plugin: { type: sidecar } }
  - { name: memory, backend: redis, plugin: { type: sidecar, socket: z } }
  - { name: f, backend: memory }
  - { name: g, backend: redis, plugin: { type: builtin, name: e, builtin: memory } }
",
        &[
            "1:21: admin.ready[1]: there is no namespace `zz`",
            "5:40: namespaces[0].plugin: there is no plugin `cach` in `plugins:` (did you mean `cache`?)",
            "6:41: namespaces[1].plugin: there is no plugin `memory` in `plugins:` (for the builtin, leave `plugin` out \
             and write `backend: memory`)",
            "7:25: namespaces[2].backend: no `plugin` is given, and `redis` is neither in `plugins:` nor built in \
             (built in: `memory`)",
            "8:40: namespaces[3].plugin: plugin `cache` is there twice; first on line 3 (give the inline plugin another \
             `name`)",
            "9:40: namespaces[4].plugin: a `sidecar` needs a `socket` (add `socket:` with the unix socket it listens \
             on)",
            "11:5: namespaces[6].backend: the builtin plugin `memory` and the inline plugin on line 10 have the same \
             name (give the inline plugin another `name`)",
            "12:40: namespaces[7].plugin: plugin `e` is there twice; first on line 9 (give the inline plugin another \
             `name`)",
        ],
    );
}

#[test]
fn a_declared_plugin_takes_precedence_over_the_builtin_of_its_name() {
    let config = load(
        "\
plugins: [{ name: memory, type: sidecar, socket: /x }]
namespaces: [{ name: a, backend: memory }, { name: b, backend: memory }]
",
    );
    assert_eq!(config.plugins.len(), 1);
    assert_eq!(config.namespace("b").unwrap().plugin, "memory");
    let config = load("namespaces: [{ name: a, backend: memory }, { name: b, backend: memory }]\n");
    assert_eq!(config.plugins, [prism_config::Plugin::builtin("memory")]);
}

#[test]
fn windows_must_fit_each_other() {
    let http2 = |settings: &str| {
        format!("listeners: [{{ name: a, address: '127.0.0.1:1', http2: {{ {settings} }} }}]")
    };
    let hint = "(raise `initial_connection_window_bytes`, best well above it: one stalled stream can hold a whole \
                stream window)";
    refused(
        &http2("initial_stream_window_bytes: 2MiB"),
        &[&format!(
            "1:55: listeners[0].http2: the stream window (2MiB) is larger than the connection window (1MiB) {hint}"
        )],
    );
    load(&http2("initial_stream_window_bytes: 2MiB, initial_connection_window_bytes: 2097152"));
    load(&http2("initial_stream_window_bytes: 1"));
}

#[test]
fn what_is_resolved() {
    let config = load(
        "\
admin: { socket: ../run/./admin.sock, ready: [a] }
listeners:
  - name: a
    address: '[::1]:0'
    filters:
      - trace:
          format: text

      - plugin_dispatch:
    routes:
      - match: { headers: { X-Tenant: A } }
        filters: { trace: }
plugins: [{ name: p, type: sidecar, socket: /abs/p.sock, transport: grpc, operations: { get: read } }]
namespaces: [{ name: a, backend: redis, plugin: p, limits: { max_message_bytes: 100 } }]
",
    );
    assert_eq!(config.admin.socket.to_str(), Some("/etc/prism/../run/admin.sock"));
    let listener = &config.listeners[0];
    assert_eq!(listener.filters[0].settings, serde_json::json!({ "format": "text" }));
    assert_eq!((listener.filters[0].line, listener.filters[1].line), (6, 9));
    assert_eq!(listener.filters[1].settings, serde_json::json!({}));
    assert_eq!(listener.routes[0].matcher.headers["x-tenant"], "A");
    assert_eq!(
        listener.routes[0].filters.get("trace"),
        Some(&prism_config::FilterOverride::Settings(serde_json::json!({})))
    );
    assert_eq!(config.plugin("p").unwrap().transport, prism_config::Transport::Grpc);
    assert_eq!(config.namespaces[0].limits.max_message_bytes.get(), 100);
}

#[test]
fn a_filter_judges_its_settings_wherever_they_stand() {
    let settings = "{ buffer: 13, format: text }";
    let problem = |path: &str| format!("{path}.buffer: 13 is too little for `text` (take 14)");
    let chain = format!(
        "listeners: [{{ name: a, address: '127.0.0.1:1', filters: [trace: {settings}, plugin_dispatch] }}]"
    );
    refused(&chain, &[&format!("1:75: {}", problem("listeners[0].filters[0].trace"))]);
    let routes = |settings: &str| {
        format!(
            "listeners:\n- name: a\n  address: 127.0.0.1:1\n  routes:\n  - match: {{}}\n    filters: {{ trace: {settings} }}\n"
        )
    };
    refused(&routes(settings), &[&format!("6:33: {}", problem("listeners[0].routes[0].filters.trace"))]);
    // Of settings that do not fit the schema only that is said, and those that are left out are none.
    for (settings, problems) in [("false", 0), ("{ buffer: 13 }", 0), ("{ buffer: 13, format: txt }", 1)] {
        let text = routes(settings);
        if problems == 0 {
            let _ = load(&text);
        } else {
            assert_eq!(crate::common::problems(&text).iter().count(), problems);
        }
    }
}
