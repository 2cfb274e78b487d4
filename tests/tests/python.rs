//! A stock Python client, with stubs made from `proto/` on the spot.

use prism_tests::{Proxy, Redis, Sidecar, Start, example, python_stubs, tools};
use std::process::Command;

fn client(proxy: &Proxy, prefix: &str) {
    let script = tools::repository().join("tests/python/client.py");
    let mut command = Command::new(tools::python());
    command.arg(script).args([&proxy.port().to_string(), prefix]).env("PYTHONPATH", python_stubs());
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
