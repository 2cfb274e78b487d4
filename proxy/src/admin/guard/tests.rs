use super::*;
use serde_json::json;

const VIEWER: &str = "viewer-k7Qm2xZp9RtYvB4nL8sWc3Df";
const OPERATOR: &str = "operator-k7Qm2xZp9RtYvB4nL8sWc3Df";
const ADMIN: &str = "admin-k7Qm2xZp9RtYvB4nL8sWc3Df";
const DIGESTS: [&str; 3] = [
    "e3bfab31703fe019d559fa9dcc3e392e6e29a3cd28d74ed8694772540339a814",
    "7ad74cb0c8efb13356f4d25cf750da0d1be14c4daee0cf590453a3fd11092621",
    "55bd837d60418ff9b53f6581f8171bd751395667b8ffb575039e8fb20359cea3",
];

/// With a token for each role.
fn guarded() -> Admin {
    let token = |name: &str, digest: &str| json!({ "name": name, "sha256": digest, "role": name });
    let tokens = [token("viewer", DIGESTS[0]), token("operator", DIGESTS[1]), token("admin", DIGESTS[2])];
    serde_json::from_value(json!({ "tokens": tokens })).unwrap()
}

fn at(address: &str) -> Admin {
    serde_json::from_value(json!({ "address": address })).unwrap()
}

fn peer(private: bool) -> Peer {
    Peer { name: "tcp:10.0.0.9:1".to_owned(), way: Way::Tcp { private }, client: None }
}

/// Without a certificate.
fn admit(peer: &Peer, admin: &Admin, request: &Request<()>) -> Result<Caller, Refused> {
    super::admit(peer, &Shown::Nothing, admin, request)
}

