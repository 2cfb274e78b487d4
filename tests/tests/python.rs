//! A stock Python client, with stubs made from `proto/` on the spot.

use prism_tests::{Proxy, Redis, Sidecar, Start, example, tools};
use std::{fs, path::Path, process::Command};

/// What `protoc` makes for Python, from every file of `proto/`.
fn stubs(folder: &Path) {
    let proto = tools::repository().join("proto");
    let mut command = Command::new(tools::python());
    command.args(["-m", "grpc_tools.protoc"]).arg("-I").arg(&proto);
    command.arg(format!("--python_out={}", folder.display()));
    command.arg(format!("--grpc_python_out={}", folder.display()));
    command.args(files(&proto.join("prism")));
    tools::succeed(&mut command);
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "proto"))
        .collect()
}

fn client(proxy: &Proxy, prefix: &str) {
    let folder = tempfile::tempdir().unwrap();
    stubs(folder.path());
    let script = tools::repository().join("tests/python/client.py");
    let mut command = Command::new(tools::python());
    command.arg(script).args([&proxy.port().to_string(), prefix]).env("PYTHONPATH", folder.path());
    assert_eq!(tools::succeed(&mut command).trim(), "done");
}

const PORTS: [(&str, &str); 2] =
    [("127.0.0.1:50051", "127.0.0.1:@listen@"), ("127.0.0.1:50052", "127.0.0.1:@admin@")];

#[test]
fn a_stock_client_on_memory() {
    client(&Proxy::start(&example("config/prism.yaml", &PORTS)), "python/");
}

#[test]
fn the_same_client_on_a_real_redis_behind_a_sidecar() {
    let redis = Redis::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock");
    let _sidecar = Sidecar::redis(&socket);
    let mut replacements = PORTS.to_vec();
    let url = redis.url();
    replacements.push(("redis://127.0.0.1:6379", &url));
    replacements.push(("./run/cache.sock", socket.to_str().unwrap()));
    let proxy = Start::new(&example("config/examples/redis-sidecar.yaml", &replacements)).run();
    client(&proxy, "python/");
    assert_eq!(redis.cli(&["get", "python/greeting"]).trim(), "hello");
    assert_eq!(redis.cli(&["exists", "python/absent"]).trim(), "0");
}
