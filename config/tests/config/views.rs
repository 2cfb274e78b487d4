//! What is shown of a configuration: redacted, compared, as a schema, as JSON problems.

use prism_config::{Problems, diff};
use serde_json::{Value, json};

use crate::common::{file, load, problems, registry};

const SECRETS: &str = "\
listeners:
  - name: a
    address: 127.0.0.1:1
    filters: [{ trace: { secret_label: hunter2 } }, plugin_dispatch]
    routes:
      - match: { headers: { authorization: hunter2 } }
        filters: { trace: { secret_label: hunter2 } }
namespaces:
  - name: n
    backend: memory
    config:
      url: redis://user:hunter2@host:1/0
      nested: [{ api_key: hunter2 }, { Password: hunter2 }, 'db password=hunter2']
      pool_size: 7
    credentials: { username: hunter2, password: hunter2 }
";

#[test]
fn no_view_shows_a_secret() {
    let config = load(SECRETS);
    let credentials: Vec<_> = config.namespaces[0].credentials.iter().collect();
    assert_eq!((credentials[0].0, credentials[0].1.expose()), ("password", "hunter2"));
    for view in [
        config.redacted().to_string(),
        serde_json::to_string(&config).unwrap(),
        format!("{config:?}"),
        format!("{config:#?}"),
        diff(&load(""), &config).iter().map(ToString::to_string).collect(),
    ] {
        assert!(!view.contains("hunter2"), "{view}");
    }
    let shown = config.redacted();
    assert_eq!(shown["namespaces"][0]["config"]["url"], "redis://user:<redacted>@host:1/0");
    assert_eq!(shown["namespaces"][0]["config"]["pool_size"], 7);
    assert_eq!(
        shown["namespaces"][0]["credentials"],
        json!({ "username": "<redacted>", "password": "<redacted>" })
    );
}

#[test]
fn the_redacted_view_is_a_configuration_again() {
    for text in [String::new(), file("prism.yaml"), file("examples/full.yaml"), SECRETS.to_owned()] {
        let config = load(&text);
        // JSON is YAML. A token's digest has to be put back: what could be anybody's is refused.
        let shown = config.redacted().to_string();
        let digest = text.split("sha256: ").nth(1).map_or("", |rest| &rest[..64]);
        let again = load(&shown.replace("\"sha256\":\"<redacted>\"", &format!("\"sha256\":\"{digest}\"")));
        assert_eq!(again.redacted(), config.redacted());
    }
}

#[test]
fn equal_whatever_the_lines_and_the_notation() {
    let written = load(&file("examples/full.yaml"));
    let moved = load(&format!("\n\n# moved\n\n{}", file("examples/full.yaml").replace("64KiB", "65536")));
    assert_ne!(written.listeners[0].filters[0].line, moved.listeners[0].filters[0].line);
    assert_eq!(written, moved);
    assert_eq!(diff(&written, &moved), []);
}

#[test]
fn differences_are_named() {
    let old = file("examples/full.yaml");
    for (from, to, expected) in [
        ("workers: 2", "workers: 3", &["changed workers"][..]),
        ("linger: 1s", "linger: 2s", &["changed drain"]),
        ("ready: any", "ready: all", &["changed admin"]),
        ("address: 127.0.0.1:50051", "address: 127.0.0.1:50061", &["changed address of listener edge"]),
        ("- trace   ", "- trace: { buffer: 5 }", &["changed filter trace of listener edge"]),
        ("max_headers: 100", "max_headers: 50", &["changed http1 of listener edge"]),
        ("stall_timeout: 30s", "stall_timeout: 20s", &["changed limits of listener edge"]),
        ("max_frame_bytes: 16KiB", "max_frame_bytes: 32KiB", &["changed http2 of listener edge"]),
        ("trace: false", "trace: { buffer: 5 }", &["changed route (path_prefix /v1/demo/) of listener edge"]),
        (
            "x-tenant: cache",
            "x-tenant: other",
            &[
                "removed route (path /prism.data.v1.DataService/Execute with x-tenant=cache) of listener edge",
                "added route (path /prism.data.v1.DataService/Execute with x-tenant=other) of listener edge",
            ],
        ),
        ("- name: edge", "- name: edge2", &["removed listener edge", "added listener edge2"]),
        ("socket: ./run/cache.sock", "socket: ./run/c.sock", &["changed plugin cache"]),
        ("password: \"{{ secret:redis-password }}\"", "password: changed", &["changed namespace cache"]),
        ("- name: sessions\n", "- name: logins\n", &["removed namespace sessions", "added namespace logins"]),
    ] {
        let new = old.replacen(from, to, 1);
        assert_ne!(new, old, "{from}");
        let changes = diff(&load(&old), &load(&new));
        assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{from}");
        assert_ne!(load(&old), load(&new));
    }
}