/// A request with these header fields; `host: localhost` where none is given.
fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(target);
    if fields.iter().all(|(name, _)| *name != "host") {
        request = request.header("host", "localhost:50052");
    }
    for (name, value) in fields.iter().filter(|(_, value)| *value != "(none)") {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn refused(admin: &Admin, private: bool, request: &Request<()>) -> (u16, &'static str) {
    let refused = admit(&peer(private), admin, request).expect_err("it should be refused");
    for secret in [VIEWER, OPERATOR, ADMIN] {
        assert!(!format!("{refused:?}").contains(&secret[..16]), "{refused:?}");
    }
    (refused.status.as_u16(), refused.reason)
}

#[test]
fn each_role_does_what_is_its_own_and_no_more() {
    let admin = guarded();
    let yaml = ("content-type", "application/yaml");
    for (token, role) in [(VIEWER, 0), (OPERATOR, 1), (ADMIN, 2)] {
        let bearer = format!("Bearer {token}");
        let ask = |method: &str, target: &str| {
            admit(&peer(true), &admin, &request(method, target, &[("authorization", &bearer), yaml]))
        };
        for (method, target, least) in [
            ("GET", "/config", 0),
            ("HEAD", "/namespaces", 0),
            ("GET", "/nothing", 0),
            ("PUT", "/config?dry_run=true", 1),
            ("PUT", "/config?dry_run=true&require_healthy=false", 1),
            // Whoever reads the query refuses these.
            ("PUT", "/config?dry_run=true&dry_run=false", 1),
            ("PUT", "/config?dry_run=1", 1),
            ("PUT", "/config", 2),
            ("PUT", "/config?require_healthy=true", 2),
            ("PUT", "/config?dry_run=false", 2),
            ("PUT", "//config?dry_run=true", 2),
            ("PUT", "/config/?dry_run=true", 2),
            ("POST", "/config?dry_run=true", 2),
            ("DELETE", "/config", 2),
            ("OPTIONS", "/config", 2),
            ("TRACE", "/config", 2),
        ] {
            match ask(method, target) {
                Ok(caller) => {
                    assert!(role >= least, "{method} {target}: {token}");
                    assert!(
                        caller.name.starts_with("token:") && token.starts_with(&caller.name[6..]),
                        "{caller:?}"
                    );
                }
                Err(refused) => {
                    assert!(role < least, "{method} {target}: {refused:?}");
                    assert_eq!((refused.status.as_u16(), refused.reason), (403, "role"));
                    assert!(refused.who.starts_with("token:"), "{refused:?}");
                }
            }
        }
    }
}

#[test]
fn nobody_comes_in_without_a_token() {
    let admin = guarded();
    let none: &[(&str, &str)] = &[];
    let bearer = |token: &str| format!("Bearer {token}");
    let (truncated, longer) = (bearer(&ADMIN[..ADMIN.len() - 1]), bearer(&format!("{ADMIN}f")));
    let (upper, good) = (bearer(&ADMIN.to_uppercase()), bearer(ADMIN));
    for (fields, reason) in [
        (none, "no_token"),
        (&[("authorization", &*truncated)], "bad_token"),
        (&[("authorization", &*longer)], "bad_token"),
        (&[("authorization", &*upper)], "bad_token"),
        (&[("authorization", "Bearer")], "bad_token"),
        (&[("authorization", "Bearer ")], "bad_token"),
        (&[("authorization", ADMIN)], "bad_token"),
        (&[("authorization", "Basic YWRtaW46YWRtaW4=")], "bad_token"),
        (&[("authorization", &*good), ("authorization", &*good)], "bad_token"),
        (&[("authorization", &*upper), ("authorization", &*good)], "bad_token"),
        (&[("x-api-key", ADMIN)], "no_token"),
        (&[("cookie", &*good)], "no_token"),
        (&[("proxy-authorization", &*good)], "no_token"),
    ] {
        // One answer for what is there, for what is not, and for what is nearly there.
        for (method, target) in [
            ("GET", "/config"),
            ("GET", "/metrics"),
            ("GET", "/nothing"),
            ("GET", "//healthz"),
            ("GET", "/healthz/"),
            ("GET", "/ready/../config"),
            ("GET", "/%68ealthz"),
            ("GET", &format!("/config?access_token={ADMIN}")),
            ("HEAD", "/config"),
            ("OPTIONS", "/config"),
            ("OPTIONS", "/healthz"),
            ("POST", "/ready"),
            ("PUT", "/config"),
            ("PUT", "/config?dry_run=true"),
        ] {
            let asked = request(method, target, fields);
            assert_eq!(refused(&admin, true, &asked), (401, reason), "{method} {target} {fields:?}");
        }
    }
}

#[test]
fn a_token_is_nothing_where_others_read_along() {
    let good = format!("Bearer {ADMIN}");
    for (method, target) in [("GET", "/config"), ("PUT", "/config")] {
        let asked =
            request(method, target, &[("authorization", &good), ("content-type", "application/json")]);
        assert_eq!(refused(&guarded(), false, &asked), (403, "cleartext"));
    }
    for (address, private) in [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("10.0.0.9:1", false),
        ("[::ffff:10.0.0.9]:1", false),
        ("[2001:db8::1]:1", false),
    ] {
        assert_eq!(Way::tcp(Some(address.parse().unwrap()), false), Way::Tcp { private }, "{address}");
        assert_eq!(Way::tcp(Some(address.parse().unwrap()), true), Way::Tcp { private: true }, "{address}");
    }
    assert_eq!(Way::tcp(None, false), Way::Tcp { private: false });
}

#[test]
fn probes_need_no_token_and_are_told_no_names() {
    let mut admin = guarded();
    for target in ["/healthz", "/ready"] {
        for method in ["GET", "HEAD"] {
            let caller = admit(&peer(false), &admin, &request(method, target, &[])).unwrap();
            assert_eq!(caller, Caller { name: "tcp:10.0.0.9:1".to_owned(), may_read: false });
        }
    }
    let metrics = request("GET", "/metrics", &[]);
    assert_eq!(refused(&admin, true, &metrics), (401, "no_token"));
    admin.open_metrics = true;
    assert!(!admit(&peer(false), &admin, &metrics).unwrap().may_read);
    assert_eq!(refused(&admin, true, &request("POST", "/metrics", &[])), (401, "no_token"));
}

#[test]
fn without_tokens_the_address_only_answers() {
    let admin = Admin::default();
    for target in ["/config", "/ready", "/nothing"] {
        let caller = admit(&peer(false), &admin, &request("GET", target, &[])).unwrap();
        assert_eq!(caller, Caller { name: "tcp:10.0.0.9:1".to_owned(), may_read: true });
    }
    let good = format!("Bearer {ADMIN}");
    let fields = [("authorization", &*good), ("content-type", "application/json")];
    for (method, target) in [("PUT", "/config"), ("PUT", "/config?dry_run=true"), ("POST", "/config")] {
        assert_eq!(refused(&admin, true, &request(method, target, &fields)), (403, "read_only"));
    }
}

#[test]
fn the_socket_needs_nothing() {
    let owner = Peer { name: "uid:7".to_owned(), way: Way::Socket, client: None };
    for fields in
        [&[][..], &[("host", "(none)")], &[("host", "evil.example"), ("origin", "http://evil.example")]]
    {
        let caller = admit(&owner, &guarded(), &request("PUT", "/config", fields)).unwrap();
        assert_eq!(caller, Caller { name: "uid:7".to_owned(), may_read: true });
    }
}

#[test]
fn a_web_page_changes_nothing() {
    let good = format!("Bearer {ADMIN}");
    let yaml = ("content-type", "application/yaml");
    for origin in ["http://localhost:50052", "null", "https://evil.example", ""] {
        let fields = [("authorization", &*good), yaml, ("origin", origin)];
        assert_eq!(refused(&guarded(), true, &request("PUT", "/config", &fields)), (403, "origin"));
        assert_eq!(refused(&guarded(), true, &request("OPTIONS", "/config", &fields[1..])), (403, "origin"));
        assert!(admit(&peer(true), &guarded(), &request("GET", "/config", &fields)).is_ok());
    }
    for kind in [
        "(none)",
        "",
        "text/plain",
        "text/plain; application/yaml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/yamlx",
        "application/json-patch+json",
        "application/yaml, text/plain",
    ] {
        let fields = [("authorization", &*good), ("content-type", kind)];
        for target in ["/config", "/config?dry_run=true"] {
            let asked = request("PUT", target, &fields);
            assert_eq!(refused(&guarded(), true, &asked), (415, "content_type"), "{kind}");
        }
    }
    let twice = [("authorization", &*good), yaml, ("content-type", "text/plain")];
    assert_eq!(refused(&guarded(), true, &request("PUT", "/config", &twice)), (415, "content_type"));
    for kind in
        ["application/yaml", "Application/JSON", "application/json; charset=utf-8", "application/json ;a=b"]
    {
        let fields = [("authorization", &*good), ("content-type", kind)];
        assert!(admit(&peer(true), &guarded(), &request("PUT", "/config", &fields)).is_ok(), "{kind}");
    }
}

#[test]
fn a_name_that_was_pointed_here_is_refused() {
    let mut admin = at("127.0.0.1:50052");
    admin.hosts = vec!["edge.example.com".parse().unwrap(), "10.0.0.7".parse().unwrap()];
    let ask =
        |admin: &Admin, host: &str| admit(&peer(true), admin, &request("GET", "/healthz", &[("host", host)]));
    for host in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.0.0.1:50052",
        "[::1]:9",
        "edge.example.com",
        "Edge.Example.com:80",
        "10.0.0.7:1",
    ] {
        assert!(ask(&admin, host).is_ok(), "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:50052",
        "localhost.evil.example",
        "localhost.",
        "evil-edge.example.com",
        "edge.example.com.evil.example",
        "10.0.0.8",
        "0.0.0.0",
        "127.0.0.2",
        "127.1",
        "2130706433",
        "0x7f000001",
        "[::2]",
        "[::ffff:10.0.0.8]",
        "localhost@evil.example",
        "user@localhost",
    ] {
        let refused = ask(&admin, host).expect_err(host);
        assert_eq!((refused.status.as_u16(), refused.reason), (421, "host"), "{host}");
    }
    for host in ["", "a b", "localhost,evil.example", "http://localhost", "localhost/", "[::1"] {
        let refused = ask(&admin, host).expect_err(host);
        assert!(matches!(refused.status.as_u16(), 400 | 421), "{host}: {refused:?}");
    }
    // Where it listens everywhere, every address may be its own; no name is.
    let everywhere = at("0.0.0.0:50052");
    assert!(ask(&everywhere, "10.0.0.8:50052").is_ok() && ask(&everywhere, "[2001:db8::1]").is_ok());
    assert!(ask(&everywhere, "evil.example").is_err());
}

#[test]
fn a_request_is_for_one_host() {
    let admin = Admin::default();
    let two = request("GET", "/config", &[("host", "localhost"), ("host", "localhost")]);
    assert_eq!(refused(&admin, true, &two), (400, "host"));
    let absent = [("host", "(none)")];
    assert_eq!(refused(&admin, true, &request("GET", "/config", &absent)), (400, "host"));
    // An absolute target says another one than the field, and the other way round.
    let evil = request("GET", "http://evil.example/config", &[]);
    assert_eq!(refused(&admin, true, &evil), (421, "host"));
    let evil = request("GET", "http://localhost/config", &[("host", "evil.example")]);
    assert_eq!(refused(&admin, true, &evil), (421, "host"));
    assert!(admit(&peer(true), &admin, &request("GET", "http://localhost:50052/config", &[])).is_ok());
    // Probes of HTTP/1.0.
    let mut old = request("GET", "/healthz", &absent);
    *old.version_mut() = Version::HTTP_10;
    assert!(admit(&peer(true), &admin, &old).is_ok());
    let mut old = request("PUT", "/config", &absent);
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(refused(&guarded(), true, &old), (400, "host"));
}

#[tokio::test(start_paused = true)]
async fn what_anybody_can_cause_is_told_once_a_second() {
    let seldom = Seldom::default();
    assert_eq!(seldom.due(), Some(0));
    for _ in 0..5 {
        assert_eq!(seldom.due(), None);
    }
    prism_platform::time::sleep(SELDOM).await;
    assert_eq!((seldom.due(), seldom.due()), (Some(5), None));
}

/// With a role for some certificates, and beside them the tokens of [`guarded`].
fn with_clients(tokens: bool) -> Admin {
    let clients = json!([
        { "principal": "spiffe://corp/**", "role": "viewer" },
        { "principal": "spiffe://corp/ops/*", "role": "operator" },
        { "principal": "dns:deploy.corp", "role": "admin" },
    ]);
    let admin: Admin = serde_json::from_value(json!({ "clients": clients })).unwrap();
    Admin { tokens: if tokens { guarded().tokens } else { Vec::new() }, ..admin }
}

fn principal(name: &str) -> Shown {
    Shown::Principal(name.to_owned())
}

#[test]
fn a_certificate_has_the_highest_role_that_an_entry_gives_it() {
    let yaml = ("content-type", "application/yaml");
    let asked = [("GET", "/config", 0), ("PUT", "/config?dry_run=true", 1), ("PUT", "/config", 2)];
    for tokens in [false, true] {
        let admin = with_clients(tokens);
        for (name, role) in [
            ("spiffe://corp/app", Some(0)),
            ("spiffe://corp/ops/alice/laptop", Some(0)),
            ("spiffe://corp/ops/alice", Some(1)),
            ("dns:deploy.corp", Some(2)),
            ("spiffe://corp.example/ops/alice", None),
            ("spiffe://corp", None),
            ("spiffe://other/corp/ops/alice", None),
            ("dns:corp", None),
            ("dns:deploy.corp.evil.example", None),
            ("dns:x.deploy.corp", None),
            ("cn:deploy.corp", None),
            ("dns:spiffe://corp/ops/alice", None),
        ] {
            for (method, target, least) in asked {
                let request = request(method, target, &[yaml]);
                match super::admit(&peer(true), &principal(name), &admin, &request) {
                    Ok(caller) => {
                        assert!(role.is_some_and(|role| role >= least), "{name} {method} {target}");
                        assert_eq!((&*caller.name, caller.may_read), (name, true));
                    }
                    Err(refused) => {
                        assert!(
                            role.is_none_or(|role| role < least),
                            "{name} {method} {target}: {refused:?}"
                        );
                        let expected = match role {
                            Some(_) => (403, "role", true),
                            None => (401, "unknown_certificate", false),
                        };
                        assert_eq!((refused.status.as_u16(), refused.reason, refused.known), expected);
                        assert_eq!(refused.who, name);
                        assert!(!refused.ends_connection);
                    }
                }
            }
        }
    }
}

#[test]
fn a_token_counts_alone_where_there_is_one() {
    let admin = with_clients(true);
    let bearer = |token: &str| format!("Bearer {token}");
    let ask = |shown: &Shown, token: &str, target: &str| {
        let fields = [("authorization", token), ("content-type", "application/yaml")];
        super::admit(&peer(true), shown, &admin, &request("PUT", target, &fields))
    };
    let best = principal("dns:deploy.corp");
    for token in [&*bearer("nobody-k7Qm2xZp9RtYvB4nL8sWc3Df"), "Basic eDp5", "Bearer ", &bearer(&ADMIN[1..])]
    {
        let refused = ask(&best, token, "/config").unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.reason), (401, "bad_token"), "{token}");
        // Without any tokens that could be right, too.
        let alone = with_clients(false);
        let request = request("GET", "/config", &[("authorization", token)]);
        assert_eq!(super::admit(&peer(true), &best, &alone, &request).unwrap_err().reason, "bad_token");
    }
    // What the certificate would permit does not add to what the token does.
    assert_eq!(ask(&best, &bearer(VIEWER), "/config").unwrap_err().reason, "role");
    for shown in [Shown::Nothing, principal("dns:nobody.corp"), Shown::Nobody("two URIs".into()), best] {
        assert_eq!(ask(&shown, &bearer(ADMIN), "/config").unwrap().name, "token:admin", "{shown:?}");
    }
}

