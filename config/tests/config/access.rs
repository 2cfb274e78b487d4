//! Access rules: what they may say, and that somebody asks for them.

use prism_config::{Config, FilterSchema, FilterSchemas, Permission, Phase, Problems, Registry, diff, parse};
use serde_json::json;

use crate::common::source;

/// A binary with the filters that ask.
fn registry() -> Registry {
    let any = || json!({ "type": "object", "properties": {}, "additionalProperties": true });
    let filter = |name, phase| FilterSchema { name, phase, schema: any(), check: |_| Vec::new() };
    let filters = ["trace", "cors", "auth", "authz"].into_iter().map(|name| filter(name, Phase::Request));
    let others = [filter("plugin_dispatch", Phase::Terminal), filter("tls", Phase::Connection)];
    Registry::new(filters.chain(others).fold(FilterSchemas::new(), FilterSchemas::with), ["memory"])
}

fn load(text: &str) -> Config {
    parse(&source(text), &registry()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> Problems {
    parse(&source(text), &registry()).expect_err("the text has no problems")
}

/// A listener that asks, and a namespace with these rules from line 5 on, each in one line.
fn namespace(rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("      - {rule}\n")).collect();
    format!(
        "\
listeners: [{{ name: a, address: '127.0.0.1:1', filters: [auth, authz, plugin_dispatch] }}]
namespaces:
  - name: n
    backend: memory
    access:
{rules}"
    )
}

/// What is wrong with one rule, without its place in the text.
fn told(rule: &str) -> Vec<String> {
    lines(&problems(&namespace(&[rule])))
}

fn lines(problems: &Problems) -> Vec<String> {
    let text = |it: String| it.split_once(' ').map_or_else(String::new, |(_, text)| text.into());
    problems.iter().map(|it| text(it.to_string())).collect()
}

#[test]
fn rules_are_read_with_their_lines_and_shown_as_they_are() {
    let text = namespace(&[
        "{ principal: 'spiffe://*/orders-*', permissions: [write, read] }",
        "{ principal: 'jwt:https://id.example:**', claims: { groups: staff, realm.roles: [a, 7, true] }, permissions: \
         [admin], operations: { allow: [rebuild], deny: [delete] } }",
        "{ principal: anonymous, operations: { deny: [get] } }",
    ]);
    let config = load(&text);
    let rules = &config.namespaces[0].access;
    assert_eq!(rules.iter().map(|rule| rule.line).collect::<Vec<_>>(), [6, 7, 8]);
    assert_eq!(
        rules[0].permissions.iter().copied().collect::<Vec<_>>(),
        [Permission::Read, Permission::Write]
    );
    assert_eq!(rules[1].claims["realm.roles"], json!(["a", 7, true]));
    assert!(rules[1].operations.allow.contains("rebuild") && rules[1].operations.deny.contains("delete"));
    let shown = config.redacted();
    assert_eq!(
        shown["namespaces"][0]["access"][1],
        json!({
            "principal": "jwt:https://id.example:**",
            "claims": { "groups": "staff", "realm.roles": ["a", 7, true] },
            "permissions": ["admin"],
            "operations": { "allow": ["rebuild"], "deny": ["delete"] },
        })
    );
    assert_eq!(load(&shown.to_string()).redacted(), shown);
}

#[test]
fn a_change_of_a_rule_is_a_change_and_another_line_is_none() {
    let one = load(&namespace(&["{ principal: 'key:a', permissions: [read] }"]));
    let moved = load(
        &namespace(&["# moved\n      - { principal: 'key:a', permissions: [read] }"]).replace("- #", "#"),
    );
    assert_ne!(one.namespaces[0].access[0].line, moved.namespaces[0].access[0].line);
    assert_eq!(one, moved);
    let other = load(&namespace(&["{ principal: 'key:a', permissions: [write] }"]));
    let changes: Vec<_> = diff(&one, &other).iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["changed namespace n"]);
}

