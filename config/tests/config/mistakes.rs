//! Wrong configurations, each with every problem it must be told.

use crate::common::problems;

/// Checks the whole list: one `LINE:COLUMN: path: message (hint)` each.
#[track_caller]
pub(crate) fn refused(text: &str, expected: &[&str]) {
    let problems = problems(text);
    let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "\n{problems}");
}

#[test]
fn unknown_keys_are_refused_with_the_closest_known_one() {
    refused("listenrs: []\n", &["1:1: listenrs: unknown key `listenrs` (did you mean `listeners`?)"]);
    refused(
        "admin:\n  adress: 127.0.0.1:1\n  xyz: 1\n",
        &[
            "2:3: admin.adress: unknown key `adress` (did you mean `address`?)",
            "3:3: admin.xyz: unknown key `xyz` (known: `address`, `clients`, `hosts`, `open_metrics`, `ready`, `socket`, `tls`, `tokens`)",
        ],
    );
}

#[test]
fn every_problem_is_told_at_once() {
    refused(
        "\
workers: many
admin:
  address: localhost:50052
  ready: some
listeners:
  - name: Edge One
    address: 127.0.0.1
    filters:
      - trac
      - trace: { buffer: 0, format: xml, colour: red }
    http2:
      max_frame_bytes: 1KiB
      max_concurrent_streams: '7'
      keepalive_interval: 10
      keepalive_timeout: ten seconds
plugins:
  - name: p
    type: siidecar
  - type: sidecar
    socket: 7
namespaces:
  - backend: memory
    credentials: { password: 12345 }
    limits: { burst: 5, max_message_bytes: 4MB }
  - name: d
    backend: memery
",
        &[
            "1:10: workers: expected an integer, found a string `many`",
            "3:12: admin.address: expected an IP address and a port such as `127.0.0.1:50051` or `[::1]:50051`, \
             found a string `localhost:50052` (write 127.0.0.1 for localhost; names are not looked up here)",
            "4:10: admin.ready: expected `any`, `all` or a list, found a string `some`",
            "6:11: listeners[0].name: expected a name of 1 to 63 lower-case letters, digits and hyphens, found a \
             string `Edge One` (such as `edge-one`)",
            "7:14: listeners[0].address: expected an IP address and a port such as `127.0.0.1:50051` or \
             `[::1]:50051`, found a string `127.0.0.1` (an IP address needs a port from 0 to 65535)",
            "8:5: listeners[0].filters: the chain has no terminal filter, so nothing would answer (end it with \
             `- plugin_dispatch`)",
            "9:9: listeners[0].filters[0]: unknown filter `trac` (did you mean `trace`?)",
            "10:26: listeners[0].filters[1].trace.buffer: expected at least 1, found 0",
            "10:37: listeners[0].filters[1].trace.format: expected one of `json`, `text`, found a string `xml`",
            "10:42: listeners[0].filters[1].trace.colour: unknown key `colour` (known: `buffer`, `format`, `login`, \
             `secret_label`)",
            "12:24: listeners[0].http2.max_frame_bytes: expected at least 16384, found 1024",
            "13:31: listeners[0].http2.max_concurrent_streams: expected an integer, found a string `7`",
            "15:26: listeners[0].http2.keepalive_timeout: expected a duration such as `500ms`, `30s`, `5m` or `1h`, \
             found a string `ten seconds`",
            "18:11: plugins[0].type: expected one of `builtin`, `sidecar`, `in_process`, `remote`, `grpc`, `wasm`, \
             found a string `siidecar` (did you mean `sidecar`?)",
            "19:5: plugins[1]: the key `name` is missing",
            "20:13: plugins[1].socket: expected a string, found an integer `7` (put it in quotes)",
            "22:5: namespaces[0]: the key `name` is missing",
            "23:30: namespaces[0].credentials.password: expected a string, found an integer (put it in quotes)",
            "24:22: namespaces[0].limits.burst: `burst` is not built yet",
            "24:44: namespaces[0].limits.max_message_bytes: expected a size such as `16384`, `64KiB` or `4MiB`, \
             found a string `4MB`",
            "26:14: namespaces[1].backend: no `plugin` is given, and `memery` is neither in `plugins:` nor built in \
             (did you mean `memory`?)",
        ],
    );
}

