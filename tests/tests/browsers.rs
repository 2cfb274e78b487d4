//! Web pages as clients: what browsers ask before they call, and stock gRPC-Web clients, in Node and on a page in headless
//! Chromium. (Every byte of gRPC-Web: `grpc_web.rs`.)

use prism_tests::{
    Pages, Proxy,
    client::{
        curl::{self, Answer},
        web::{APP, VERSIONS, config, readable},
    },
    tools,
};
use std::{collections::HashMap, fs, path::Path, process::Command};
use tempfile::TempDir;

const GET: &str = "/prism.kv.v1.KeyValueService/Get";
const SET: &str = "/prism.kv.v1.KeyValueService/Set";
const EXECUTE: &str = "/prism.data.v1.DataService/Execute";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// A preflight as a browser sends it, to this path.
fn preflight(proxy: &Proxy, version: &str, path: &str, origin: &str, more: &[&str]) -> Answer {
    let (url, origin) = (proxy.url(path), format!("origin: {origin}"));
    let mut call = vec![version, "--path-as-is", "-X", "OPTIONS", "-H", &origin, &url];
    call.extend(["-H", "access-control-request-method: POST"]);
    call.extend(["-H", "access-control-request-headers: content-type,x-grpc-web,x-prism-namespace"]);
    more.iter().for_each(|header| call.extend(["-H", header]));
    curl::run(&call)
}

#[test]
fn preflights_are_answered_at_the_edge_whatever_they_are_about() {
    let proxy = Proxy::start(&config(APP));
    for version in VERSIONS {
        for path in [GET, EXECUTE, HEALTH, "/v1/demo/get", "/v1/nobody/get", "/v1//", "/nothing/here", "/"] {
            let answer = preflight(&proxy, version, path, APP, &[]).expect(204);
            assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{path}");
            assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST"));
            let headers = answer.header("access-control-allow-headers").unwrap();
            for name in ["content-type", "x-grpc-web", "x-user-agent", "grpc-timeout", "x-prism-namespace"] {
                assert!(headers.split(", ").any(|allowed| allowed == name), "{headers}");
            }
            assert_eq!(answer.header("access-control-max-age"), Some("600"));
            assert!(answer.body.is_empty());

            for origin in
                ["https://evil.com", "http://app.example.com", "https://app.example.com.evil.com", "null"]
            {
                let answer = preflight(&proxy, version, path, origin, &[]).expect(403);
                assert_eq!(answer.json()["reason"], "ORIGIN_NOT_ALLOWED");
                let said = answer.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
                assert_eq!(said, None, "{path} {origin}");
            }
        }
        // A route's own settings hold for its preflights, where a preflight can show that it is for that route.
        let _ = preflight(&proxy, version, GET, APP, &["x-way: closed"]).expect(403);
        // Not a preflight.
        let (url, origin) = (proxy.url(EXECUTE), format!("origin: {APP}"));
        let answer = curl::run(&[version, "-X", "OPTIONS", "-H", &origin, &url]).expect(405);
        readable(&answer);
    }
    let metrics = proxy.admin().get("/metrics").text();
    assert!(metrics.contains("prism_rejections_total{reason=\"ORIGIN_NOT_ALLOWED\"} "), "{metrics}");
}

#[test]
fn json_is_for_pages_too_and_only_for_those_that_may() {
    let proxy = Proxy::start(&config(APP));
    for version in VERSIONS {
        let call = |path: &str, origin: &str| {
            let (url, origin) = (proxy.url(path), format!("origin: {origin}"));
            let json = "content-type: application/json";
            curl::run(&[version, "-d", "{\"key\": \"absent\"}", "-H", json, "-H", &origin, &url])
        };
        readable(&call("/v1/demo/get", APP).expect(200));
        readable(&call("/v1/nobody/get", APP).expect(404));
        for (path, status) in [("/v1/demo/get", 200), ("/v1/nobody/get", 404), ("/elsewhere", 404)] {
            let answer = call(path, "https://evil.com").expect(status);
            assert_eq!(answer.header("access-control-allow-origin"), None);
            assert_eq!(answer.header("vary"), Some("origin"));
        }
        // What any form can send without asking is taken nowhere.
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            for path in ["/v1/demo/set", SET] {
                let (url, kind) = (proxy.url(path), format!("content-type: {kind}"));
                let answer =
                    curl::run(&[version, "-d", "x", "-H", &kind, "-H", "origin: https://evil.com", &url]);
                assert_eq!(answer.status, 415, "{path} {kind}");
            }
        }
    }
}

