//! References to secrets: where they may stand, what they become, and what is shown of them.

use std::collections::BTreeMap;

use prism_config::{Config, Problems, Secret, diff};
use serde_json::json;

use crate::{
    common::{load, problems, source},
    mistakes::refused,
};

const NAMED: &str = "\
secrets: { directory: { path: run/secrets } }
listeners:
  - name: edge
    address: 127.0.0.1:1
    filters: [{ trace: { login: { user: me, password: '{{ secret:login }}' } } }, plugin_dispatch]
namespaces:
  - name: a
    backend: memory
    config: { url: 'x://me:{{secret:pw}}@h', deep: [{ it: '{{ secret:pw }}{{ secret:more }}' }], plain: '{ \"a\": 1 }' }
    credentials: { password: '{{ secret:pw }}', literal: hunter2 }
";

fn with(text: &str, secrets: &[(&str, &str)]) -> Result<Config, Problems> {
    let secrets: BTreeMap<_, _> = secrets.iter().copied().collect();
    load(text).with_secrets(&source(text), |name| {
        secrets.get(name).map(|value| Secret::from((*value).to_owned())).ok_or_else(|| "nowhere".to_owned())
    })
}

const ALL: [(&str, &str); 3] = [("login", "l0gin"), ("pw", "pw{{ secret:more }}"), ("more", "m0re")];

#[test]
fn references_become_what_was_found() {
    let config = with(NAMED, &ALL).unwrap();
    let namespace = config.namespace("a").unwrap();
    let settings = json!(namespace.config.clone().unwrap());
    // What a secret holds is not looked at again.
    assert_eq!(
        *config.found.value(&settings).unwrap().expose(),
        json!({
            "url": "x://me:pw{{ secret:more }}@h",
            "deep": [{ "it": "pw{{ secret:more }}m0re" }],
            "plain": "{ \"a\": 1 }",
        })
    );
    let credentials: Vec<_> = namespace
        .credentials
        .iter()
        .map(|(name, written)| (name, config.found.text(written.expose()).unwrap()))
        .collect();
    assert_eq!(credentials[0].1.expose(), "hunter2");
    assert_eq!(credentials[1].1.expose(), "pw{{ secret:more }}");
    let filter = &config.listeners[0].filters[0];
    let filled = config.found.value(&filter.settings).unwrap();
    assert_eq!(filled.expose()["login"], json!({ "user": "me", "password": "l0gin" }));
    assert_eq!(config.found.names().into_iter().collect::<Vec<_>>(), ["login", "more", "pw"]);
}

#[test]
fn what_was_not_looked_up_is_not_taken_literally() {
    let config = load(NAMED);
    let error = config.found.text("a{{ secret:pw }}").unwrap_err();
    assert_eq!(error.to_string(), "the secret `pw` was not looked up");
    assert!(config.found.value(&json!([{ "a": "{{ secret:pw }}" }])).is_err());
}

#[test]
fn references_are_shown_and_secrets_are_not() {
    let config = with(NAMED, &ALL).unwrap();
    let shown = config.redacted();
    for view in [format!("{config:?}"), shown.to_string(), format!("{:#?}", config.found)] {
        for secret in ["l0gin", "m0re", "hunter2", "pw{{"] {
            assert!(!view.contains(secret), "{secret}: {view}");
        }
    }
    assert_eq!(shown["namespaces"][0]["config"]["url"], "x://me:{{ secret:pw }}@h");
    assert_eq!(
        shown["namespaces"][0]["credentials"],
        json!({ "password": "{{ secret:pw }}", "literal": "<redacted>" })
    );
    let login = &shown["listeners"][0]["filters"][0]["trace"]["login"];
    assert_eq!(*login, json!({ "user": "me", "password": "{{ secret:login }}" }));
    let again = load(&shown.to_string());
    assert_eq!(again.redacted(), shown);
    assert_eq!(again.secrets.directory.unwrap().path.to_str(), Some("/etc/prism/run/secrets"));
}

#[test]
fn a_changed_secret_is_a_change() {
    let running = with(NAMED, &ALL).unwrap();
    let mut changed = ALL;
    changed[2].1 = "other";
    let next = with(NAMED, &changed).unwrap();
    assert_ne!(running, next);
    let told: Vec<String> = diff(&running, &next).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["changed secret more"]);
    assert_eq!(running, with(NAMED, &ALL).unwrap());
    // A text whose secrets nobody has looked up does not differ in them.
    assert!(diff(&running, &load(NAMED)).is_empty());
}