#[test]
fn wrong_types() {
    refused("[]\n", &["1:1: expected a mapping, found a list"]);
    refused("just text\n", &["1:1: expected a mapping, found a string"]);
    refused("listeners:\n", &["1:1: listeners: expected a list, found nothing"]);
    refused("listeners: []\n", &["1:12: listeners: expected at least 1 item, found 0"]);
    refused(
        "listeners: { name: a, address: 127.0.0.1:1 }\n",
        &["1:12: listeners: expected a list, found a mapping (begin each item with `-`)"],
    );
    refused(
        "listeners: [{ name: a, address: 43561 }]\n",
        &["1:33: listeners[0].address: expected a string, found an integer `43561` \
           (an address and a port: `127.0.0.1:43561`)"],
    );
    refused(
        "listeners: [{ name: a, address: 99999 }]\n",
        &["1:33: listeners[0].address: expected a string, found an integer `99999`"],
    );
    refused(
        "listeners: [{ name: a, address: '127.0.0.1:1', routes: [{ match: { grpc: orders.v1.Orders }, forward: true }] }]\n",
        &[
            "1:57: listeners[0].routes[0]: a forward route needs somewhere to go (add `targets: [{ address: HOST:PORT }]`, \
           or `plugin: NAME`)",
            "1:74: listeners[0].routes[0].match.grpc: expected a mapping, found a string (write \
           `{ service: … }`)",
        ],
    );
    refused("admin: true\n", &["1:8: admin: expected a mapping, found `true`"]);
    refused("workers: 1.5\n", &["1:10: workers: expected an integer, found a number `1.5`"]);
    refused("workers: 0\n", &["1:10: workers: expected at least 1, found 0"]);
    refused("workers: 1025\n", &["1:10: workers: expected at most 1024, found 1025"]);
    refused("workers: -1\n", &["1:10: workers: expected at least 1, found -1"]);
    refused(
        "admin: { ready: 5 }\n",
        &["1:17: admin.ready: expected a string or a list, found an integer `5`"],
    );
    refused(
        "namespaces: [{ name: a, backend: memory, plugin: 5 }]\n",
        &["1:50: namespaces[0].plugin: expected a string or a mapping, found an integer"],
    );
    refused(
        "namespaces: [{ name: a, backend: memory, config: text }]\n",
        &["1:50: namespaces[0].config: expected a mapping, found a string"],
    );
    refused(
        "namespaces: [{ name: a, backend: '' }]\n",
        &["1:34: namespaces[0].backend: expected at least 1 character, found 0"],
    );
}

#[test]
fn integers_that_do_not_fit() {
    refused(
        "workers: 99999999999999999999\n",
        &["1:10: workers: the integer does not fit 64 bits (put it in quotes if it is a text)"],
    );
    refused(
        "workers: 18446744073709551615\n",
        &["1:10: workers: expected at most 1024, found 18446744073709552000"],
    );
    refused(
        "namespaces: [{ name: a, backend: memory, config: { big: -9999999999999999999, inf: .inf } }]\n",
        &[
            "1:57: namespaces[0].config.big: the integer does not fit 64 bits (put it in quotes if it is a text)",
            "1:84: namespaces[0].config.inf: the number is not finite",
        ],
    );
}

