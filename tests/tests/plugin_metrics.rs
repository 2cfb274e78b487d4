//! What plugins count, as `/metrics` shows it: of a builtin, of sidecars, and of those that overdo it.

use prism_tests::{DEMO, Proxy, Sidecar, Transport, client::grpc::Client, wait};
use std::path::Path;

const OFTEN: &str = "metrics_interval: 100ms";

/// `DEMO`, its builtin polled often, with one more plugin and one more namespace on it.
fn with_sidecar(socket: &Path, transport: Transport, namespace: &str) -> String {
    let sidecar = transport.sidecar("side", socket).replace(" }", &format!(", {OFTEN} }}"));
    polled_often().replace("namespaces:", &format!("  - {sidecar}\nnamespaces:")) + namespace
}

fn polled_often() -> String {
    DEMO.replace("type: builtin", &format!("type: builtin, {OFTEN}"))
}

fn until_metric(proxy: &Proxy, name: &str, label: &str, wanted: f64) {
    wait::until(&format!("{name} of {label} should be {wanted}"), || {
        (proxy.admin().metric(name, label).to_bits() == wanted.to_bits()).then_some(())
    });
}

async fn counts_what_memory_does(proxy: &Proxy, namespace: &str) {
    let client = Client::new(proxy.port(), namespace);
    for key in ["a", "b", "c"] {
        client.set(key, "value").await.unwrap();
    }
    let label = format!("namespace=\"{namespace}\"");
    tokio::task::block_in_place(|| {
        until_metric(proxy, "prism_plugin_requests_total", &label, 3.0);
        until_metric(proxy, "prism_plugin_custom", &format!("name=\"keys\",{label}"), 3.0);
        assert!(proxy.admin().metric("prism_plugin_latency_seconds", &label) > 0.0);
        assert!(proxy.admin().metric("prism_plugin_custom", &format!("name=\"stored_bytes\",{label}")) > 0.0);
        assert!(proxy.admin().metric("prism_plugin_start_time_seconds", &label) > 1.6e9);
        assert_eq!(proxy.admin().metric("prism_plugin_metrics_failures_total", &label).to_string(), "0");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builtin_is_polled() {
    let proxy = Proxy::start(&polled_often());
    counts_what_memory_does(&proxy, "demo").await;
}

mod sidecar {
    use super::*;

    prism_tests::over_every_transport! { is_polled }
}

async fn is_polled(transport: Transport) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("memory.sock");
    let _sidecar = Sidecar::memory(&socket);
    let template = with_sidecar(&socket, transport, "  - { name: apart, backend: memory, plugin: side }\n");
    let proxy = Proxy::start(&template);
    tokio::task::block_in_place(|| until_metric(&proxy, "prism_plugin_up", "namespace=\"apart\"", 1.0));
    counts_what_memory_does(&proxy, "apart").await;
}

#[test]
fn what_a_plugin_overdoes_is_added_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sdk.sock");
    let _sidecar = Sidecar::sdk(&socket);
    let namespace = "  - { name: apart, backend: sdk, plugin: side, config: { figures: '100000' } }\n";
    let template = with_sidecar(&socket, Transport::Frames, namespace);
    let proxy = Proxy::start(&template);
    let label = "namespace=\"apart\"";
    wait::until("the plugin's figures", || {
        (proxy.admin().metric("prism_plugin_custom_total", label) > 0.0).then_some(())
    });
    let text = proxy.admin().get("/metrics").expect(200).text();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("prism_plugin_custom_total{")).collect();
    assert_eq!(lines.len(), 101, "{lines:?}");
    let sum = format!("prism_plugin_custom_total{{name=\"_overflow\",{label},plugin=\"side\"}} 199800");
    assert!(lines.contains(&&*sum), "{lines:?}");
    let odd = format!("{{exported_namespace=\"x\\\"\",name=\"odd_name___0\",{label},plugin=\"side\"}} 2");
    assert!(lines.iter().any(|line| line.ends_with(&odd)), "{odd} {lines:?}");
    // The rest of the figures, and the two that are none.
    let dropped = proxy.admin().metric("prism_plugin_custom_dropped_total", label);
    assert!(dropped > 0.0 && (dropped % (100_000.0 - 100.0 + 2.0)) < f64::EPSILON, "{dropped}");
    assert_eq!(proxy.admin().namespace("apart")["state"], "ready");
    // From the second answer on.
    until_metric(&proxy, "prism_plugin_cache_hit_ratio", label, 0.75);

    let without = polled_often();
    let _ = proxy.admin().over_socket("PUT", "/config", &proxy.fill(&without)).expect(200);
    assert!(!proxy.admin().get("/metrics").expect(200).text().contains("apart"));
}

#[test]
fn another_interval_leaves_the_instance_alone() {
    let slowly = DEMO.replace("type: builtin", "type: builtin, metrics_interval: 1h");
    let proxy = Proxy::start(&slowly);
    let before = proxy.admin().namespace("demo")["instance"].clone();
    let _ = proxy.admin().over_socket("PUT", "/config", &proxy.fill(&polled_often())).expect(200);
    assert_eq!(proxy.admin().namespace("demo")["instance"], before);
    // 1 of 4 look-ups would be a miss, were memory a cache; that it is none is said by an absent series.
    assert!(!proxy.admin().get("/metrics").expect(200).text().contains("prism_plugin_cache_hit_ratio{"));
}

#[test]
fn a_sidecar_that_hangs_or_dies_leaves_no_figures_behind() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("memory.sock");
    let sidecar = Sidecar::memory(&socket);
    let template =
        with_sidecar(&socket, Transport::Grpc, "  - { name: apart, backend: memory, plugin: side }\n");
    let proxy = Proxy::start(&template);
    let series = "prism_plugin_custom{name=\"keys\",namespace=\"apart\"";
    let shown = || proxy.admin().get("/metrics").expect(200).text().contains(series);
    wait::until("the sidecar's figures", || shown().then_some(()));
    drop(sidecar);
    until_metric(&proxy, "prism_plugin_up", "namespace=\"apart\"", 0.0);
    assert!(!shown());
}
