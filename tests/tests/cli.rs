//! The command line: what is checked before anything is started.

use prism_tests::{DEMO, tools};
use std::{
    fs,
    net::TcpListener,
    process::{Command, Output},
};

fn prism_edge(arguments: &[&str], config: &str) -> Output {
    run("prism-edge", arguments, config)
}

fn run(program: &str, arguments: &[&str], config: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prism.yaml");
    let filled = config.replace("@listen@", "0").replace("@admin@", "0").replace("@dir@", "run");
    fs::write(&file, filled).unwrap();
    let mut command = Command::new(tools::own(program));
    command.args(arguments);
    if !arguments.contains(&"schema") {
        command.arg("-c").arg(&file);
    }
    tools::output(&mut command)
}

#[test]
fn check_accepts_what_serves() {
    let output = prism_edge(&["check"], DEMO);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn check_names_every_mistake_with_its_place() {
    let config = DEMO
        .replace("- trace: {}", "- trace: { colour: red }")
        .replace("backend: memory, plugin: memory", "backend: memory, plugin: nowhere, limit: {}")
        .replace("address: '127.0.0.1:@listen@'", "address: nowhere-at-all");
    let output = prism_edge(&["check"], &config);
    assert_eq!(output.status.code(), Some(1));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    for place in [
        "listeners[0].filters[0].trace.colour",
        "namespaces[0].plugin",
        "namespaces[0].limit",
        "listeners[0].address",
    ] {
        assert!(text.contains(place), "{place} is not in:\n{text}");
    }
}

#[test]
fn settings_whose_enforcement_is_not_built_are_refused_by_name() {
    for (name, config) in [
        ("burst", DEMO.replace("plugin: memory }", "plugin: memory, limits: { burst: 1 } }")),
        ("rate_limit", DEMO.replace("- trace: {}", "- trace: {}\n      - rate_limit: {}")),
    ] {
        let output = prism_edge(&["check"], &config);
        assert!(!output.status.success(), "{name} was accepted");
        let text = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8_lossy(&text).contains(name), "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn serving_refuses_what_check_refuses() {
    let output = prism_edge(&[], &DEMO.replace("- trace: {}", "- trace: { colour: red }"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("colour"));
}

#[test]
fn the_schema_is_json_and_knows_the_filters() {
    let output = prism_edge(&["schema"], "");
    assert!(output.status.success());
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["properties"]["listeners"].is_object(), "{schema}");
    assert!(schema.to_string().contains("access_log"));
}

#[test]
fn a_missing_file_is_named() {
    let output = tools::output(Command::new(tools::own("prism-edge")).args(["-c", "/nowhere/prism.yaml"]));
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/nowhere/prism.yaml") && said.contains("name one with `-c FILE`"), "{said}");
}

/// The example names certificates and a library that nobody has: each is told like any other mistake.
#[test]
fn check_names_the_place_of_every_file_that_is_not_there() {
    let file = tools::repository().join("config/examples/full.yaml");
    let output = tools::output(Command::new(tools::own("prism-edge")).args(["check", "-c"]).arg(&file));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let places = [
        ("admin.tls: ", "admin.crt", "cert:"),
        ("plugins[1].library: ", "libprism_plugin_reports.so", "library:"),
        ("plugins[3].tls: ", "proxy.crt", "enabled:"),
        ("listeners[0].routes[2].targets[0].tls: ", "ca.crt", "ca_cert:"),
        ("namespaces[1].credentials.password: ", "PRISM_SECRET_REDIS_PASSWORD", "password:"),
    ];
    assert_eq!(said.lines().count(), places.len(), "{said}");
    for (place, missing, key) in places {
        let told =
            said.lines().find(|line| line.contains(place)).unwrap_or_else(|| panic!("{place}: {said}"));
        let rest = told.strip_prefix(&format!("{}:", file.display())).unwrap();
        let line: usize = rest.split(':').next().unwrap().parse().unwrap();
        assert!(told.contains(missing), "{told}");
        // The value, or the first of its keys.
        assert!(lines[line - 1].trim_start().starts_with(key), "{told}");
    }
}

#[test]
fn check_reads_the_files_of_keys_that_auth_goes_by() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let methods = |keys: &str, jwks: &str| {
        let auth = format!(
            "auth: {{ any: [ {{ api_keys: {{ file: '{keys}' }} }}, {{ jwt: {{ issuer: a, audiences: [b], jwks: {{ file: '{jwks}' \
             }} }} }} ] }}"
        );
        let config = DEMO.replace("trace: {}", &format!("trace: {{}}\n      - {auth}"));
        assert_ne!(config, DEMO);
        let output = prism_edge(&["check"], &config);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (none, bad) =
        (folder.path().join("none").display().to_string(), file("bad.yaml", "keys: [{ name: a }]"));
    let keys = file("keys.yaml", "keys: []");
    let (code, said) = methods(&none, &file("bad.json", "{}"));
    assert_eq!(code, Some(1));
    for place in ["auth.any[0].api_keys.file: ", "auth.any[1].jwt.jwks.file: "] {
        assert!(said.contains(place), "{said}");
    }
    let (code, said) = methods(&bad, &none);
    assert_eq!(code, Some(1));
    assert!(said.contains("`sha256` or `argon2`") && said.contains("No such file"), "{said}");
    let (_, said) = methods(&keys, &none);
    assert!(!said.contains("any[0]"), "{said}");

    // Those of a route's own settings too, and of whom `authz` asks.
    let external = format!("external: {{ address: 'a.example:1', tls: {{ ca_cert: '{none}' }} }}");
    let filters = format!("{{ auth: {{ api_keys: {{ file: '{none}' }} }}, authz: {{ {external} }} }}");
    let authorized =
        format!("trace: {{}}\n      - auth: {{ api_keys: {{ file: '{keys}' }} }}\n      - authz");
    let config = DEMO.replace("trace: {}", &authorized);
    let config =
        config.replace("path_prefix: / }", &format!("path_prefix: / }}\n        filters: {filters}"));
    let output = prism_edge(&["check"], &config);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for place in ["routes[0].filters.auth.api_keys.file: ", "routes[0].filters.authz.external.tls: "] {
        assert!(said.contains(place), "{said}");
    }
}

#[test]
fn a_port_that_is_taken_and_a_log_that_cannot_be_written_are_told_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["@listen@", "@admin@"] {
        let output = prism_edge(&[], &DEMO.replace(&format!("127.0.0.1:{key}"), &address));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(&address) && said.contains("`ss -ltnp` shows who listens there"), "{said}");
    }
    let unwritable = "- trace: { access_log: { path: no/such/folder/access.log } }";
    let output = prism_edge(&[], &DEMO.replace("- trace: {}", unwritable));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("access_log.path") && said.contains("No such file or directory"), "{said}");
}

