//! Libraries as others build them: with another compiler, which works, and with `panic = "abort"`, which is refused.

use prism_plugin_abi::InstanceId;
use prism_plugin_sdk::testing::{Instance, KvCapabilities, kv_suite};
use prism_tests::{DEMO, Proxy, Served, tools};
use std::{collections::BTreeSet, path::Path, process::Command, sync::Arc};

/// The compilers that say in a library's `.comment` that they made a part of it.
fn compilers(library: &Path) -> BTreeSet<String> {
    const MARK: &[u8] = b"rustc version ";
    let bytes = std::fs::read(library).unwrap();
    let marked = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let version = |(at, _): (usize, _)| {
        let version = bytes[at + MARK.len()..].split(|byte| *byte == 0 || *byte == b' ').next().unwrap();
        String::from_utf8_lossy(version).into_owned()
    };
    marked.map(version).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_of_another_rustc_passes_the_suite() {
    let library = tools::library_of_another_rustc();
    let (own, other) = (compilers(&tools::library("prism_plugin_memory")), compilers(&library));
    assert!(!own.is_empty() && !other.is_empty(), "{own:?} {other:?}");
    assert!(own.is_disjoint(&other), "both are of {own:?}");
    println!("the proxy is of rustc {own:?}, the plugin of rustc {other:?}");
    let proxy = Proxy::start(&format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners: [{{ name: edge, address: '127.0.0.1:@listen@' }}]
plugins: [{{ name: subject, type: in_process, library: '{}' }}]
namespaces: [{{ name: kv, backend: kv, plugin: subject }}]
",
        library.display()
    ));
    let plugin = Arc::new(Served::new(proxy.port(), "kv"));
    let instance = Instance { plugin, id: InstanceId(1), namespace: "kv".into() };
    kv_suite(&instance, KvCapabilities { watch: true, proxied: true }).await;
}

#[test]
fn a_library_that_aborts_on_panic_is_refused() {
    let library = tools::library("numbers");
    let with = DEMO.replace(
        "namespaces:",
        &format!("  - {{ name: aborts, type: in_process, library: '{}' }}\nnamespaces:", library.display()),
    );
    let proxy = Proxy::start(DEMO);
    let text = proxy.fill(&with);
    let refused = proxy.admin().over_socket("PUT", "/config", &text).expect(400).text();
    let reason = "a panic in it would end the proxy";
    assert!(refused.contains("libnumbers.so") && refused.contains(reason), "{refused}");
    assert_eq!(proxy.admin().metric("prism_plugin_library_generations", ""), 0.0);

    let file = proxy.folder().join("checked.yaml");
    std::fs::write(&file, &text).unwrap();
    let check = tools::output(Command::new(tools::own("prism-edge")).args(["check", "--config"]).arg(&file));
    assert!(String::from_utf8_lossy(&check.stderr).contains(reason), "{check:?}");
}
