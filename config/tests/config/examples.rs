//! The configurations that come with the project.

use std::{net::SocketAddr, path::Path};

use crate::common::{file, load, registry, source};
use prism_config::{
    ByteSize, Duration, EnvironmentSecrets, FilterOverride, Listener, OperationKind, PluginSource, Ready,
    Transport, check_schema_only,
};

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn the_default_file_says_what_the_defaults_say() {
    let config = load(&file("prism.yaml"));
    assert_eq!(config.admin, load("").admin);
    assert_eq!(config.listeners, load("").listeners);
    assert_eq!(config.listeners, [Listener::default()]);
    assert_eq!(config.admin.address, address("127.0.0.1:50052"));
    assert_eq!(config.admin.socket, Path::new("/etc/prism/run/admin.sock"));
    assert_eq!(config.listeners[0].address, address("127.0.0.1:50051"));
    let demo = config.namespace("demo").unwrap();
    assert_eq!(demo.limits.max_message_bytes, ByteSize::mib(4));
    assert_eq!(
        config.plugin(&demo.plugin).unwrap().source,
        PluginSource::Builtin { builtin: "memory".into() }
    );
}

#[test]
fn redis_sidecar() {
    let config = load(&file("examples/redis-sidecar.yaml"));
    assert_eq!(config.listeners, [Listener::default()]);
    let demo = config.namespace("demo").unwrap();
    assert_eq!((demo.backend.as_str(), demo.plugin.as_str()), ("redis", "cache"));
    assert_eq!(demo.config.as_ref().unwrap()["url"], "redis://127.0.0.1:6379");
    let socket = Path::new("/etc/prism/run/cache.sock").to_owned();
    assert_eq!(config.plugin("cache").unwrap().source, PluginSource::Sidecar { socket });
}

#[test]
fn every_built_key() {
    let config = load(&file("examples/full.yaml"));
    assert_eq!(config.workers, Some(2));
    assert_eq!(config.drain.timeout, Duration::seconds(30));
    assert_eq!(config.admin.ready, Ready::Any);
    let edge = &config.listeners[0];
    // The file spells every default out, so what is written and what is meant must be the same.
    let default = Listener::default();
    assert_eq!((&edge.http2, &edge.http1, &edge.limits), (&default.http2, &default.http1, &default.limits));
    assert_eq!(edge.filters, default.filters);
    assert!(edge.filters.iter().all(|filter| filter.line > 0));
    assert_eq!(edge.routes[0].filters.get("trace"), Some(&FilterOverride::Off));
    assert_eq!(edge.routes[1].namespace.as_deref(), Some("cache"));
    assert_eq!(edge.routes[1].matcher.headers["x-tenant"], "cache");
    let names: Vec<&str> = config.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(names, ["store", "reports", "cache", "orders", "sessions-redis"]);
    assert_eq!(config.plugin("cache").unwrap().operations["flush"], OperationKind::Admin);
    assert_eq!(config.plugin("cache").unwrap().transport, Transport::Auto);
    let cache = config.namespace("cache").unwrap();
    let password = cache.credentials.iter().find(|(name, _)| *name == "password").unwrap().1;
    assert_eq!(password.expose(), "{{ secret:redis-password }}");
    assert_eq!(config.secrets.environment, EnvironmentSecrets::default());
    assert_eq!(config.namespace("sessions").unwrap().plugin, "sessions-redis");
}

#[test]
fn the_full_example_names_every_built_key() {
    let text = file("examples/full.yaml");
    let schema = registry().json_schema().to_string();
    let written = |key: &str| text.contains(&format!("{key}:"));
    let mut seen = 0;
    fn visit(value: &serde_json::Value, keys: &mut Vec<String>) {
        if let Some(properties) = value.get("properties").and_then(serde_json::Value::as_object) {
            let built = properties.iter().filter(|(_, schema)| schema.get("x-prism-not-built").is_none());
            keys.extend(built.map(|(key, _)| key.clone()));
        }
        match value {
            serde_json::Value::Object(entries) => {
                entries
                    .iter()
                    .filter(|(key, _)| !key.starts_with("filter.") && *key != "FilterEntry")
                    .filter(|(_, entry)| entry.get("x-prism-not-built").is_none())
                    .for_each(|(_, entry)| visit(entry, keys));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| visit(item, keys)),
            _ => {}
        }
    }
    let mut keys = Vec::new();
    visit(&serde_json::from_str(&schema).unwrap(), &mut keys);
    for key in keys.iter().filter(|key| !["plugin_dispatch"].contains(&key.as_str())) {
        assert!(written(key), "config/examples/full.yaml does not show `{key}`");
        seen += 1;
    }
    assert!(seen > 40, "only {seen} keys found in the schema");
}

#[test]
fn the_rfc_s_examples_are_configurations() {
    let text = file("examples/rfc-namespaces.yaml");
    check_schema_only(&source(&text), &registry()).unwrap();
    let config = load(&text);
    assert_eq!(config.namespaces.len(), 3);
    let names: Vec<_> = config.found.names().into_iter().collect();
    assert_eq!(names, ["kafka_password", "postgres_password"]);
}

#[test]
fn every_example_is_tested_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> =
        folder.read_dir().unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".yaml"));
    names.sort();
    assert_eq!(names, ["full.yaml", "redis-sidecar.yaml", "rfc-namespaces.yaml", "rfc-plugins.yaml"]);
}