const GUARDED: &str = "\
listeners:
  - name: edge
    address: 127.0.0.1:1
    filters:
      - auth
      - authz
      - plugin_dispatch
    routes:
      - match: {}
      - { match: { path_prefix: /svc/ }, forward: true, targets: [{ address: '127.0.0.1:9' }], access: [{ principal: 'key:svc' }] }
      - { match: { path_prefix: /free/ }, namespace: free, filters: { auth: false, authz: false } }
  - name: trial
    address: 127.0.0.1:2
    filters: [auth, { authz: { shadow: true } }, plugin_dispatch]
plugins:
  - { name: far, type: sidecar, socket: far.sock, operations: { rebuild: admin } }
namespaces:
  - { name: free, backend: memory }
  - name: demo
    backend: memory
    operations: { exists: admin }
    access:
      - { principal: 'spiffe://*/orders-*', permissions: [read] }
      - { principal: 'jwt:https://id.example:*', claims: { groups: staff, realm.level: 3 }, permissions: [write] }
      - { principal: '**', operations: { allow: [scan], deny: [delete] } }
  - { name: far, backend: x, plugin: far, access: [{ principal: 'key:boss', permissions: [admin] }] }
";

/// What `explain` says and exits with. The binary is one that has an `auth` to be configured.
fn explained(arguments: &str) -> (Option<i32>, String) {
    explained_by(GUARDED, arguments)
}

