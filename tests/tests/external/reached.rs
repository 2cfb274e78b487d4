//! How it is reached: over sockets of every kind, when it is away, slow or somebody else, and under load.

use super::{
    at,
    authorizer::{Authorizer, Does, no, yes},
    config, get, logged, set, start,
};
use prism_tests::{
    Pki, Proxy,
    client::{curl, http2},
    free_port, tools, wait,
    wire::framed,
};
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let authorizer = Authorizer::unix(&folder.path().join("a.sock"), yes());
    let proxy = start(&config(&at(&authorizer.address), "127.0.0.1:1"));
    let _ = set(&proxy, "owner", "mine").expect(200);
    authorizer.set(no(403));
    let _ = get(&proxy, "owner").expect(403);
    assert_eq!(authorizer.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_away_nothing_passes_and_then_everything_does() {
    let mut authorizer = Authorizer::start(yes());
    let proxy = start(&config(&at(&authorizer.address), "127.0.0.1:1"));
    let _ = set(&proxy, "owner", "mine").expect(200);
    authorizer.stop();
    for _ in 0..5 {
        let answer = get(&proxy, "owner").expect(503);
        assert_eq!(answer.json()["reason"], "AUTHZ_UNAVAILABLE");
    }
    let back = Authorizer::at(&authorizer.address, yes());
    wait::until("the authorizer is asked again", || (get(&proxy, "owner").status == 200).then_some(()));
    assert!(!back.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_answer_is_not_waited_for_and_holds_up_nobody_else() {
    let authorizer = Authorizer::start(Does::Sleeps);
    let external = format!("external: {{ address: '{}', timeout: 300ms }}", authorizer.address);
    let text = config(&external, "127.0.0.1:1").replace(
        "      - match: {}\n",
        "      - match: {}\n      - { match: { path_prefix: /v1/free/ }, namespace: free, filters: { auth: false, authz: false } }\n",
    );
    let proxy = start(&format!("{text}  - {{ name: free, backend: memory }}\n"));
    let connection = http2::connect(proxy.port()).await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let head = http2::head(
            "/prism.kv.v1.KeyValueService/Get",
            &[("x-caller", "owner"), ("x-prism-namespace", "demo")],
        );
        let mut send = connection.send.clone().ready().await.unwrap();
        let (response, mut stream) = send.send_request(head, false).unwrap();
        stream.send_data(framed(b"\x0a\x01k"), true).unwrap();
        waiting.push(response);
    }
    let url = proxy.url("/v1/free/set?key=k");
    let bytes = ["--data-binary", "v", "-H", "content-type: application/octet-stream"];
    let _ = curl::run(&[&[&*url], &bytes[..]].concat()).expect(200);
    for response in waiting {
        let answer = wait::guard("an answer", http2::collect(response)).await.unwrap();
        assert_eq!(answer.code(), tonic::Code::Unavailable);
    }
    logged(&proxy, "no answer within 300 ms");
    // A caller that waits less is answered by its own deadline; one that goes away is waited for by nobody.
    let head = http2::head(
        "/prism.kv.v1.KeyValueService/Get",
        &[("x-caller", "owner"), ("x-prism-namespace", "demo"), ("grpc-timeout", "20m")],
    );
    let answer = connection.call(head, framed(b"\x0a\x01k")).await.unwrap();
    assert_eq!(answer.code(), tonic::Code::DeadlineExceeded, "{answer:?}");
    authorizer.set(yes());
    wait::until("it answers again", || (get(&proxy, "owner").status == 404).then_some(()));
}

/// A proxy in front of an authorizer that speaks TLS, and wants to know who asks.
fn secured(pki: &Pki, authorizer: &Authorizer) -> Proxy {
    Proxy::start(&format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters:
      - tls: {{ cert: '{}', key: '{}', client_ca: '{}', client_auth: required }}
      - trace: {{}}
      - plugin_dispatch: {{}}
    routes: [{{ match: {{}}, forward: true, targets: [{{ address: '{}' }}] }}]
namespaces: []
",
        pki.path("plugin.crt"),
        pki.path("plugin.key"),
        pki.path("ca.crt"),
        authorizer.address
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_it_has_to_be_who_it_should_be_and_so_has_the_proxy() {
    let (pki, authorizer) = (Pki::new(), Authorizer::start(yes()));
    let front = secured(&pki, &authorizer);
    let stranger = Pki::new();
    let outcome = |tls: String| {
        let external =
            format!("external: {{ address: '127.0.0.1:{}', timeout: 5s, tls: {tls} }}", front.port());
        let proxy = start(&config(&external, "127.0.0.1:1"));
        get(&proxy, "owner").status
    };
    let ca = pki.path("ca.crt");
    let own = format!("client_cert: '{}', client_key: '{}'", pki.path("proxy.crt"), pki.path("proxy.key"));
    let other = format!(
        "client_cert: '{}', client_key: '{}'",
        stranger.path("proxy.crt"),
        stranger.path("proxy.key")
    );
    assert_eq!(
        outcome(format!("{{ ca_cert: '{ca}', {own} }}")),
        404,
        "it says yes, and there is no such key"
    );
    assert_eq!(outcome(format!("{{ ca_cert: '{ca}', {own}, server_name: plugin.test }}")), 404);
    assert_eq!(authorizer.asked().len(), 2);
    for tls in [
        format!("{{ ca_cert: '{}', {own} }}", stranger.path("ca.crt")),
        format!("{{ ca_cert: '{ca}', {own}, server_name: other.test }}"),
        format!("{{ ca_cert: '{ca}' }}"),
        format!("{{ ca_cert: '{ca}', {other} }}"),
        "{ enabled: false }".to_owned(),
    ] {
        assert_eq!(outcome(tls.clone()), 503, "{tls}");
    }
    assert!(authorizer.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_are_a_thousand_questions() {
    let authorizer = Authorizer::start(yes());
    let proxy = start(&config(&at(&authorizer.address), "127.0.0.1:1"));
    let calls = (0..20).map(|_| async {
        let connection = http2::connect(proxy.port()).await;
        for _ in 0..50 {
            let head = http2::head(
                "/prism.kv.v1.KeyValueService/Set",
                &[("x-caller", "owner"), ("x-prism-namespace", "demo")],
            );
            let answer = connection.call(head, framed(b"\x0a\x01k\x12\x01v")).await.unwrap();
            assert_eq!(answer.code(), tonic::Code::Ok, "{answer:?}");
        }
    });
    wait::guard("the calls", futures_util::future::join_all(calls)).await;
    assert_eq!(authorizer.asked().len(), 1000);
    // By few connections: each worker has one.
    assert!(proxy.admin().metric("prism_authz_external_total", "allowed") >= 1000.0);
}

#[test]
fn check_and_the_start_tell_of_settings_that_cannot_work() {
    let dead = free_port();
    for (external, why) in [
        ("external: { address: 'authz.example:9191' }", "an authorizer on another host needs `tls`"),
        ("external: { address: 'a.example:1', tls: {} }", "`tls` needs a `ca_cert`"),
        ("external: { address: 'a.example:1', tls: { ca_cert: nothing.crt } }", "nothing.crt"),
        ("external: { address: 'unix:/a', tls: { ca_cert: a } }", "not secured by TLS"),
        ("external: { address: '127.0.0.1:1', timeout: 1m }", "`timeout` is not within"),
        ("external: { address: '127.0.0.1:1', headers: [authorization] }", "told to nobody"),
        ("external: { address: '127.0.0.1:1', failure_mode_allow: true }", "failure_mode_allow"),
        ("external: { }", "address"),
        ("external: true", "external"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prism.yaml");
        let text = config(external, "127.0.0.1:1").replace("@listen@", "0");
        let text = text.replace("@admin@", "0").replace("@dir@", "run");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(tools::own("edge-that-believes"));
        let output = tools::output(command.args(["check", "-c"]).arg(&file));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success(), "{external}");
        assert!(said.contains(why), "{external}: {said}");
    }
    // That nobody listens there yet is not a reason not to start.
    let proxy = start(&config(&at(&format!("127.0.0.1:{dead}")), "127.0.0.1:1"));
    assert_eq!(get(&proxy, "owner").expect(503).json()["reason"], "AUTHZ_UNAVAILABLE");
}
