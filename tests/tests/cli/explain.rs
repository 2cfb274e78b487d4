//! `prism-edge explain`: who may call what by a configuration, and which rule says so.

use super::run;

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