fn explained_by(config: &str, arguments: &str) -> (Option<i32>, String) {
    let arguments: Vec<&str> = ["explain"].into_iter().chain(arguments.split(' ')).collect();
    let output = run("edge-that-believes", &arguments, config);
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn explain_says_which_rule_decides_and_exits_accordingly() {
    let orders = "--listener edge --principal spiffe://a.example/orders-1 --namespace demo --operation";
    let staff = "--listener edge --principal jwt:https://id.example:a --namespace demo --operation";
    let (good, rest) = ("--claim groups=[\"x\",\"staff\"]", "--claim realm.level=3");
    for (arguments, status, parts) in [
        (
            format!("{orders} get"),
            0,
            &["routes[0] (every path)", "auth (line 5), authz (line 6), plugin_dispatch (line 7)"][..],
        ),
        (
            format!("{orders} get"),
            0,
            &["allowed by access[0] (line 23, principal `spiffe://*/orders-*`), which permits `read`"],
        ),
        (format!("{orders} get"), 0, &["read (the plugin says so)"]),
        (format!("{orders} set"), 1, &["denied: no rule permits the caller `write`"]),
        (
            format!("{orders} exists"),
            1,
            &["admin (the namespace's `operations`)", "denied: no rule permits the caller `admin`"],
        ),
        (
            format!("{orders} delete"),
            1,
            &["denied by access[2] (line 25, principal `**`), which denies the operation"],
        ),
        (format!("{orders} scan"), 0, &["allowed by access[0] (line 23"]),
        (format!("{orders} nonsense"), 1, &["unspecified (the plugin has no such operation)"]),
        (format!("{orders} nonsense --kind read"), 0, &["read (as asked)"]),
        (format!("{staff} set {good} {rest}"), 0, &["allowed by access[1] (line 24"]),
        (
            format!("{staff} set {good} --claim realm.level=\"3\""),
            1,
            &["denied: no rule permits the caller `write`"],
        ),
        (format!("{staff} set {good}"), 1, &["denied: no rule permits the caller `write`"]),
        (format!("{staff} scan"), 0, &["allowed by access[2]", "which names the operation"]),
        (
            "--listener edge --principal anonymous --namespace demo --operation get".into(),
            1,
            &["permits the caller anything"],
        ),
        (
            "--listener edge --principal key:a --namespace free --operation get".into(),
            1,
            &["permits the caller anything"],
        ),
        (
            "--listener edge --principal key:a --namespace missing --operation get".into(),
            1,
            &["there is no namespace `missing`"],
        ),
        (
            "--listener edge --principal key:boss --namespace far --operation rebuild".into(),
            0,
            &["the plugin's `operations`"],
        ),
        (
            "--listener edge --principal key:boss --namespace far --operation x".into(),
            0,
            &["unspecified", "`admin`"],
        ),
        (
            "--listener edge --principal key:a --namespace free --operation get --path /free/x".into(),
            0,
            &["nobody is asked"],
        ),
        (
            "--listener edge --principal key:a --namespace demo --operation get --path /free/x".into(),
            1,
            &["the route is to namespace `free`"],
        ),
        (
            "--listener edge --principal key:svc --namespace demo --operation get --path /svc/x".into(),
            0,
            &["forward route"],
        ),
        (
            "--listener edge --principal key:a --namespace demo --operation get --path /svc/x".into(),
            1,
            &["forward route's `access`"],
        ),
        (
            "--listener trial --principal key:a --namespace demo --operation set".into(),
            0,
            &["every request", "`authz` only watches; it would be denied"],
        ),
        (
            "--principal key:a --namespace demo --operation set".into(),
            0,
            &["edge", "denied:", "trial", "only watches"],
        ),
    ] {
        let (found, text) = explained(&arguments);
        assert_eq!(found, Some(status), "{arguments}\n{text}");
        for part in parts {
            assert!(text.contains(part), "{arguments}: no {part} in\n{text}");
        }
    }
}

const KNOWN_BY_METHOD: &str = "\
listeners:
  - name: edge
    address: 127.0.0.1:1
    filters:
      - tls: { cert: a.crt, key: a.key, client_ca: ca.crt }
      - auth:
          any:
            - jwt: { issuer: https://id.example, audiences: [a], jwks: { file: keys.json } }
            - api_keys: { file: keys.yaml }
      - authz
      - plugin_dispatch
    routes:
      - match: { path_prefix: /prism. }
      - match: { path_prefix: /open/ }
        filters: { auth: { api_keys: { file: keys.yaml }, anonymous: true } }
      - match: { path_prefix: /certificates/ }
        filters: { auth: { mtls: {} } }
      - match: { path_prefix: /names/ }
        filters: { auth: { all: [{ mtls: { common_name: true } }, { oauth2: { issuer: https://as.example, audiences: [a], introspection: { url: https://as.example/i, client_id: a, client_secret: b } } }] } }
      - { match: { path_prefix: /free/ }, namespace: free, filters: { auth: false, authz: false } }
      - match: { path_prefix: /watched/ }
        filters: { authz: { shadow: true } }
namespaces:
  - { name: free, backend: memory }
  - name: demo
    backend: memory
    access:
      - { principal: '**', permissions: [read] }
      - { principal: anonymous, permissions: [read] }
";

/// Whatever the rules say: `auth` is asked first.
#[test]
fn explain_knows_whom_auth_lets_in() {
    let explained = |principal: &str, path: &str| {
        let arguments =
            format!("explain --principal {principal} --namespace demo --operation get --path {path}");
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let output = run("prism-edge", &arguments, KNOWN_BY_METHOD);
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let raw = "/prism.data.v1.DataService/Execute";
    for (principal, path) in [
        ("jwt:https://id.example:a", raw),
        ("key:a", raw),
        ("anonymous", "/open/x"),
        ("key:a", "/open/x"),
        ("spiffe://a/b", "/certificates/x"),
        ("dns:a", "/certificates/x"),
        ("cn:a", "/names/x"),
        ("oauth2:https://as.example:a", "/names/x"),
    ] {
        let (code, text) = explained(principal, path);
        assert_eq!(code, Some(0), "{principal} {path}\n{text}");
        assert!(text.contains("decision   allowed by access["), "{principal} {path}\n{text}");
    }
    for (principal, path) in [
        ("spiffe://a/b", raw),
        ("dns:a", raw),
        ("cn:a", raw),
        ("jwt:https://id.exampl:a", raw),
        ("jwt:https://id.example.org:a", raw),
        ("jwt:https://id.example", raw),
        ("oauth2:https://id.example:a", raw),
        ("spiffe://a/b", "/watched/x"),
    ] {
        let (code, text) = explained(principal, path);
        assert_eq!(code, Some(1), "{principal} {path}\n{text}");
        let told =
            format!("decision   denied: no method of auth (line 6) gives the principal `{principal}`\n");
        assert!(text.contains(&told), "{principal} {path}\n{text}");
    }
    for (principal, path) in [
        ("jwt:https://id.example:a", "/open/x"),
        ("key:a", "/certificates/x"),
        ("cn:a", "/certificates/x"),
        ("key:a", "/names/x"),
        ("oauth2:https://id.example:a", "/names/x"),
        ("jwt:https://as.example:a", "/names/x"),
    ] {
        let (code, text) = explained(principal, path);
        assert_eq!(code, Some(1), "{principal} {path}\n{text}");
        let told = format!("denied: no method of auth (by the route) gives the principal `{principal}`\n");
        assert!(text.contains(&told), "{principal} {path}\n{text}");
    }
    for (path, auth) in [
        (raw, "line 6"),
        ("/watched/x", "line 6"),
        ("/certificates/x", "by the route"),
        ("/names/x", "by the route"),
    ] {
        let (code, text) = explained("anonymous", path);
        assert_eq!(code, Some(1), "{path}\n{text}");
        let told =
            format!("denied: auth ({auth}) lets nobody in as `anonymous` (it takes `anonymous: true`)\n");
        assert!(text.contains(&told), "{path}\n{text}");
    }
    let (code, text) = explained("key:a", "/else");
    assert_eq!(code, Some(1));
    assert!(text.contains("no route takes the path `/else`"), "{text}");
    assert!(text.contains("`--path /v1/demo/get`"), "{text}");
}

#[test]
fn explain_names_the_claims_that_a_rule_about_the_principal_misses() {
    let staff = "--listener edge --principal jwt:https://id.example:a --namespace demo --operation set";
    let about = "access[1] (line 24) is about the principal, but its claims are not met: ";
    for (claims, missing) in [
        ("", "groups, realm.level"),
        (" --claim groups=staff", "realm.level"),
        (" --claim groups=staff --claim realm.level=\"3\"", "realm.level"),
        (" --claim groups=[\"x\"] --claim realm.level=3", "groups"),
    ] {
        let (code, text) = explained(&format!("{staff}{claims}"));
        assert_eq!(code, Some(1), "{text}");
        let told = format!("denied: no rule permits the caller `write`\n           {about}{missing}\n");
        assert!(text.contains(&told), "{claims}\n{text}");
    }
    // Of a forward route too, and of what `authz` only watches; and never of a rule about somebody else.
    let forwarded = GUARDED.replace(
        "access: [{ principal: 'key:svc' }]",
        "access: [{ principal: 'key:svc', claims: { a: b } }]",
    );
    assert_ne!(forwarded, GUARDED);
    let asked = "--listener edge --namespace demo --operation get --path /svc/x --principal";
    let (code, text) = explained_by(&forwarded, &format!("{asked} key:svc"));
    assert_eq!(code, Some(1));
    assert!(
        text.contains("access[0] (line 10) is about the principal, but its claims are not met: a\n"),
        "{text}"
    );
    let (code, text) = explained_by(&forwarded, &format!("{asked} key:other"));
    assert_eq!(code, Some(1));
    assert!(!text.contains("is about the principal"), "{text}");
    let (code, text) = explained(&staff.replace("edge", "trial"));
    assert_eq!(code, Some(0));
    assert!(text.contains("it would be denied") && text.contains(about), "{text}");
    let (_, text) = explained(&staff.replace("jwt:https://id.example:a", "key:a"));
    assert!(!text.contains("is about the principal"), "{text}");
    let (code, text) = explained(&staff.replace("set", "scan"));
    assert_eq!(code, Some(0));
    assert!(!text.contains("is about the principal"), "{text}");
}

#[test]
fn explain_says_that_an_authorizer_has_to_allow_it_too() {
    let external = GUARDED.replace("shadow: true", "external: { address: 'unix:/run/a.sock' }");
    let orders = "--listener trial --principal spiffe://a.example/orders-1 --namespace demo --operation";
    let (code, text) = explained_by(&external, &format!("{orders} get"));
    assert_eq!(code, Some(0));
    let told =
        "which permits `read`, if the authorizer at unix:/run/a.sock allows it too, which is not asked here";
    assert!(text.contains(told), "{text}");
    let (code, text) = explained_by(&external, &format!("{orders} set"));
    assert_eq!(code, Some(1));
    assert!(text.contains("denied: ") && !text.contains("authorizer"), "{text}");
}

#[test]
fn explain_answers_no_question_that_makes_no_sense() {
    for arguments in [
        "--principal orders --namespace demo --operation get",
        "--principal dns:a%c3 --namespace demo --operation get",
        "--principal dns:%41 --namespace demo --operation get",
        "--principal dns: --namespace demo --operation get",
        "--principal key:a --namespace demo",
        "--principal key:a --namespace demo --operation get --kind odd",
        "--principal key:a --namespace demo --operation get --claim x",
        "--principal key:a --namespace demo --operation get --listener none",
    ] {
        let (status, text) = explained(arguments);
        assert_eq!(status, Some(2), "{arguments}\n{text}");
    }
    let wrong = run(
        "edge-that-believes",
        &["explain", "--principal", "key:a", "--namespace", "demo", "--operation", "get"],
        &GUARDED.replace("- authz\n", ""),
    );
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("there is no `authz`"));
}