#[test]
fn a_rule_that_says_nothing_or_is_about_nobody_is_refused() {
    for (rule, problem) in [
        ("{ permissions: [read] }", "namespaces[0].access[0]: the key `principal` is missing"),
        (
            "{ principal: 7, permissions: [read] }",
            "access[0].principal: expected a string, found an integer `7`",
        ),
        ("{ principal: 'key:a' }", "access[0]: the rule permits nothing and denies nothing"),
        ("{ principal: 'key:a', permissions: [] }", "permits nothing and denies nothing"),
        ("{ principal: 'key:a', operations: {} }", "permits nothing and denies nothing"),
        ("{ principal: 'key:a', permissions: [reed] }", "did you mean `read`?"),
        ("{ principal: 'key:a', permissions: [read, read] }", "permissions[1]: `read` is there twice"),
        ("{ principal: 'key:a', permissions: read }", "permissions: expected a list"),
        ("{ principal: 'key:a', permission: [read] }", "did you mean `permissions`?"),
        ("{ principal: 'key:a', operations: [get] }", "operations: expected a mapping, found a list"),
        ("{ principal: 'key:a', operations: { allow: get } }", "operations.allow: expected a list"),
        ("{ principal: 'key:a', operations: { allow: [''] } }", "operations.allow[0]: the name is empty"),
        (
            "{ principal: 'key:a', operations: { deny: ['del*'] } }",
            "deny[0]: operations are named here, not matched",
        ),
        (
            "{ principal: 'key:a', operations: { allow: [x], deny: [x] } }",
            "operation `x` is allowed and denied",
        ),
        ("{ principal: 'key:a', operations: { allow: [x, x] } }", "allow[1]: `x` is there twice"),
        ("{ principal: orders, permissions: [read] }", "access[0].principal: no principal is called so"),
        ("{ principal: 'jwt:alice', permissions: [read] }", "write `jwt:ISSUER:SUBJECT`"),
        ("{ principal: 'anon*', permissions: [read] }", "write `anonymous`; no pattern stands for it"),
        ("{ principal: 'key:?', permissions: [read] }", "`?` stands for nothing in a pattern"),
        ("{ principal: '', permissions: [read] }", "the principal is empty"),
        ("{ principal: 'key:a', claims: {}, permissions: [read] }", "claims: there is no condition in it"),
        (
            "{ principal: 'key:a', claims: { a: [] }, permissions: [read] }",
            "claims.a: no value is one of none",
        ),
        ("{ principal: 'key:a', claims: { a: null }, permissions: [read] }", "claims.a: expected a string"),
        (
            "{ principal: 'key:a', claims: { a: { b: c } }, permissions: [read] }",
            "claims.a: expected a string",
        ),
        (
            "{ principal: 'key:a', claims: { a: [[b]] }, permissions: [read] }",
            "claims.a[0]: expected a string",
        ),
        (
            "{ principal: 'key:a', claims: { a: .nan }, permissions: [read] }",
            "claims.a: the number is not finite",
        ),
        ("{ principal: 'key:a', claims: { a..b: c }, permissions: [read] }", "this is no claim's name"),
        ("{ principal: anonymous, claims: { a: b }, permissions: [read] }", "has no claims"),
    ] {
        let found = told(rule);
        assert_eq!(found.len(), 1, "{rule}: {found:?}");
        assert!(found[0].contains(problem), "{rule}: {found:?}");
    }
}

#[test]
fn every_problem_is_told_at_once_and_rules_that_are_one_are_found() {
    let found = problems(&namespace(&[
        "{ principal: 'key:a', claims: { x: [1, 2] }, permissions: [read, write], operations: { allow: [b, a] } }",
        "{ principal: orders, permissions: [reed] }",
        "{ operations: { allow: [a, b] }, permissions: [write, read], claims: { x: [1, 2] }, principal: 'key:a' }",
        "{ principal: 'key:a', claims: { x: [2, 1] }, permissions: [read, write], operations: { allow: [b, a] } }",
    ]));
    let found: Vec<_> = found.iter().map(|problem| (problem.line, problem.message.as_str())).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].0 == 7 && found[0].1.contains("called so"), "{found:?}");
    assert!(found[1].0 == 7 && found[1].1.contains("`reed`"), "{found:?}");
    assert_eq!(found[2], (8, "the rule is there twice; first on line 6"));
}

/// What is wrong with listeners and namespaces, each line of the text as it is written.
fn all(text: &str) -> Vec<String> {
    problems(text).iter().map(ToString::to_string).collect()
}

const GUARDED: &str =
    "namespaces: [{ name: n, backend: memory, access: [{ principal: 'key:a', permissions: [read] }] }]\n";

