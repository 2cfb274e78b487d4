//! The command line: what is checked before anything is started, and what is explained of it.

mod explain;

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