#[test]
fn durations_and_sizes_have_bounds() {
    refused(
        "\
drain: { timeout: 0s, linger: 0 }
listeners:
  - name: a
    address: 127.0.0.1:1
    http2:
      keepalive_interval: 0s
      keepalive_timeout: -5
      initial_stream_window_bytes: 2GiB
      initial_connection_window_bytes: 64000
      max_header_fields: 0
    http1: { max_header_bytes: 4KiB, header_timeout: 2000d, max_headers: 1.0 }
    limits: { max_connections: 0, idle_timeout: 1.5, stall_timeout: 1 h }
",
        &[
            "6:7: listeners[0].http2: the stream window (2GiB) is larger than the connection window (64000B) (raise \
             `initial_connection_window_bytes`, best well above it: one stalled stream can hold a whole stream window)",
            "6:27: listeners[0].http2.keepalive_interval: expected at least 1ms, found 0s",
            "7:26: listeners[0].http2.keepalive_timeout: expected at least 1ms, found -5 seconds",
            "8:36: listeners[0].http2.initial_stream_window_bytes: expected at most 2147483647, found 2147483648",
            "9:40: listeners[0].http2.initial_connection_window_bytes: expected at least 65535, found 64000",
            "10:26: listeners[0].http2.max_header_fields: expected at least 1, found 0",
            "11:32: listeners[0].http1.max_header_bytes: expected at least 8192, found 4096",
            "11:54: listeners[0].http1.header_timeout: expected at most 365d, found 2000d",
            "11:74: listeners[0].http1.max_headers: expected an integer, found a number `1`",
            "12:32: listeners[0].limits.max_connections: expected at least 1, found 0",
            "12:69: listeners[0].limits.stall_timeout: expected a duration such as `500ms`, `30s`, `5m` or `1h`, \
             found a string `1 h`",
        ],
    );
}

#[test]
fn what_is_known_but_not_built_is_refused_by_name() {
    refused(
        "\
management: { endpoint: x }
secrets: {}
listeners:
  - name: a
    address: 127.0.0.1:1
    filters:
      - tls: { cert: a, key: b }
      - auth
      - rate_limit: {}
      - trace
      - plugin_dispatch
    routes:
      - match: {}
        filters: { rate_limit: { burst: 1 }, auth: false }
plugins:
  - { name: a, type: in_process, library: x.so }
  - { name: b, type: wasm, module: x.wasm }
  - { name: c, type: builtin, builtin: memory }
  - { name: d, type: sidecar, command: [./x], env: { A: b }, cwd: /, user: x, limits: {} }
namespaces:
  - name: n
    backend: memory
    limits: { requests_per_second: 1000, burst: 200, max_concurrent: 256 }
    credentials: { password: '{{ secret:x }}' }
    config: { list: ['a {{secret:y}} b'] }
",
        &[
            "1:13: management: `management` is not built yet",
            "7:14: listeners[0].filters[0].tls: filter `tls` is not built yet",
            "8:9: listeners[0].filters[1]: filter `auth` is not built yet",
            "9:21: listeners[0].filters[2].rate_limit: filter `rate_limit` is not built yet",
            "14:32: listeners[0].routes[0].filters.rate_limit: filter `rate_limit` is not built yet",
            "14:52: listeners[0].routes[0].filters.auth: filter `auth` is not built yet",
            "17:22: plugins[1].type: `wasm` plugins are not built yet",
            "17:36: plugins[1].module: `module` is not built yet",
            "19:40: plugins[3].command: `command` is not built yet",
            "19:52: plugins[3].env: `env` is not built yet",
            "19:67: plugins[3].cwd: `cwd` is not built yet",
            "19:76: plugins[3].user: `user` is not built yet",
            "19:87: plugins[3].limits: `limits` is not built yet",
            "23:36: namespaces[0].limits.requests_per_second: `requests_per_second` is not built yet",
            "23:49: namespaces[0].limits.burst: `burst` is not built yet",
            "23:70: namespaces[0].limits.max_concurrent: `max_concurrent` is not built yet",
        ],
    );
}

#[test]
fn what_is_not_built_is_checked_all_the_same() {
    refused(
        "namespaces: [{ name: a, backend: memory, limits: { burst: few } }]\n",
        &[
            "1:59: namespaces[0].limits.burst: `burst` is not built yet",
            "1:59: namespaces[0].limits.burst: expected an integer, found a string `few`",
        ],
    );
}

