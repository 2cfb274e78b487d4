//! Plugins on other hosts: the suite of their interface, who is refused, several endpoints, and renewal.

use prism_tests::{
    Pki, Proxy, Redis, RemotePlugin, Start, client::grpc::Client, kv_by_every_way_in, tools, wait,
};
use prism_tls::testing::Authority;
use serde_json::Value;
use std::process::Command;

const HEAD: &str = "
admin: { address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }
listeners: [{ name: edge, address: '127.0.0.1:@listen@' }]
";

/// A configuration with one remote plugin, which serves `kv`.
fn config(endpoints: &[String], tls: &str, more: &str, config: &str) -> String {
    let endpoints = endpoints.join("', '");
    format!(
        "{HEAD}
plugins: [{{ name: subject, type: remote, endpoints: ['{endpoints}'], tls: {tls}{more} }}]
namespaces: [{{ name: kv, backend: kv, plugin: subject, config: {config} }}]
"
    )
}

async fn suite(program: &'static str, settings: &str) {
    for transport in ["grpc", "frames"] {
        let pki = Pki::new();
        let plugin = RemotePlugin::start(program, &pki);
        let more = format!(", transport: {transport}");
        let proxy = Proxy::start(&config(&[plugin.endpoint()], &pki.tls(), &more, settings));
        kv_by_every_way_in(proxy.port()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_on_another_host() {
    suite("memory-plugin", "{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_on_another_host() {
    let redis = Redis::start();
    suite("prism-redis-server", &format!("{{ url: '{}' }}", redis.url())).await;
}

/// How `/plugins` shows a namespace of a plugin.
fn shown(proxy: &Proxy, plugin: &str) -> Value {
    let all = proxy.admin().get("/plugins").expect(200).json();
    let list = all["plugins"].as_array().unwrap();
    let found = list.iter().find(|one| one["name"] == plugin);
    found.unwrap_or_else(|| panic!("no {plugin} in {all}"))["namespaces"][0].clone()
}

/// The proxy says in these words why it does not connect.
fn says(proxy: &Proxy, plugin: &str, words: &str) {
    wait::until(&format!("plugin `{plugin}` should be refused: {words}"), || {
        let shown = shown(proxy, plugin);
        shown["endpoints"][0]["reason"].as_str().is_some_and(|reason| reason.contains(words)).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_who_it_should_be_is_refused_on_either_side() {
    let pki = Pki::new();
    let plugin = RemotePlugin::start("memory-plugin", &pki);
    let strangers = Authority::new();
    pki.folder.write("strangers.crt", &strangers.pem());
    pki.folder.identity("stranger", &strangers.identity(&["proxy.test"], |_| {}));
    let (ca, other_ca) = (pki.path("ca.crt"), pki.path("strangers.crt"));
    let own = format!("client_cert: '{}', client_key: '{}'", pki.path("proxy.crt"), pki.path("proxy.key"));
    let stranger =
        format!("client_cert: '{}', client_key: '{}'", pki.path("stranger.crt"), pki.path("stranger.key"));
    let cases = [
        ("right", format!("{{ ca_cert: '{ca}', {own} }}"), ""),
        ("renamed", format!("{{ ca_cert: '{ca}', {own}, server_name: plugin.test }}"), ""),
        ("other-ca", format!("{{ ca_cert: '{other_ca}', {own} }}"), "UnknownIssuer"),
        (
            "other-name",
            format!("{{ ca_cert: '{ca}', {own}, server_name: other.test }}"),
            "not valid for name",
        ),
        ("nobody", format!("{{ ca_cert: '{ca}' }}"), "does it trust the proxy's certificate?"),
        ("stranger", format!("{{ ca_cert: '{ca}', {stranger} }}"), "does it trust the proxy's certificate?"),
        ("plaintext", "{ enabled: false }".to_owned(), "HTTP/2"),
    ];
    let mut text = format!("{HEAD}plugins:\n");
    for (name, tls, _) in &cases {
        let endpoint = plugin.endpoint();
        text += &format!("  - {{ name: {name}, type: remote, endpoint: '{endpoint}', tls: {tls} }}\n");
    }
    text += "namespaces:\n";
    for (name, ..) in &cases {
        text += &format!("  - {{ name: {name}, backend: memory, plugin: {name} }}\n");
    }
    let proxy = Proxy::start(&text);
    for (name, _, words) in &cases {
        let client = Client::new(proxy.port(), name);
        if words.is_empty() {
            client.set("key", "value").await.unwrap();
        } else {
            says(&proxy, name, words);
            assert_eq!(client.get("key").await.unwrap_err().code(), tonic::Code::Unavailable, "{name}");
        }
    }
}

#[test]
fn files_that_cannot_be_used_are_refused_before_anything_changes() {
    let pki = Pki::new();
    pki.folder.identity("other", &pki.authority.identity(&["proxy.test"], |_| {}));
    let endpoint = ["127.0.0.1:1".to_owned()];
    let good = config(&endpoint, &pki.tls(), "", "{}");
    let cases = [
        (pki.tls().replace("ca.crt", "none.crt"), "none.crt: No such file"),
        (pki.tls().replace("ca.crt", "proxy.key"), "no certificate"),
        (pki.tls().replace("proxy.key", "other.key"), "are not one identity"),
        (pki.tls().replace(" }", ", server_name: 'a b' }"), "neither a host name nor an IP address"),
    ];
    let proxy = Start::new(&good).without_ready().run();
    let version = proxy.admin().version();
    for (tls, words) in cases {
        let text = proxy.fill(&config(&endpoint, &tls, "", "{}"));
        let refused = proxy.admin().over_socket("PUT", "/config", &text).expect(400).text();
        assert!(refused.contains(words) && refused.contains("plugin `subject`"), "{refused}");

        let file = proxy.folder().join("checked.yaml");
        std::fs::write(&file, &text).unwrap();
        let check =
            tools::output(Command::new(tools::own("prism-edge")).args(["check", "--config"]).arg(&file));
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(!check.status.success() && said.contains(words), "{said}");
    }
    assert_eq!(proxy.admin().version(), version);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_when_one_of_several_endpoints_is_killed_and_returns() {
    for transport in ["grpc", "frames"] {
        let pki = Pki::new();
        let mut plugins = [(); 3].map(|()| RemotePlugin::start("memory-plugin", &pki));
        let endpoints = plugins.each_ref().map(RemotePlugin::endpoint);
        let more = format!(", transport: {transport}, metrics_interval: 100ms");
        let proxy = Proxy::start(&config(&endpoints, &pki.tls(), &more, "{}"));
        let client = Client::new(proxy.port(), "kv");
        let serving = |wanted: usize| {
            wait::until(&format!("{wanted} endpoints should serve"), || {
                let shown = shown(&proxy, "subject");
                let serving =
                    shown["endpoints"].as_array()?.iter().filter(|at| at["state"] == "ready").count();
                (serving == wanted).then_some(())
            });
        };
        serving(3);
        for number in 0..30 {
            client.set(&format!("key-{number}"), "value").await.unwrap();
        }
        for plugin in &mut plugins[..2] {
            plugin.process.kill();
            // None of them is under way, so none is lost, whatever the proxy knows already.
            for number in 0..30 {
                client.set(&format!("key-{number}"), "value").await.unwrap();
            }
        }
        serving(1);
        assert_eq!(shown(&proxy, "subject")["state"], "degraded");
        for plugin in &mut plugins[..2] {
            plugin.restart();
        }
        serving(3);
        assert_eq!(shown(&proxy, "subject")["state"], "ready");
        plugins[2].process.kill();
        for number in 0..30 {
            client.set(&format!("key-{number}"), "value").await.unwrap();
        }
        serving(2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_certificate_is_renewed_without_a_restart_or_a_failed_call() {
    for transport in ["grpc", "frames"] {
        let pki = Pki::new();
        let plugin = RemotePlugin::start("memory-plugin", &pki);
        let more = format!(", transport: {transport}");
        let proxy = Proxy::start(&config(&[plugin.endpoint()], &pki.tls(), &more, "{}"));
        let client = Client::new(proxy.port(), "kv");
        client.set("key", "value").await.unwrap();

        let calls = || async {
            // Longer than both sides take to see new files.
            let end = tokio::time::Instant::now() + prism_tls::INTERVAL * 3;
            while tokio::time::Instant::now() < end {
                client.get("key").await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        // As an operator does it: trust both authorities, change the identities, trust the new one alone.
        let next = Authority::new();
        pki.folder.write("ca.crt", &format!("{}{}", pki.authority.pem(), next.pem()));
        calls().await;
        pki.sign_both(&next);
        calls().await;
        pki.folder.write("ca.crt", &next.pem());
        calls().await;
        assert_eq!(shown(&proxy, "subject")["tls_problem"], Value::Null);

        // Files that cannot be used change nothing, and are shown.
        let key = std::fs::read_to_string(pki.path("proxy.key")).unwrap();
        pki.folder.write("proxy.key", "oops");
        wait::until("the problem should be shown", || {
            shown(&proxy, "subject")["tls_problem"].as_str()?.contains("proxy.key").then_some(())
        });
        client.get("key").await.unwrap();
        pki.folder.write("proxy.key", &key);

        // What is trusted no longer is not used any longer either, though its connections are open.
        pki.folder.write("ca.crt", &Authority::new().pem());
        says(&proxy, "subject", "UnknownIssuer");
    }
}

/// It could not be unloaded again.
#[test]
fn a_library_is_not_loaded_for_a_change_whose_files_are_wrong() {
    let template = format!(
        "{HEAD}
plugins: [{{ name: own, type: in_process, library: '{}' }}, @more@]
namespaces: [{{ name: own, backend: probe, plugin: own }}]
",
        tools::library("prism_plugin_probe").display()
    );
    let proxy = Proxy::start(&template.replace(", @more@", ""));
    let memory = tools::library("prism_plugin_memory").display().to_string();
    let more = format!(
        "{{ name: new, type: in_process, library: '{memory}' }}, {{ name: away, type: remote, \
         endpoint: 'plugin.test:1', tls: {{ ca_cert: '/none.crt' }} }}"
    );
    let wrong = proxy.fill(&template.replace("@more@", &more));
    for _ in 0..3 {
        let answer = proxy.admin().over_socket("PUT", "/config", &wrong);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("/none.crt"), "{}", answer.text());
    }
    assert_eq!(proxy.admin().metric("prism_plugin_library_generations", ""), 1.0);
}