#[test]
fn nobody_comes_in_by_a_certificate_that_says_nothing() {
    let get = request("GET", "/config", &[]);
    for tokens in [false, true] {
        let admin = with_clients(tokens);
        for (shown, reason) in
            [(Shown::Nothing, "no_token"), (Shown::Nobody("two URIs".into()), "unknown_certificate")]
        {
            let refused = super::admit(&peer(true), &shown, &admin, &get).unwrap_err();
            assert_eq!((refused.status.as_u16(), refused.reason, refused.known), (401, reason, false));
        }
        // In clear nobody has one, and nobody is asked.
        let refused = super::admit(&peer(false), &principal("dns:deploy.corp"), &admin, &get).unwrap_err();
        assert_eq!(refused.reason, "cleartext");
        assert!(
            !super::admit(&peer(true), &Shown::Nothing, &admin, &request("GET", "/ready", &[]))
                .unwrap()
                .may_read
        );
    }
    // Where none is named, one is as good as none.
    let refused = super::admit(&peer(true), &principal("dns:deploy.corp"), &guarded(), &get).unwrap_err();
    assert_eq!(refused.reason, "no_token");
    let put = request("PUT", "/config", &[]);
    let refused =
        super::admit(&peer(true), &principal("dns:deploy.corp"), &Admin::default(), &put).unwrap_err();
    assert_eq!(refused.reason, "read_only");
}

