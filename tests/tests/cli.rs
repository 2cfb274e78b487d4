//! The command line: what is checked before anything is started.

use prism_tests::{DEMO, tools};
use std::{
    fs,
    process::{Command, Output},
};

fn prism_edge(arguments: &[&str], config: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prism.yaml");
    let filled = config.replace("@listen@", "0").replace("@admin@", "0").replace("@dir@", "run");
    fs::write(&file, filled).unwrap();
    let mut command = Command::new(tools::own("prism-edge"));
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
        (
            "access",
            DEMO.replace(
                "plugin: memory }",
                "plugin: memory, access: [ { principal: a, permissions: [read] } ] }",
            ),
        ),
        ("auth", DEMO.replace("- trace: {}", "- trace: {}\n      - auth: {}")),
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
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/prism.yaml"));
}