#[test]
fn filters_are_checked_against_their_own_schemas() {
    refused(
        "\
listeners:
  - name: a
    address: 127.0.0.1:1
    filters:
      - trace: text
      - trace: { buffer: 1001 }
        plugin_dispatch: {}
      - {}
      - 7
      - nonsense: {}
      - plugin_dispatch: { x: 1 }
    routes:
      - match: {}
        filters:
          trace: true
          plugin_dispatch: { y: 1 }
          tls: {}
          nonsense: false
",
        &[
            "5:16: listeners[0].filters[0].trace: expected a mapping, found a string",
            "6:9: listeners[0].filters[1]: expected exactly 1 filter, found 2",
            "6:26: listeners[0].filters[1].trace.buffer: expected at most 1000, found 1001",
            "8:9: listeners[0].filters[2]: expected exactly 1 filter, found 0",
            "9:9: listeners[0].filters[3]: expected a string or a mapping, found an integer",
            "10:9: listeners[0].filters[4].nonsense: unknown filter `nonsense` (known: `audit`, `auth`, `authz`, `circuit_breaker`, `cors`, `fault`, `grpc_web`, `plugin_dispatch`, `rate_limit`, `retry`, `shadow`, `timeout`, `tls`, `trace`)",
            "11:28: listeners[0].filters[5].plugin_dispatch.x: unknown key `x`",
            "15:18: listeners[0].routes[0].filters.trace: expected `false` or a mapping, found `true`",
            "16:30: listeners[0].routes[0].filters.plugin_dispatch.y: unknown key `y`",
            "17:11: listeners[0].routes[0].filters.tls: unknown filter `tls` (known: `audit`, `auth`, `authz`, `circuit_breaker`, `cors`, `fault`, `grpc_web`, `plugin_dispatch`, `rate_limit`, `retry`, `shadow`, `timeout`, `trace`)",
            "18:11: listeners[0].routes[0].filters.nonsense: unknown filter `nonsense` (known: `audit`, `auth`, `authz`, `circuit_breaker`, `cors`, `fault`, `grpc_web`, `plugin_dispatch`, `rate_limit`, `retry`, `shadow`, `timeout`, `trace`)",
        ],
    );
}

#[test]
fn secrets_are_never_quoted() {
    let text = "\
admin: { socket: [hunter2], address: 'redis://u:hunter2@h' }
namespaces:
  - name: a
    backend: memory
    credentials: [hunter2]
    config: hunter2
  - name: b
    backend: memory
    credentials: { user: { x: hunter2 }, 'password': [hunter2] }
    password: hunter2
  - name: c
    backend: memory
    api_token: hunter2
    config: { a: &x hunter2, b: *x }
";
    let shown = problems(text).to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("namespaces[0].config: expected a mapping, found a string\n"), "{shown}");
}

/// Somebody has left out what stands before it, or a line.
#[test]
fn a_key_in_place_of_its_files_path_is_not_quoted() {
    // Also where it is too long for a socket's path.
    let pem = "\"-----BEGIN PRIVATE KEY-----\\nhunter2MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\\n-----END PRIVATE KEY-----\\n\"";
    for pem in [pem, "'-----BEGIN PRIVATE KEY----- hunter2'", "\"keys:\\n- hunter2\""] {
        for (text, path) in [
            ("admin: { tls: { cert: a, key: PEM } }\n", "admin.tls.key"),
            ("admin: { tls: { cert: PEM, key: a } }\n", "admin.tls.cert"),
            ("admin: { tls: { cert: a, key: b, crls: [PEM] } }\n", "admin.tls.crls"),
            (
                "plugins: [ { name: a, type: remote, endpoints: ['a.b:1'], tls: { client_key: PEM } } ]\n",
                "plugins[0].tls.client_key",
            ),
            ("plugins: [ { name: a, type: sidecar, socket: PEM } ]\n", "plugins[0].socket"),
            ("secrets: { directory: { path: PEM } }\n", "secrets.directory.path"),
        ] {
            let problems = problems(&text.replace("PEM", pem));
            let shown = format!("{problems}{problems:?}{}", serde_json::to_string(&problems).unwrap());
            assert!(!shown.contains("hunter2"), "{text}: {shown}");
            let told = format!("{path}: expected one line, found several");
            assert!(problems.to_string().contains(&told), "{text}: {problems}");
        }
    }
}