fn scripts() -> std::path::PathBuf {
    tools::repository().join("tests/browser")
}

/// A folder with a script and the Node packages that it needs, which are looked for beside it.
fn beside_packages(scripts: &[(&str, String)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(tools::node_modules(), folder.path().join("node_modules")).unwrap();
    for (name, text) in scripts {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    fs::write(folder.path().join("descriptors"), prism_proto::FILE_DESCRIPTOR_SET).unwrap();
    folder
}

fn node(folder: &Path, script: &str, arguments: &[&str]) -> String {
    tools::succeed(Command::new(tools::tool("node")).arg(script).args(arguments).current_dir(folder))
}

#[test]
fn a_stock_client_in_node() {
    let proxy = Proxy::start(&config(APP));
    let names = ["clients.mjs", "suite.mjs", "node.mjs"];
    let folder =
        beside_packages(&names.map(|name| (name, fs::read_to_string(scripts().join(name)).unwrap())));
    assert_eq!(node(folder.path(), "node.mjs", &[&proxy.url(""), "descriptors", "node/"]).trim(), "done");
}

#[test]
fn the_guide_s_client_prints_what_the_guide_says() {
    let guide = fs::read_to_string(tools::repository().join("docs/browsers.md")).unwrap();
    let block = |language: &str| {
        let (_, rest) = guide.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let admin = "admin: { address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }\n";
    let yaml = block("yaml").replace("127.0.0.1:50051", "127.0.0.1:@listen@");
    let proxy = Proxy::start(&format!("{admin}{yaml}"));
    // What a generator writes is the same, with types.
    let stub = "import { readFileSync } from 'node:fs';\n\
        import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';\n\
        import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';\n\
        const files = fromBinary(FileDescriptorSetSchema, readFileSync('descriptors'));\n\
        export const KeyValueService = createFileRegistry(files).getService('prism.kv.v1.KeyValueService');\n";
    let script = block("js").replace("http://127.0.0.1:50051", &proxy.url(""));
    let files = [
        ("page.mjs", script),
        ("gen/package.json", "{ \"type\": \"module\" }".to_owned()),
        ("gen/prism/kv/v1/kv_pb.js", stub.to_owned()),
    ];
    let folder = beside_packages(&files);
    let printed = node(folder.path(), "page.mjs", &[]);
    assert_eq!(printed, "hello\ngreeting\n5 there is no namespace `nobody`\n");
    for line in printed.lines() {
        assert!(guide.contains(line), "the guide does not say `{line}`");
    }
}

#[test]
fn a_page_in_a_browser_calls_and_reads_what_was_refused() {
    let files = HashMap::from([("/descriptors", prism_proto::FILE_DESCRIPTOR_SET.to_vec())]);
    let pages = Pages::serve(&scripts(), files);
    let proxy = Proxy::start(&config(&pages.origin("127.0.0.1")));
    let told = |host: &str, parts: &[&str]| {
        let parts: String = parts.iter().map(|part| format!("&part={part}")).collect();
        pages.tells(&format!("{}/page.html?proxy={}{parts}", pages.origin(host), proxy.url("")))
    };
    let expected = |parts: &[&str]| {
        let clients = ["connect", "google text", "google binary"];
        let lines =
            clients.iter().flat_map(|client| parts.iter().map(move |part| format!("{client}: {part}: ok")));
        lines.collect::<Vec<_>>().join("\n")
    };
    let parts = ["works", "learns"];
    assert_eq!(told("127.0.0.1", &parts), expected(&parts));
    // The same page by another name of the same machine is of another origin, which may not.
    assert_eq!(told("localhost", &["isKeptOut"]), expected(&["isKeptOut"]));
    let metrics = proxy.admin().get("/metrics").text();
    assert!(metrics.contains("prism_rejections_total{reason=\"ORIGIN_NOT_ALLOWED\"} "), "{metrics}");
}
