//! What the tests of this crate share: a binary with two filters and one builtin plugin.

use std::path::PathBuf;

use prism_config::{
    Config, FilterSchema, FilterSchemas, Phase, Problems, Registry, SettingProblem, Source, parse,
};
use serde_json::{Value, json};

/// The registry of a made-up binary.
pub(crate) fn registry() -> Registry {
    let trace = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Trace",
        "type": "object",
        "properties": {
            "format": { "description": "How lines look.", "$ref": "#/$defs/Format" },
            "buffer": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 64 },
            "secret_label": { "type": ["string", "null"] },
            "login": { "$ref": "#/$defs/Login" },
        },
        "additionalProperties": false,
        "$defs": { "Login": { "type": "object", "properties": {
            "user": { "type": "string" },
            "password": { "type": "string", "minLength": 1, "x-prism-secret": true },
        } }, "Format": { "oneOf": [
            { "const": "json", "type": "string", "description": "One object a line." },
            { "const": "text", "type": "string" },
        ] } },
    });
    let terminal = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    Registry::new(
        FilterSchemas::new()
            .with(FilterSchema { name: "trace", phase: Phase::Request, schema: trace, check })
            .with(FilterSchema {
                name: "plugin_dispatch",
                phase: Phase::Terminal,
                schema: terminal,
                check: |_| Vec::new(),
            }),
        ["memory"],
    )
}

/// Text lines fit no buffer of 13 in this binary.
fn check(settings: &Value) -> Vec<SettingProblem> {
    let wrong = settings["buffer"] == 13 && settings["format"] == "text";
    let problem = SettingProblem::new("buffer", "13 is too little for `text`").hint("take 14");
    if wrong { vec![problem] } else { Vec::new() }
}

/// A text as if it were `/etc/prism/prism.yaml`.
pub(crate) fn source(text: &str) -> Source {
    Source { name: "prism.yaml".into(), text: text.into(), base_dir: PathBuf::from("/etc/prism") }
}

/// The text, which must be right.
pub(crate) fn load(text: &str) -> Config {
    parse(&source(text), &registry()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The problems of the text, which must have some.
pub(crate) fn problems(text: &str) -> Problems {
    parse(&source(text), &registry()).expect_err("the text has no problems")
}

/// A file of this crate.
pub(crate) fn file(path: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}
