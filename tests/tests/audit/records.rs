//! What stands in a record, and what does not.

use crate::scene::{Scene, lines, stop};
use prism_tests::{
    client::{curl, grpc::Client},
    tools, wait,
};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

fn at(lines: &[Value], key: &str, value: &str) -> Value {
    let mut found = lines.iter().filter(|line| line[key] == value);
    let line = found.next().unwrap_or_else(|| panic!("no {key} {value} in {lines:#?}")).clone();
    assert!(found.next().is_none(), "{key} {value} is there twice");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_and_every_way_to_end_is_recorded_and_nothing_that_is_secret() {
    let scene = Scene::new();
    let proxy = scene.start("");
    let client = Client::new(proxy.port(), "demo");
    client.set("pl4nted", "pl4nted").await.unwrap();
    let url = proxy.url("/v1/demo/set?key=pl4nted");
    let raw = ["-H", "content-type: application/octet-stream", "-H", "x-request-id: raw"];
    let secret = ["-H", "authorization: Bearer pl4nted", "-H", "cookie: pl4nted", "-d", "pl4nted"];
    let _ = curl::run(&[&raw[..], &secret, &[&url]].concat()).expect(200);
    let _ = curl::run(&["-H", "x-request-id: refused", "-d", "pl4nted", &url]).expect(415);
    let _ = curl::run(&["-H", "x-request-id: nowhere", &proxy.url("/nowhere?token=pl4nted")]).expect(404);

    let mut watch = client.watch("").await.unwrap();
    let watching = |line: &Value| line["operation"] == "watch";
    let opened = wait::until("the stream's opening should be recorded", || {
        scene.kind("open").into_iter().find(watching)
    });
    client.set("seen", "1").await.unwrap();
    watch.event().await.unwrap();
    assert!(!scene.kind("call").iter().any(watching), "it is not over");
    drop(watch);
    let closed =
        wait::until("the stream's end should be recorded", || scene.kind("call").into_iter().find(watching));
    assert_eq!((&closed["code"], &closed["request_id"]), (&"CANCELLED".into(), &opened["request_id"]));
    assert!(opened.get("code").is_none());
    stop(proxy);

    scene.is_intact();
    let all = scene.lines();
    let calls = scene.kind("call");
    assert_eq!(calls.len(), 6, "{calls:#?}");
    let raw = at(&calls, "request_id", "raw");
    for (field, value) in [
        ("listener", "edge"),
        ("protocol", "http"),
        ("method", "POST"),
        ("path", "/v1/demo/set"),
        ("namespace", "demo"),
        ("operation", "set"),
        ("plugin", "memory"),
        ("code", "OK"),
    ] {
        assert_eq!(raw[field], value, "{field}");
    }
    assert!(raw["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!((&raw["http_status"], &raw["config_version"]), (&200.into(), &1.into()));
    let refused = at(&calls, "request_id", "refused");
    assert_eq!(
        (&refused["reason"], &refused["http_status"]),
        (&"UNSUPPORTED_MEDIA_TYPE".into(), &415.into())
    );
    assert_eq!(at(&calls, "request_id", "nowhere")["reason"], "NO_ROUTE");
    let text = format!("{all:?}");
    assert!(!text.contains("pl4nted"), "{text}");
}

#[test]
fn what_an_operator_does_is_recorded_to_the_last() {
    let scene = Scene::new();
    let config = scene.config("");
    let proxy = scene.start("");
    let admin = proxy.admin();
    let longer = proxy.fill(&config).replace("plugins:", "drain: { timeout: 7s }\nplugins:");
    let _ = admin.over_socket("PUT", "/config?dry_run=true", &longer).expect(200);
    let _ = admin.over_socket("PUT", "/config", &longer).expect(200);
    let _ = admin.over_socket("PUT", "/config", "nonsense: true\n").expect(400);
    let _ = admin.over_tcp("PUT", "/config", &longer).expect(403);
    proxy.hang_up(&config);
    wait::until("the file should be applied", || (admin.version() == 3).then_some(()));
    // The same folder with other settings: the log has one writer.
    let other = proxy.fill(&scene.config(", sync: each"));
    let refused = admin.over_socket("PUT", "/config", &other).expect(400);
    assert!(refused.text().contains("open with other settings"), "{}", refused.text());
    let first = admin.get("/audit").expect(200).json();
    assert_eq!(first["logs"].as_array().unwrap().len(), 1);
    assert!(first["logs"][0]["problem"].is_null());
    // And then somebody switches it off.
    let off = proxy.fill(&config);
    let off: String =
        off.lines().filter(|line| !line.contains("- audit:")).flat_map(|line| [line, "\n"]).collect();
    let _ = admin.over_socket("PUT", "/config", &off).expect(200);
    assert_eq!(admin.get("/audit").expect(200).json()["logs"].as_array().unwrap().len(), 0);
    let last = wait::until("the log should be ended", || {
        let all = lines(&scene.dir());
        (all.last().unwrap()["kind"] == "checkpoint").then_some(all)
    });
    stop(proxy);

    scene.is_intact();
    let uid = format!("uid:{}", rustix::process::getuid().as_raw());
    let changes: Vec<Value> = last.into_iter().filter(|line| line["kind"] == "admin").collect();
    let said: Vec<(&str, &str, &str, u64)> = changes
        .iter()
        .map(|line| {
            let who = line["who"].as_str().unwrap();
            let who = if who.starts_with("tcp:127.0.0.1:") { "tcp" } else { who };
            (
                who,
                line["action"].as_str().unwrap(),
                line["outcome"].as_str().unwrap(),
                line["config_version"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("process", "start", "done", 1),
            (&*uid, "config.apply", "done", 2),
            (&*uid, "config.apply", "refused", 2),
            ("tcp", "config.apply", "refused", 2),
            ("file", "config.apply", "done", 3),
            (&*uid, "config.apply", "refused", 3),
            (&*uid, "config.apply", "done", 4),
        ]
    );
    assert!(changes[1]["details"][0].as_str().unwrap().contains("drain"), "{}", changes[1]);
    assert!(changes[6]["details"].to_string().contains("listener"), "{}", changes[6]);
    assert_eq!(changes[1]["config_sha256"].as_str().unwrap().len(), 64);
    assert_ne!(changes[1]["config_sha256"], changes[4]["config_sha256"]);
}

#[test]
fn a_key_that_cannot_be_used_is_found_before_the_proxy_starts() {
    let scene = Scene::new();
    let file = scene.key().with_file_name("prism.yaml");
    let config =
        scene.config("").replace("@listen@", "50051").replace("@admin@", "50052").replace("@dir@", "run");
    fs::write(&file, config).unwrap();
    let check = || {
        let output =
            Command::new(tools::own("prism-edge")).args(["check", "-c"]).arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(check().0, Some(0), "{}", check().1);
    assert!(!scene.dir().exists(), "it is only looked at");
    fs::set_permissions(scene.key(), fs::Permissions::from_mode(0o644)).unwrap();
    let (status, said) = check();
    assert!(
        status == Some(1) && said.contains("listeners[0].filters[1].audit.key") && said.contains("chmod 600"),
        "{said}"
    );
    fs::remove_file(scene.key()).unwrap();
    assert!(check().1.contains("cannot read the key"), "{}", check().1);
}

#[test]
fn a_drain_is_recorded_and_the_log_is_ended() {
    let scene = Scene::new();
    let proxy = scene.start("");
    stop(proxy);
    let admin = scene.kind("admin");
    assert_eq!(admin.last().unwrap()["action"], "drain");
    scene.is_intact();
}