#[test]
fn rules_that_nobody_asks_for_are_refused() {
    let listener = |filters: &str, routes: &str| {
        let routes = if routes.is_empty() { String::new() } else { format!(", routes: [{routes}]") };
        format!("{GUARDED}listeners: [{{ name: a, address: '127.0.0.1:1', filters: [{filters}]{routes} }}]\n")
    };
    let asks = "auth, authz, plugin_dispatch";
    let forward = "match: { path_prefix: /x }, forward: true, targets: [{ address: '127.0.0.1:9' }]";
    for (text, problem) in [
        (
            GUARDED.to_owned(),
            "1:42: namespaces: nobody is asked for this: namespace `n` is served by the listener",
        ),
        (
            listener("auth, plugin_dispatch", ""),
            "2:48: listeners[0].filters: namespace `n` has `access` (line 1)",
        ),
        (
            listener("auth, plugin_dispatch", "{ match: {}, namespace: n }"),
            "2:48: listeners[0].filters: namespace `n`",
        ),
        (
            listener(
                "auth, plugin_dispatch",
                "{ match: {} }, { match: { path_prefix: /v1/ }, namespace: n }",
            ),
            "2:48: listeners[0].filters: namespace `n`",
        ),
        (
            listener(asks, "{ match: {}, filters: { authz: false } }"),
            "listeners[0].routes[0].filters.authz: namespace `n` has `access` (line 1), and nobody is asked for it",
        ),
        (
            listener(asks, "{ match: {}, filters: { auth: false } }"),
            "routes[0].filters.auth: without `auth` nobody is anybody",
        ),
        (
            listener(
                asks,
                &format!("{{ {forward}, access: [{{ principal: '**' }}], filters: {{ authz: false }} }}"),
            ),
            "routes[0].access: nobody is asked for this: the route's requests run through no `authz`",
        ),
        (listener("authz, auth, plugin_dispatch", ""), "filters[0]: `authz` must come after `auth`"),
        (listener("trace, authz, plugin_dispatch", ""), "filters[1]: `authz` asks what the caller may do"),
        (listener("auth, cors, authz, plugin_dispatch", ""), "filters[1]: `cors` must come before `auth`"),
        (listener("cors, authz, plugin_dispatch", ""), "filters[1]: `authz` asks what the caller may do"),
        (
            listener(asks, "{ match: {}, access: [{ principal: '**' }] }"),
            "routes[0].access: `access` has a meaning only with `forward: true` (write it in the namespace)",
        ),
        (
            listener(asks, &format!("{{ {forward}, access: [{{ principal: '**', permissions: [read] }}] }}")),
            "routes[0].access[0].permissions: a forward route has no operations",
        ),
        (
            listener(
                asks,
                &format!("{{ {forward}, access: [{{ principal: '**', operations: {{ deny: [x] }} }}] }}"),
            ),
            "routes[0].access[0].operations: a forward route has no operations",
        ),
        (
            listener(asks, &format!("{{ {forward}, access: [{{ principal: nobody }}] }}")),
            "routes[0].access[0].principal: no principal is called so",
        ),
    ] {
        let found = all(&text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(problem), "{text}: {found:?}");
    }
}

#[test]
fn what_leads_nowhere_guarded_needs_no_filter() {
    let text = "\
listeners:
  - { name: open, address: '127.0.0.1:1', routes: [{ match: {}, namespace: free }] }
  - name: shut
    address: 127.0.0.1:2
    filters: [cors, auth, authz, plugin_dispatch]
    routes:
      - { match: { path_prefix: /v1/ } }
      - { match: { path_prefix: /free }, namespace: free, filters: { authz: false, auth: false } }
      - match: { path_prefix: /svc/ }
        forward: true
        targets: [{ address: '127.0.0.1:9' }]
        access: [{ principal: 'spiffe://*/orders-*', claims: { groups: staff } }]
namespaces:
  - { name: free, backend: memory }
  - { name: n, backend: memory, access: [] }
";
    let config = load(text);
    assert_eq!(config.listeners[1].routes[2].access[0].line, 12);
    assert!(config.namespaces.iter().all(|namespace| namespace.access.is_empty()));
}

#[test]
fn certificates_that_nobody_is_asked_for_are_refused() {
    let text = |filters: &str, routes: &str| {
        format!(
            "listeners: [{{ name: a, address: '127.0.0.1:1', filters: [{filters}, plugin_dispatch]{routes} }}]\n"
        )
    };
    let clients = "tls: { cert: a, key: b, client_ca: c }";
    for filters in [
        format!("{clients}, auth: {{ mtls: {{}} }}"),
        format!("{clients}, auth: {{ any: [{{ jwt: {{}} }}, {{ mtls: {{}} }}] }}"),
        "auth: { jwt: {} }".to_owned(),
    ] {
        let _ = load(&text(&filters, ""));
    }
    for (filters, routes, place) in [
        ("auth: { mtls: {} }", "", "filters[0].auth.mtls"),
        ("tls: { cert: a, key: b }, auth: { mtls: {} }", "", "filters[1].auth.mtls"),
        ("auth: { any: [{ jwt: {} }, { mtls: {} }] }", "", "filters[0].auth.mtls"),
        ("auth: { all: [{ mtls: {} }] }", "", "filters[0].auth.mtls"),
        (
            "auth: { jwt: {} }",
            ", routes: [{ match: {}, filters: { auth: { mtls: {} } } }]",
            "routes[0].filters.auth.mtls",
        ),
    ] {
        let told = lines(&problems(&text(filters, routes)));
        let wanted = format!("listeners[0].{place}: nobody is asked for a certificate here");
        assert!(told.iter().any(|line| line.starts_with(&wanted)), "{filters}{routes}: {told:?}");
    }
}