#[test]
fn who_would_not_be_let_in_any_more_is_refused_everything() {
    let ended = Shown::Ended("it was revoked".into());
    let bearer = format!("Bearer {ADMIN}");
    for admin in [with_clients(true), with_clients(false), guarded(), Admin::default()] {
        for target in ["/config", "/healthz", "/ready", "/metrics", "/nothing"] {
            for fields in [&[][..], &[("authorization", &*bearer)]] {
                let refused =
                    super::admit(&peer(true), &ended, &admin, &request("GET", target, fields)).unwrap_err();
                assert_eq!((refused.status.as_u16(), refused.reason), (401, "bad_certificate"), "{target}");
                assert!(refused.ends_connection && !refused.known);
            }
        }
    }
}

/// Browsers show certificates unasked, so what keeps web pages out does not depend on tokens.
#[test]
fn a_web_page_does_nothing_by_its_readers_certificate() {
    let admin = with_clients(false);
    let ask = |method: &str, fields: &[(&str, &str)]| {
        super::admit(&peer(true), &principal("dns:deploy.corp"), &admin, &request(method, "/config", fields))
    };
    let yaml = ("content-type", "application/yaml");
    assert_eq!(ask("PUT", &[yaml, ("origin", "https://evil.example")]).unwrap_err().reason, "origin");
    assert_eq!(ask("OPTIONS", &[("origin", "https://evil.example")]).unwrap_err().reason, "origin");
    assert_eq!(ask("PUT", &[("content-type", "text/plain")]).unwrap_err().reason, "content_type");
    assert_eq!(ask("PUT", &[]).unwrap_err().reason, "content_type");
    assert_eq!(ask("PUT", &[yaml, ("host", "evil.example")]).unwrap_err().reason, "host");
    assert_eq!(ask("GET", &[("host", "evil.example")]).unwrap_err().reason, "host");
    assert!(ask("PUT", &[yaml]).is_ok());
}
