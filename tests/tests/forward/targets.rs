//! Services of every kind: behind TLS, a plugin's process, another proxy.

use super::{all_to, get, reason, routes};
use bytes::Bytes;
use prism_proto::kv::v1::{GetRequest, GetResponse, SetRequest, SetResponse};
use prism_tests::{
    Pki, Proxy, Sidecar, Start,
    backend::{Backend, Speaks},
    client::{http2, web},
    tools, wait, wire,
};
use std::process::Command;
use tonic::Code;

const RAW: [&str; 4] = ["-H", "content-type: application/octet-stream", "--data-binary", "hello"];

/// A proxy that serves the namespace `demo`, whoever asks, behind these filters: the service of another proxy.
fn behind(filters: &str) -> Proxy {
    Proxy::start(&format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters: [ {filters}trace: {{}}, plugin_dispatch: {{}} ]
    routes: [{{ match: {{}}, namespace: demo }}]
namespaces:
  - {{ name: demo, backend: memory }}
"
    ))
}

#[test]
fn a_target_is_reached_over_tls_and_no_other_certificate_is_taken() {
    let pki = Pki::new();
    let filter =
        format!("tls: {{ cert: '{}', key: '{}' }}, ", pki.path("plugin.crt"), pki.path("plugin.key"));
    let service = behind(&filter);
    for protocol in ["http1", "http2"] {
        let forward = |tls: &str| {
            let port = service.port();
            let target = format!("{{ address: '127.0.0.1:{port}', protocol: {protocol}, tls: {tls} }}");
            Proxy::start(&routes(&[format!("match: {{}}, forward: true, targets: [{target}]")]))
        };
        let ca = pki.path("ca.crt");
        for tls in
            [format!("{{ ca_cert: '{ca}' }}"), format!("{{ ca_cert: '{ca}', server_name: plugin.test }}")]
        {
            let proxy = forward(&tls);
            let _ = get(&proxy, "--http1.1", "/v1/demo/set?key=k", &RAW).expect(200);
        }
        let stranger = Pki::new();
        for tls in [
            format!("{{ ca_cert: '{}' }}", stranger.path("ca.crt")),
            format!("{{ ca_cert: '{ca}', server_name: other.test }}"),
            "{ enabled: false }".to_owned(),
        ] {
            let proxy = forward(&tls);
            // In clear, an HTTP/1.1 service is heard to answer something: an alert.
            let status = get(&proxy, "--http1.1", "/v1/demo/set?key=k", &RAW).status;
            assert!([502, 503].contains(&status), "{tls}: {status}");
        }
    }
    let missing = routes(&[
        "match: {}, forward: true, targets: [{ address: '127.0.0.1:1', tls: { ca_cert: /no/ca } }]".into(),
    ]);
    let mut refused = Start::new(&missing).without_ready().spawn();
    let status = wait::until("it should end", || refused.process.ended());
    assert!(!status.success());
    let log = refused.process.log();
    assert!(log.contains("listeners[0].routes[0]") && log.contains("/no/ca"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_s_own_process_can_be_forwarded_to() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("memory.sock");
    let _sidecar = Sidecar::memory(&socket);
    let route =
        "match: { grpc: { service: grpc.health.v1.Health } }, forward: true, plugin: cache".to_owned();
    let plugin = "match: { path_prefix: /prism.plugin. }, forward: true, plugin: cache".to_owned();
    let config = routes(&[route, plugin]);
    let config =
        format!("{config}plugins: [{{ name: cache, type: sidecar, socket: '{}' }}]\n", socket.display());
    let proxy = Proxy::start(&config);
    let connection = http2::connect(proxy.port()).await;
    let answer =
        connection.call(http2::head("/grpc.health.v1.Health/Check", &[]), wire::framed(b"")).await.unwrap();
    assert_eq!(answer.code(), Code::Ok);
    // Serving, as the plugin says of itself (`HealthCheckResponse.status`).
    assert_eq!(wire::messages(&answer.body), [[8, 1]]);
    for path in ["/prism.plugin.BackendPlugin/Describe", "/prism.plugin.BackendPlugin/Shutdown"] {
        let answer = connection.call(http2::head(path, &[]), wire::framed(b"")).await.unwrap();
        assert_eq!(answer.code(), Code::Unimplemented, "{path}");
    }
}

/// As the guide has it: for everybody, or for those who ask for one host.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_shows_its_methods_by_its_own_reflection() {
    let service = behind("");
    let target = format!("forward: true, targets: [{{ address: '127.0.0.1:{}' }}]", service.port());
    let list = |proxy: &Proxy, more: &[&str]| {
        let mut command = Command::new(tools::tool("grpcurl"));
        command.args(["-plaintext", "-max-time", "30"]).args(more);
        tools::succeed(command.arg(format!("127.0.0.1:{}", proxy.port())).arg("list"))
    };
    let kv = "prism.kv.v1.KeyValueService";
    let proxy = Proxy::start(&routes(&[format!("match: {{ path_prefix: /grpc.reflection. }}, {target}")]));
    assert!(list(&proxy, &[]).contains(kv));
    // `ListServices`, over both of its versions.
    let connection = http2::connect(proxy.port()).await;
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let answer =
            connection.call(http2::head(&path, &[]), wire::framed(&wire::field(7, b""))).await.unwrap();
        assert!(String::from_utf8_lossy(&answer.body).contains(kv), "{version}: {answer:?}");
    }
    let proxy = Proxy::start(&routes(&[
        "match: {}".to_owned(),
        format!("match: {{ host: orders.example.com, path_prefix: /grpc.reflection. }}, {target}"),
    ]));
    assert!(!list(&proxy, &[]).contains(kv));
    assert!(list(&proxy, &["-authority", "orders.example.com"]).contains(kv));
}