#[test]
fn a_missing_secret_is_told_where_it_is_named() {
    let told = with(NAMED, &ALL[..2]).unwrap_err().to_string();
    let path = "namespaces[0].config.deep[0].it";
    assert_eq!(told, format!("prism.yaml:9:59: {path}: there is no secret `more`: nowhere"));
    let told = with(NAMED, &[]).unwrap_err();
    assert_eq!(told.iter().count(), 5, "{told}");
}

#[test]
fn secrets_without_measure_are_refused() {
    let large = "x".repeat(64 << 10);
    let list = "'{{ secret:a }}', ".repeat(1_100);
    let text = format!("namespaces: [{{ name: a, backend: memory, config: {{ x: [{list}] }} }}]\n");
    let told = with(&text, &[("a", &large)]).unwrap_err().to_string();
    assert!(told.contains("more than 64 MiB") && told.len() < 300, "{told}");
}

#[test]
fn a_reference_stands_nowhere_else() {
    let told = problems(
        "\
admin: { socket: '/run/{{ secret:a }}.sock', ready: ['{{secret:a}}'] }
listeners:
  - name: edge
    address: '{{ secret:a }}'
    filters: [{ trace: { secret_label: '{{ secret:a }}', login: { user: 'x{{ secret:a }}' } } }, plugin_dispatch]
    routes: [{ match: { path: /a, headers: { x: '{{ secret:a }}' } } }]
plugins: [{ name: p, type: sidecar, socket: '/{ secret:a }' }]
namespaces:
  - { name: n, backend: memory, config: { '{{ secret:a }}': 1 } }
",
    )
    .to_string();
    for place in [
        "1:18: admin.socket",
        "1:54: admin.ready[0]",
        "4:14: listeners[0].address",
        "5:40: listeners[0].filters[0].trace.secret_label",
        "5:73: listeners[0].filters[0].trace.login.user",
        "6:49: listeners[0].routes[0].match.headers.x",
        "7:45: plugins[0].socket",
    ] {
        let line =
            format!("prism.yaml:{place}: a reference to a secret cannot stand here (references may stand");
        assert!(told.contains(&line), "{place}: {told}");
    }
    assert!(told.contains("9:43: namespaces[0].config: a reference to a secret cannot be a key"), "{told}");
}

#[test]
fn what_is_nearly_a_reference_is_told_and_not_quoted() {
    for written in
        ["{{secret:}}", "{{ secret:hunter2!x }}", "hunter2{ secret:a }", "{{ vault:hunter2 }}", "{{ secret:a"]
    {
        let text =
            format!("namespaces: [{{ name: a, backend: memory, credentials: {{ a: '{written}' }} }}]\n");
        let told = problems(&text).to_string();
        assert!(told.starts_with("prism.yaml:1:60: namespaces[0].credentials.a: "), "{told}");
        assert!(told.contains("{{ secret:NAME }}") && !told.contains("hunter2"), "{told}");
    }
    // YAML takes it for a mapping.
    let told = problems("namespaces: [{ name: a, backend: memory, credentials: { a: {{ secret:b }} } }]\n")
        .to_string();
    assert!(told.contains("put it in quotes"), "{told}");
}

#[test]
fn no_secret_goes_out_in_clear() {
    let told = problems(
        "\
plugins: [{ name: far, type: remote, endpoints: ['h:1'], tls: { enabled: false } }]
namespaces: [{ name: a, backend: far, config: { url: 'x://{{ secret:a }}@h' } }]
",
    )
    .to_string();
    assert!(told.contains("namespaces[0].config: these would be sent in clear"), "{told}");
}

#[test]
fn providers_are_checked() {
    refused(
        "secrets: { environment: { prefix: '' }, directory: {}, vault: {} }\n",
        &[
            "1:35: secrets.environment.prefix: expected the beginning of a variable's name: letters, digits and `_`, no \
             digit first, found a string",
            "1:52: secrets.directory: the key `path` is missing",
            "1:56: secrets.vault: unknown key `vault` (known: `directory`, `environment`)",
        ],
    );
    let config = load("");
    assert_eq!(config.secrets.environment.variable("redis-pw.main"), "PRISM_SECRET_REDIS_PW_MAIN");
}