#[test]
fn problems_as_text_and_as_json() {
    let found = problems("workers: many\nlisteners: 5\n");
    assert_eq!(
        found.to_string(),
        "prism.yaml:1:10: workers: expected an integer, found a string `many`\n\
         prism.yaml:2:12: listeners: expected a list, found an integer"
    );
    assert_eq!(
        serde_json::to_value(&found).unwrap()["problems"][0],
        json!({
            "path": "workers", "line": 1, "column": 10, "kind": "schema",
            "message": "expected an integer, found a string `many`",
        })
    );
    let unreadable = Problems::unreadable("prism.yaml", "the file is not UTF-8");
    assert_eq!(unreadable.to_string(), "prism.yaml:1:1: the file is not UTF-8");
}

#[test]
fn the_schema_describes_everything() {
    let schema = registry().json_schema().clone();
    let text = serde_json::to_string(&schema).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), schema);
    assert_eq!(schema["title"], "Prism Edge configuration");
    // Filters' settings, with their own definitions, under names that cannot meet.
    assert_eq!(schema["$defs"]["filter.trace"]["properties"]["buffer"]["maximum"], 1000);
    assert_eq!(
        schema["$defs"]["filter.trace"]["properties"]["format"]["$ref"],
        "#/$defs/filter.trace.Format"
    );
    assert!(schema["$defs"]["filter.trace.Format"]["oneOf"].is_array());
    let entry = &schema["$defs"]["FilterEntry"]["oneOf"][1]["properties"];
    assert_eq!(entry["trace"]["anyOf"][0]["$ref"], "#/$defs/filter.trace");
    assert_eq!(entry["tls"]["x-prism-not-built"], "filter `tls` is not built yet");
    // Defaults are told, so that an editor can show them.
    assert_eq!(schema["$defs"]["Http2"]["properties"]["max_concurrent_streams"]["default"], 100);
    assert_eq!(schema["$defs"]["Http2"]["properties"]["keepalive_interval"]["default"], "30s");
}

#[test]
fn every_key_and_every_reference_of_the_schema_is_good() {
    fn visit(value: &Value, root: &Value, path: &str, described: &mut usize) {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            assert!(root.pointer(target.trim_start_matches('#')).is_some(), "{path}: {target} is not there");
        }
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            let ours = !path.contains("filter") && !path.contains("Filter");
            for (key, property) in properties.iter().filter(|_| ours) {
                let not_built = path.contains("not-built") || property.get("x-prism-not-built").is_some();
                let nested = path.contains("properties");
                assert!(not_built || nested || property.get("description").is_some(), "{path}.{key}");
                *described += 1;
            }
        }
        match value {
            Value::Object(entries) => {
                entries.iter().for_each(|(key, it)| visit(it, root, &format!("{path}/{key}"), described));
            }
            Value::Array(items) => items.iter().for_each(|it| visit(it, root, path, described)),
            _ => {}
        }
    }
    let schema = registry().json_schema().clone();
    let mut described = 0;
    visit(&schema, &schema, "", &mut described);
    assert!(described > 50, "{described}");
}