#[test]
fn grpc_web_is_grpc_for_a_service_too() {
    let service = behind("");
    let target = format!("targets: [{{ address: '127.0.0.1:{}' }}]", service.port());
    let route = format!(
        "    routes:\n      - {{ match: {{ grpc: {{ service: prism.kv.v1.KeyValueService }} }}, forward: true, {target} }}\n"
    );
    let proxy = Proxy::start(&web::config(web::APP).replace("    routes:\n", &route));
    for way in web::ways(&proxy) {
        let set = SetRequest { key: "k".into(), value: "v".into(), ..SetRequest::default() };
        let set: SetResponse = way.message("/prism.kv.v1.KeyValueService/Set", &[], &set);
        assert!(set.applied);
        let get = GetRequest { key: "k".into(), ..GetRequest::default() };
        let got: GetResponse = way.message("/prism.kv.v1.KeyValueService/Get", &[], &get);
        assert_eq!(got.value, "v");
    }
}

#[tokio::test]
async fn grpc_needs_a_service_that_speaks_http2() {
    let backend = Backend::start(Speaks::Http1);
    let proxy = Proxy::start(&routes(&[all_to(&backend, "http1")]));
    let connection = http2::connect(proxy.port()).await;
    let answer = connection.call(http2::head("/a.B/C", &[]), wire::framed(b"x")).await.unwrap();
    assert_eq!(answer.code(), Code::Unimplemented);
    assert!(backend.requests().is_empty());
}

#[tokio::test]
async fn a_grpc_call_without_a_route_and_one_to_a_service_that_is_away() {
    let mut backend = Backend::start(Speaks::Http2);
    let route = format!(
        "match: {{ grpc: {{ service: a.B, method: C }} }}, forward: true, targets: [{{ address: '{}' }}]",
        backend.address
    );
    let proxy = Proxy::start(&routes(&[route]));
    let connection = http2::connect(proxy.port()).await;
    for path in ["/a.B/D", "/a.Bc/C", "/b.B/C"] {
        let answer = connection.call(http2::head(path, &[]), wire::framed(b"x")).await.unwrap();
        assert_eq!(answer.code(), Code::Unimplemented, "{path}");
    }
    backend.stop();
    let answer = connection.call(http2::head("/a.B/C", &[]), wire::framed(b"x")).await.unwrap();
    assert_eq!(answer.code(), Code::Unavailable);
    // Not gRPC: the route is not for it.
    let request = http::Request::get("http://a.example/a.B/C").body(()).unwrap();
    let answer = connection.call(request, Bytes::new()).await.unwrap();
    assert_eq!(answer.status, 404);
}

#[test]
fn grpc_over_http1_is_refused_however_it_is_written() {
    let backend = Backend::start(Speaks::Http2);
    let proxy = Proxy::start(&routes(&[all_to(&backend, "http2")]));
    for content_type in ["application/grpc", "Application/GRPC+proto"] {
        let header = format!("content-type: {content_type}");
        let answer = get(&proxy, "--http1.1", "/a.B/C", &["-H", &header, "--data-binary", "x"]).expect(415);
        assert_eq!(reason(&answer), "UNSUPPORTED_MEDIA_TYPE", "{content_type}");
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn connections_made_with_certificates_of_before_are_not_used_any_more() {
    let pki = Pki::new();
    let filter =
        format!("tls: {{ cert: '{}', key: '{}' }}, ", pki.path("plugin.crt"), pki.path("plugin.key"));
    let service = behind(&filter);
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    for protocol in ["http1", "http2"] {
        std::fs::copy(pki.path("ca.crt"), &ca).unwrap();
        let target = format!(
            "{{ address: '127.0.0.1:{}', protocol: {protocol}, tls: {{ ca_cert: '{}' }} }}",
            service.port(),
            ca.display()
        );
        let proxy = Proxy::start(&routes(&[format!("match: {{}}, forward: true, targets: [{target}]")]));
        let status = || get(&proxy, "--http1.1", "/v1/demo/set?key=k", &RAW).status;
        assert_eq!(status(), 200, "{protocol}");
        std::fs::copy(Pki::new().path("ca.crt"), &ca).unwrap();
        wait::until("the service is not trusted any more", || (status() == 503).then_some(()));
    }
}

#[test]
fn a_service_of_plain_http_is_told_apart_from_one_that_is_away() {
    let backend = Backend::start(Speaks::Http1);
    let proxy = Proxy::start(&routes(&[all_to(&backend, "http2")]));
    let _ = get(&proxy, "--http1.1", "/", &[]).expect(503);
    wait::until("the log should say how to write it", || {
        let log = proxy.process.log();
        let told = log.lines().find(|line| line.contains("a service cannot be connected to"))?;
        told.contains("written with `protocol: http1`").then_some(())
    });
}
