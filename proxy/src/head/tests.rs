//! What is read off a request's head, and above all what is not believed.

use super::*;
use http::HeaderValue;
use proptest::prelude::*;

fn limits() -> Limits {
    Limits::new(&prism_config::Listener::default())
}

fn request(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::post(path).version(Version::HTTP_2);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const EXECUTE: &str = "/prism.data.v1.DataService/Execute";

fn read(path: &str, headers: &[(&str, &str)]) -> Head {
    Head::read(&mut request(path, headers), None, &limits())
}

fn refused(path: &str, headers: &[(&str, &str)]) -> Option<Reason> {
    read(path, headers).refusal.map(|refusal| refusal.reason())
}

#[test]
fn a_data_call_names_its_namespace_once() {
    let head = read(EXECUTE, &[GRPC, ("x-prism-namespace", "demo")]);
    assert_eq!((head.target, &*head.namespace), (Target::Data(Rpc::Unary), "demo"));
    assert!(head.refusal.is_none());
    assert_eq!(read(EXECUTE, &[GRPC]).namespace, "");

    for wrong in [
        &[("x-prism-namespace", "demo"), ("x-prism-namespace", "demo")][..],
        &[("x-prism-namespace", "demo"), ("X-Prism-Namespace", "other")],
        &[("x-prism-namespace", "")],
        &[("x-prism-namespace", "Demo")],
        &[("x-prism-namespace", "-demo")],
        &[("x-prism-namespace", "a/b")],
        &[("x-prism-namespace", "demo, other")],
        &[("x-prism-namespace", &"a".repeat(64))],
    ] {
        let headers: Vec<_> = std::iter::once(GRPC).chain(wrong.iter().copied()).collect();
        assert_eq!(refused(EXECUTE, &headers), Some(Reason::InvalidNamespace), "{wrong:?}");
        assert_eq!(read(EXECUTE, &headers).namespace, "", "{wrong:?}");
    }
    let bytes = HeaderValue::from_bytes(b"d\xc3\xa9mo").unwrap();
    let mut request = request(EXECUTE, &[GRPC]);
    request.headers_mut().insert("x-prism-namespace", bytes);
    assert!(Head::read(&mut request, None, &limits()).refusal.is_some());
}

#[test]
fn route_path_and_header_must_agree() {
    let route = Route::new(Some("set-by-route".into()), std::sync::Arc::new([]), Default::default());
    let with = |path: &str, headers: &[(&str, &str)]| {
        Head::read(&mut request(path, headers), Some(&route), &limits())
    };
    assert_eq!(with(EXECUTE, &[GRPC]).namespace, "set-by-route");
    assert!(with(EXECUTE, &[GRPC, ("x-prism-namespace", "set-by-route")]).refusal.is_none());
    for head in [
        with(EXECUTE, &[GRPC, ("x-prism-namespace", "other")]),
        with("/v1/other/get", &[]),
        read("/v1/demo/get", &[("x-prism-namespace", "other")]),
    ] {
        assert_eq!(head.refusal.unwrap().reason(), Reason::InvalidNamespace);
    }
}

#[test]
fn claims_of_trusted_context_are_dropped() {
    let mut request = request(
        EXECUTE,
        &[
            GRPC,
            ("x-prism-namespace", "demo"),
            ("x-prism-principal", "admin"),
            ("X-PRISM-Instance", "7"),
            ("x_prism_principal", "admin"),
            ("x-prism_principal", "admin"),
            ("x-prism", "stays"),
            ("x-prismatic", "stays"),
            ("user-agent", "stays"),
        ],
    );
    let head = Head::read(&mut request, None, &limits());
    assert_eq!(head.namespace, "demo");
    let mut left: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["content-type", "user-agent", "x-prism", "x-prismatic"]);
}

#[test]
fn a_gateway_path_has_one_form() {
    let head = read("/v1/demo/get", &[]);
    assert_eq!((head.target, &*head.namespace, &*head.operation), (Target::Gateway, "demo", "get"));
    for path in [
        "/v1/",
        "/v1/demo/",
        "/v1//get",
        "/v1/demo//get",
        "/v1/demo/get/",
        "/v1/demo/get/more",
        "/v1/demo/a%2fb",
        "/v1/demo/a%2Fb",
        "/v1/a%2fb/get",
        "/v1/demo/..",
        "/v1/../get",
        "/v1/demo/%2e%2e",
        "/v1/%64emo/get",
        "/v1/demo/multi%5Fget",
        "/v1/demo/%00",
        "/v1/demo/%ff",
        "/v1/demo/a%5cb",
    ] {
        assert_eq!(refused(path, &[]), Some(Reason::MalformedPath), "{path}");
    }
    for path in ["/", "/v1", "/v10/demo/get", "/V1/demo/get", "//v1/demo/get"] {
        assert_eq!(read(path, &[]).target, Target::Nothing, "{path}");
    }
}

