//! docs/configuration.md says what this binary takes. `cargo xtask docs` writes it by running this test
//! with `PRISM_WRITE_DOCS` set.

use std::{env, fs, path::Path};

use prism_config::FilterEntry;
use prism_edge::{Builtins, config_registry};
use serde_json::{Value, json};

#[test]
fn the_reference_is_up_to_date() {
    let registry = config_registry(&prism_filters::registry::builtin(), &Builtins::standard());
    let current = prism_config::reference(&registry);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if env::var_os("PRISM_WRITE_DOCS").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(current.lines()).find(|(written, current)| written != current);
    assert!(
        written == current,
        "docs/configuration.md is not what the schema says; run `cargo xtask docs`. First difference: {differs:#?}"
    );
}

/// What is shown goes by the names of keys, since it knows no schema.
#[test]
fn settings_that_are_secret_have_names_that_say_so() {
    fn secret(schema: &Value, found: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if property["x-prism-secret"] == true {
                found.push(name.clone());
            }
        }
        match schema {
            Value::Object(entries) => entries.values().for_each(|inner| secret(inner, found)),
            Value::Array(items) => items.iter().for_each(|inner| secret(inner, found)),
            _ => {}
        }
    }
    let registry = config_registry(&prism_filters::registry::builtin(), &Builtins::standard());
    let mut names = Vec::new();
    secret(registry.json_schema(), &mut names);
    assert!(names.contains(&"client_secret".to_owned()), "{names:?}");
    for name in names {
        let mut entry = FilterEntry::new("some");
        entry.settings = json!({ &name: "hunter2" });
        let shown = json!({ &name: entry }).to_string() + &format!("{entry:?}");
        assert!(!shown.contains("hunter2"), "{name}: {shown}");
    }
}