#[test]
fn what_stands_in_place_of_a_mapping_or_a_list_is_not_quoted() {
    for (text, told) in [
        ("secrets: hunter2\nplugins: hunter2\n", "plugins: expected a list, found a string"),
        ("listeners: [hunter2]\n", "listeners[0]: expected a mapping, found a string"),
        (
            "namespaces: [ { name: a, backend: memory, config: [hunter2] } ]\n",
            "config: expected a mapping, found a list",
        ),
        ("plugins: [ { name: a, type: remote, tls: hunter2 } ]\n", "tls: expected a mapping, found a string"),
        ("admin: { tls: hunter2 }\n", "admin.tls: expected a mapping, found a string"),
        ("admin: { tokens: hunter2 }\n", "admin.tokens: expected a list, found a string"),
        ("admin: { tokens: [hunter2] }\n", "admin.tokens[0]: expected a mapping, found a string"),
        ("hunter2\n", "expected a mapping, found a string"),
        // A URL in place of a key.
        ("admin: { 'https://id:hunter2@host' }\n", "unknown key `https://id:<redacted>@host`"),
        ("admin: { 'https://id:hunter2@host': 1, 'https://id:hunter2@host': 2 }\n", "there twice"),
        (
            "listeners: [ { name: a, filters: ['https://id:hunter2@host'] } ]\n",
            "unknown filter `https://id:<redacted>@host`",
        ),
        (
            "listeners: [ { name: a, filters: [ 'https://id:hunter2@host': {} ] } ]\n",
            "unknown filter `https://id:<redacted>@host`",
        ),
        ("admin: { 'password=hunter2' }\n", "unknown key `password=<redacted>`"),
        // A mapping in quotes.
        ("admin: { 'password: hunter2' }\n", "unknown key `password:<redacted>`"),
        (
            "listeners: [ { name: a, filters: ['auth:{ oauth2: { client_secret: hunter2 } }'] } ]\n",
            "unknown filter `auth:<redacted>`",
        ),
        (
            "namespaces: [ { name: a, backend: memory, plugin: 'https://id:hunter2@host' } ]\n",
            "there is no plugin `https://id:<redacted>@host` in",
        ),
        (
            "namespaces: [ { name: a, backend: memory, plugin: 'password: hunter2' } ]\n",
            "there is no plugin `password:<redacted>` in",
        ),
        (
            "namespaces: [ { name: a, backend: 'password: hunter2' } ]\n",
            "and `password:<redacted>` is neither",
        ),
        (
            "listeners: [ { name: a, address: '127.0.0.1:1', filters: [plugin_dispatch], routes: [ \
             { match: {}, forward: true, plugin: 'password: hunter2' } ] } ]\n",
            "there is no plugin `password:<redacted>`",
        ),
    ] {
        let problems = problems(text);
        let shown = format!("{problems}{problems:?}{}", serde_json::to_string(&problems).unwrap());
        assert!(!shown.contains("hunter2"), "{text}: {shown}");
        assert!(problems.to_string().contains(told), "{text}: {shown}");
    }
    // What stands in place of a text or a number is, since it is of use to whoever has to mend it.
    let shown = problems("admin: { ready: some, socket: 5 }\n").to_string();
    for told in ["found a string `some`", "found an integer `5`"] {
        assert!(shown.contains(told), "{shown}");
    }
}
