//! What other people's programs say of us: h2spec, promtool, grpcurl.

use prism_tests::{DEMO, Proxy, client::grpc::Client, h2spec, tools};
use std::{
    fs::File,
    process::{Command, Stdio},
};

#[test]
fn h2spec_passes_every_case() {
    let (configuration, _service) = h2spec::passed_on(DEMO);
    let proxy = Proxy::start(&configuration);
    h2spec::passes_every_case(proxy.port(), &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_accepts_the_metrics() {
    let proxy = Proxy::start(DEMO);
    let client = Client::new(proxy.port(), "demo");
    client.set("key", "value").await.unwrap();
    client.set("", "value").await.unwrap_err();
    Client::new(proxy.port(), "nobody").get("key").await.unwrap_err();
    let answer = proxy.admin().get("/metrics").expect(200);
    let file = proxy.folder().join("metrics");
    std::fs::write(&file, &answer.body).unwrap();
    assert!(answer.text().lines().filter(|line| !line.starts_with('#')).count() > 5, "{}", answer.text());
    let mut command = Command::new(tools::tool("promtool"));
    command.args(["check", "metrics"]).stdin(Stdio::from(File::open(file).unwrap()));
    let output = tools::output(&mut command);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}\n{}", answer.text());
}

/// Runs grpcurl against a proxy.
fn grpcurl(proxy: &Proxy, before: &[&str], after: &[&str]) -> String {
    let mut command = Command::new(tools::tool("grpcurl"));
    command.args(["-plaintext", "-max-time", "30"]).args(before);
    command.arg(format!("127.0.0.1:{}", proxy.port())).args(after);
    tools::succeed(&mut command)
}

#[test]
fn reflection_shows_what_can_be_called_and_nothing_else() {
    let proxy = Proxy::start(DEMO);
    let services = grpcurl(&proxy, &[], &["list"]);
    let services: Vec<&str> = services.lines().collect();
    assert!(services.contains(&"prism.data.v1.DataService"), "{services:?}");
    assert!(services.contains(&"grpc.health.v1.Health"), "{services:?}");
    assert!(!services.iter().any(|name| name.starts_with("prism.plugin.")), "{services:?}");
    let service = grpcurl(&proxy, &[], &["describe", "prism.data.v1.DataService"]);
    assert!(service.contains("rpc Execute ( .prism.plugin.ExecuteRequest )"), "{service}");
    let message = grpcurl(&proxy, &[], &["describe", "prism.plugin.ExecuteRequest"]);
    assert!(message.contains("string operation = 1"), "{message}");
}

/// With no file at hand: what the namespace has is asked of the listener.
#[test]
fn a_namespace_shows_its_services_and_they_are_called_by_name() {
    let proxy = Proxy::start(DEMO);
    let demo = ["-H", "x-prism-namespace: demo"];
    let service = "prism.kv.v1.KeyValueService";
    let services = grpcurl(&proxy, &demo, &["list"]);
    let services: Vec<&str> = services.lines().collect();
    assert!(services.contains(&service) && services.contains(&"prism.data.v1.DataService"), "{services:?}");
    assert!(!grpcurl(&proxy, &[], &["list"]).contains(service), "nobody asked for a namespace");
    let methods = grpcurl(&proxy, &demo, &["list", service]);
    assert_eq!(methods.lines().count(), 7, "{methods}");
    let described = grpcurl(&proxy, &demo, &["describe", &format!("{service}.Set")]);
    assert!(described.contains("rpc Set ( .prism.kv.v1.SetRequest )"), "{described}");

    let call = |method: &str, message: &str| {
        let arguments = [&demo[..], &["-d", message]].concat();
        grpcurl(&proxy, &arguments, &[&format!("{service}/{method}")])
    };
    assert!(call("Set", r#"{"key": "greeting", "value": "aGVsbG8="}"#).contains("\"applied\": true"));
    assert!(call("Get", r#"{"key": "greeting"}"#).contains("aGVsbG8="));

    let health = |namespace: &str, service: &str| {
        let header = format!("x-prism-namespace: {namespace}");
        let mut command = Command::new(tools::tool("grpcurl"));
        command.args([
            "-plaintext",
            "-max-time",
            "30",
            // Reflection about a namespace that there is not is refused as well.
            "-rpc-header",
            &header,
            "-d",
            &format!("{{\"service\": \"{service}\"}}"),
        ]);
        command.arg(format!("127.0.0.1:{}", proxy.port())).arg("grpc.health.v1.Health/Check");
        let output = tools::output(&mut command);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert!(health("demo", "").contains("\"SERVING\""));
    assert!(health("demo", service).contains("\"SERVING\""));
    assert!(health("demo", "prism.sql.v1.SqlService").contains("NotFound"));
    assert!(health("nobody", "").contains("there is no namespace"), "{}", health("nobody", ""));
}

#[test]
fn grpcurl_sets_and_gets() {
    let proxy = Proxy::start(DEMO);
    let call = |message: &str| {
        let namespace = "x-prism-namespace: demo";
        grpcurl(&proxy, &["-H", namespace, "-d", message], &["prism.data.v1.DataService/Execute"])
    };
    // `hello` and `greeting` in base64, as protobuf's JSON mapping has bytes.
    call(r#"{"operation": "set", "rawParams": "aGVsbG8=", "metadata": {"key": "greeting"}}"#);
    let answer = call(r#"{"operation": "get", "rawParams": "Z3JlZXRpbmc="}"#);
    assert!(answer.contains("aGVsbG8="), "{answer}");
}

#[test]
fn grpcurl_calls_with_typed_parameters() {
    let proxy = Proxy::start(DEMO);
    let call = |message: &str| {
        let namespace = "x-prism-namespace: demo";
        grpcurl(&proxy, &["-H", namespace, "-d", message], &["prism.data.v1.DataService/Execute"])
    };
    call(
        r#"{"operation": "set", "typedParams":
            {"@type": "type.googleapis.com/prism.kv.v1.SetRequest", "key": "greeting", "value": "aGVsbG8="}}"#,
    );
    let answer = call(
        r#"{"operation": "get", "typedParams":
            {"@type": "type.googleapis.com/prism.kv.v1.GetRequest", "key": "greeting"}}"#,
    );
    assert!(answer.contains("aGVsbG8="), "{answer}");
}

#[test]
fn the_health_service_answers() {
    let proxy = Proxy::start(DEMO);
    let health = grpcurl(&proxy, &[], &["grpc.health.v1.Health/Check"]);
    assert!(health.contains("SERVING"), "{health}");
}