#[test]
fn a_grpc_method_is_called_as_grpc() {
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
        assert!(read(EXECUTE, &[("content-type", content_type)]).refusal.is_none(), "{content_type}");
    }
    for content_type in ["application/grpc-web", "application/grpcx", "application/json", "text/plain"] {
        let head = read(EXECUTE, &[("content-type", content_type)]);
        assert_eq!(head.protocol, Protocol::Http);
        assert_eq!(head.refusal.unwrap().reason(), Reason::UnsupportedMediaType, "{content_type}");
    }
    let mut get = request(EXECUTE, &[GRPC]);
    *get.method_mut() = Method::GET;
    let refusal = Head::read(&mut get, None, &limits()).refusal.unwrap();
    assert_eq!(refusal.reason(), Reason::MethodNotAllowed);
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_read_to_the_letter() {
    for (text, expected) in [
        ("1H", Duration::from_secs(3600)),
        ("2M", Duration::from_secs(120)),
        ("3S", Duration::from_secs(3)),
        ("4m", Duration::from_millis(4)),
        ("5u", Duration::from_micros(5)),
        ("99999999n", Duration::from_nanos(99_999_999)),
        ("0S", Duration::ZERO),
    ] {
        let head = read(EXECUTE, &[GRPC, ("grpc-timeout", text)]);
        assert_eq!(head.deadline, Some(Instant::now() + expected), "{text}");
    }
    for text in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", " 1S", "1 S", "1é"] {
        let mut request = request(EXECUTE, &[GRPC]);
        request.headers_mut().insert("grpc-timeout", HeaderValue::from_bytes(text.as_bytes()).unwrap());
        let refusal = Head::read(&mut request, None, &limits()).refusal;
        assert_eq!(refusal.map(|refusal| refusal.reason()), Some(Reason::MalformedTimeout), "{text:?}");
    }
}

#[test]
fn http1_requests_are_framed_one_way_and_carry_no_grpc() {
    let refused = |headers: &[(&str, &str)]| {
        let mut request = request("/v1/demo/get", headers);
        *request.version_mut() = Version::HTTP_11;
        Head::read(&mut request, None, &limits()).refusal.map(|refusal| refusal.reason())
    };
    assert_eq!(refused(&[("host", "x")]), None);
    assert_eq!(refused(&[("host", "x"), ("transfer-encoding", "Chunked")]), None);
    for headers in [
        &[][..],
        &[("host", "x"), ("host", "x")],
        &[("host", "x"), ("transfer-encoding", "gzip, chunked")],
        &[("host", "x"), ("transfer-encoding", "chunked"), ("transfer-encoding", "identity")],
    ] {
        assert_eq!(refused(headers), Some(Reason::MalformedHeaders), "{headers:?}");
    }
    let mut call = request(EXECUTE, &[GRPC, ("host", "x")]);
    *call.version_mut() = Version::HTTP_11;
    let head = Head::read(&mut call, None, &limits());
    assert_eq!(
        (head.protocol, head.refusal.unwrap().reason()),
        (Protocol::Http, Reason::UnsupportedMediaType)
    );
}

#[test]
fn too_many_header_fields_are_refused() {
    let names: Vec<String> = (0..101).map(|number| format!("x-field-{number}")).collect();
    let headers: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(refused("/", &headers), Some(Reason::HeadersTooLarge));
    assert_eq!(refused("/", &headers[..100]), None);
}

proptest! {
    #[test]
    fn no_path_or_header_panics(path in "/[ -~]{0,40}", namespace in "[ -~]{0,70}", timeout in "[ -~]{0,12}") {
        let built = Request::post(path).header("x-prism-namespace", namespace).header("grpc-timeout", timeout);
        if let Ok(mut request) = built.body(Body::empty()) {
            let head = Head::read(&mut request, None, &limits());
            prop_assert!(head.namespace.is_empty() || is_namespace(&head.namespace));
            prop_assert!(!head.operation.contains('/'));
        }
    }
}

/// As it is when `grpc_web` is in the request's chain.
fn translated(content_type: &str, version: Version, hosts: usize) -> Head {
    let mut request = request(EXECUTE, &[("content-type", content_type)]);
    *request.version_mut() = version;
    for _ in 0..hosts {
        request.headers_mut().append("host", HeaderValue::from_static("edge"));
    }
    let cx = prism_filters::BuildContext {
        platform: &prism_platform::Platform::system(),
        metrics: &std::sync::Arc::new(prism_filters::metrics::Metrics::new().unwrap()),
        base_dir: std::path::Path::new("."),
        listener: "edge",
        changes: &prism_filters::Changes::default(),
        services: &prism_filters::NoServices,
    };
    let filter = prism_filters::registry::builtin().build("grpc_web", &serde_json::Value::Null, &cx, None);
    let _ = prism_filters::arrive(&[filter.unwrap()], &mut request);
    Head::read(&mut request, None, &limits())
}

#[test]
fn grpc_web_is_grpc_over_either_version_and_http_1_1_all_the_same() {
    for (content_type, version, hosts) in [
        ("application/grpc-web", Version::HTTP_11, 1),
        ("application/grpc-web-text+proto", Version::HTTP_11, 1),
        ("application/grpc-web+proto", Version::HTTP_2, 0),
        ("application/grpc", Version::HTTP_2, 0),
    ] {
        let head = translated(content_type, version, hosts);
        assert!(head.refusal.is_none(), "{content_type}: {:?}", head.refusal);
        assert_eq!((head.protocol, head.target), (Protocol::Grpc, Target::Data(Rpc::Unary)));
    }
    for (content_type, version, hosts, why) in [
        ("application/grpc", Version::HTTP_11, 1, Reason::UnsupportedMediaType),
        ("application/grpc-webs", Version::HTTP_11, 1, Reason::UnsupportedMediaType),
        ("application/grpc-webs", Version::HTTP_2, 0, Reason::UnsupportedMediaType),
        ("text/plain", Version::HTTP_11, 1, Reason::UnsupportedMediaType),
        ("application/grpc-web", Version::HTTP_11, 0, Reason::MalformedHeaders),
        ("application/grpc-web", Version::HTTP_11, 2, Reason::MalformedHeaders),
    ] {
        let head = translated(content_type, version, hosts);
        assert_eq!(head.refusal.map(|refusal| refusal.reason()), Some(why), "{content_type} {hosts}");
        // "A server MUST respond with a 400 (Bad Request) status code" (RFC 9112, section 3.2).
        assert_eq!(head.protocol, Protocol::Http);
    }
}
