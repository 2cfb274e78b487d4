//! Client certificates and their roles.

use super::roles::{TOKENS, YAML, bearer, config, longer, version};
use prism_tests::{
    DEMO, Pki, Proxy, Signal, Start,
    client::{
        curl::{self, Answer},
        tls,
    },
    sha256, tools, wait,
};
use prism_tls::{
    ClientFiles, IdentityFiles, alpn,
    testing::{Authority, end},
};
use rcgen::{CertificateParams, SanType, date_time_ymd};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CLIENTS: &str = "clients: [ { principal: 'spiffe://corp/**', role: viewer }, \
                       { principal: 'spiffe://corp/ops/*', role: operator }, \
                       { principal: 'dns:deploy.corp', role: admin } ]";

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// Who comes: files of each, by a name.
struct Scene {
    pki: Pki,
}

impl Scene {
    fn new() -> Self {
        let pki = Pki::new();
        pki.folder.identity("admin", &pki.authority.identity(&["admin.test", "127.0.0.1"], |_| {}));
        let scene = Self { pki };
        scene.revoke(&[7]);
        for (name, spiffe) in [
            ("viewer", "spiffe://corp/app"),
            ("operator", "spiffe://corp/ops/alice"),
            ("stranger", "spiffe://other/ops/alice"),
        ] {
            scene.sign(name, &[], |params| params.subject_alt_names = vec![uri(spiffe)]);
        }
        scene.sign("deploy", &["deploy.corp"], |_| {});
        scene
    }

    /// An identity of these names, from the clients' own authority.
    fn sign(&self, name: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> IdentityFiles {
        self.pki.folder.identity(name, &self.pki.authority.identity(names, change))
    }

    fn revoke(&self, serials: &[u64]) {
        let list = self.pki.authority.revoked(serials, SystemTime::now() + Duration::from_secs(3600));
        self.pki.folder.write("ca.crl", &list);
    }

    /// The settings of `admin`, after the tokens: certificates are looked at by these.
    fn tls(&self, more: &str) -> String {
        let path = |name: &str| self.pki.path(name);
        format!(
            "tls: {{ cert: '{}', key: '{}', client_ca: '{}', crls: ['{}']{more} }}",
            path("admin.crt"),
            path("admin.key"),
            path("ca.crt"),
            path("ca.crl"),
        )
    }

    /// The configuration with tokens and certificates, of which each may be left out.
    fn config(&self) -> String {
        config(&format!(", {CLIENTS}, {}", self.tls(", client_auth: optional")))
    }

    /// One without tokens, where everybody needs a certificate.
    fn without_tokens(&self) -> String {
        DEMO.replace("admin: {", &format!("admin: {{ {CLIENTS}, {},", self.tls("")))
    }

    /// A proxy that is ready. Who asks is `deploy`, whom every configuration here knows.
    fn start(&self, template: &str) -> Proxy {
        let proxy = Start::new(template).spawn();
        wait::until("the proxy should become ready", || {
            let listens = std::net::TcpStream::connect(("127.0.0.1", proxy.admin().port())).is_ok();
            (listens && self.get(&proxy, Some("deploy"), "/ready", &[]).status == 200).then_some(())
        });
        proxy
    }

    /// A request as `name`, or without a certificate.
    fn ask(&self, proxy: &Proxy, name: Option<&str>, path: &str, arguments: &[&str]) -> Answer {
        let url = format!("https://127.0.0.1:{}{path}", proxy.admin().port());
        let ca = self.pki.path("ca.crt");
        let files =
            name.map(|name| [self.pki.path(&format!("{name}.crt")), self.pki.path(&format!("{name}.key"))]);
        let mut all = vec!["--cacert", &*ca];
        if let Some([certificate, key]) = &files {
            all.extend(["--cert", certificate, "--key", key]);
        }
        all.extend_from_slice(arguments);
        all.push(&url);
        curl::run(&all)
    }

    fn get(&self, proxy: &Proxy, name: Option<&str>, path: &str, fields: &[&str]) -> Answer {
        let arguments: Vec<&str> = fields.iter().flat_map(|field| ["-H", field]).collect();
        self.ask(proxy, name, path, &arguments)
    }

    fn put(&self, proxy: &Proxy, name: Option<&str>, path: &str, body: &str, fields: &[&str]) -> Answer {
        let mut arguments = vec!["-X", "PUT", "--data-binary", body, "-H", YAML];
        arguments.extend(fields.iter().flat_map(|field| ["-H", field]));
        self.ask(proxy, name, path, &arguments)
    }

    /// `name`, for a connection that stays open.
    fn files(&self, name: &str) -> ClientFiles {
        let path = |name: String| self.pki.folder.path().join(name);
        let identity =
            IdentityFiles { certificates: path(format!("{name}.crt")), key: path(format!("{name}.key")) };
        ClientFiles { ca: path("ca.crt".to_owned()), identity: Some(identity) }
    }
}

#[test]
fn each_certificate_does_what_its_role_permits_and_no_more() {
    let scene = Scene::new();
    for template in [scene.config(), scene.without_tokens()] {
        let proxy = scene.start(&template);
        let more = proxy.fill(&longer(&template));
        for name in ["viewer", "operator", "deploy"] {
            for path in ["/config", "/namespaces", "/plugins", "/audit", "/metrics"] {
                let _ = scene.get(&proxy, Some(name), path, &[]).expect(200);
            }
            let _ = scene.get(&proxy, Some(name), "/nothing", &[]).expect(404);
        }
        let _ = scene.put(&proxy, Some("viewer"), "/config?dry_run=true", &more, &[]).expect(403);
        for name in ["viewer", "operator"] {
            for path in ["/config", "/config?require_healthy=true", "/config?dry_run=false"] {
                let refused = scene.put(&proxy, Some(name), path, &more, &[]).expect(403).text();
                assert!(refused.contains("role"), "{refused}");
            }
        }
        let _ = scene.put(&proxy, Some("operator"), "/config?dry_run=true", &more, &[]).expect(200);
        assert_eq!(version(&proxy), 1);
        let _ = scene.put(&proxy, Some("deploy"), "/config", &more, &[]).expect(200);
        assert_eq!(version(&proxy), 2);
    }
}

/// Everybody whose certificate opens nothing.
fn wrong(scene: &Scene) -> Vec<&'static str> {
    let names = vec![uri("spiffe://corp/ops/alice")];
    let of =
        |authority: &Authority| authority.identity(&[], |params| params.subject_alt_names = names.clone());
    scene.pki.folder.identity("wrong-ca", &of(&Authority::new()));
    scene.pki.folder.identity("impostor", &of(&scene.pki.authority.impostor()));
    scene.sign("expired", &["deploy.corp"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    });
    scene.sign("not-yet", &["deploy.corp"], |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2999, 1, 1), date_time_ymd(3000, 1, 1));
    });
    scene.sign("revoked", &["deploy.corp"], |params| params.serial_number = Some(7.into()));
    vec!["wrong-ca", "impostor", "expired", "not-yet", "revoked"]
}

#[test]
fn a_certificate_that_is_not_right_is_refused_in_the_handshake() {
    let scene = Scene::new();
    let wrong = wrong(&scene);
    let (admin, nobody) = (bearer("admin"), "authorization: Bearer nobody-u3Xr8Qm2Lk5Tz9Wc7Bn4");
    for template in [scene.config(), scene.without_tokens()] {
        let proxy = scene.start(&template);
        let more = proxy.fill(&longer(&template));
        for name in &wrong {
            for path in ["/config", "/healthz", "/ready"] {
                assert_eq!(scene.get(&proxy, Some(name), path, &[]).status, 0, "{name}");
                // A token does not mend it.
                assert_eq!(scene.get(&proxy, Some(name), path, &[&admin]).status, 0, "{name}");
            }
            assert_eq!(scene.put(&proxy, Some(name), "/config", &more, &[&admin]).status, 0, "{name}");
            assert_eq!(scene.put(&proxy, Some(name), "/config", &more, &[nobody]).status, 0, "{name}");
        }
        assert_eq!(version(&proxy), 1);
        let metrics = scene.get(&proxy, Some("viewer"), "/metrics", &[]).expect(200).text();
        let count = format!("prism_admin_refused_total{{reason=\"tls\"}} {}", wrong.len() * 8);
        assert!(metrics.contains(&count), "no {count} in {metrics}");
    }
}

/// It is from the right authority, and means nothing here.
#[test]
fn a_certificate_that_no_entry_is_about_is_an_unknown_token() {
    let scene = Scene::new();
    scene.sign("two-uris", &[], |params| {
        params.subject_alt_names = vec![uri("spiffe://corp/ops/alice"), uri("spiffe://corp/ops/bob")];
    });
    scene.sign("uri-and-dns", &[], |params| {
        params.subject_alt_names =
            vec![uri("spiffe://other/x"), SanType::DnsName("deploy.corp".try_into().unwrap())];
    });
    scene.sign("second-name", &["nobody.corp", "deploy.corp"], |_| {});
    scene.sign("wildcard", &["*.corp"], |_| {});
    scene.sign("below", &["deploy.corp.evil.example"], |_| {});
    scene.sign("common-name", &[], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "deploy.corp");
    });
    scene.sign("no-spiffe", &[], |params| params.subject_alt_names = vec![uri("spiffe://corp/../ops/alice")]);
    let names = [
        "stranger",
        "two-uris",
        "uri-and-dns",
        "second-name",
        "wildcard",
        "below",
        "common-name",
        "no-spiffe",
    ];
    for template in [scene.config(), scene.without_tokens()] {
        let proxy = scene.start(&template);
        let more = proxy.fill(&longer(&template));
        let mut answers = std::collections::BTreeSet::new();
        for name in names {
            for path in ["/config", "/nothing", "/metrics", "/%63onfig"] {
                answers.insert(scene.get(&proxy, Some(name), path, &[]).expect(401).text());
            }
            for path in ["/config", "/config?dry_run=true"] {
                answers.insert(scene.put(&proxy, Some(name), path, &more, &[]).expect(401).text());
            }
            let bad = "authorization: Bearer nobody-u3Xr8Qm2Lk5Tz9Wc7Bn4";
            answers.insert(scene.get(&proxy, Some(name), "/config", &[bad]).expect(401).text());
        }
        if template == scene.config() {
            answers.insert(scene.get(&proxy, None, "/config", &[]).expect(401).text());
        }
        // Whatever it was, the answer is one.
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(version(&proxy), 1);
        let log = proxy.process.log();
        assert!(log.contains("who=\"spiffe://other/ops/alice\"") && log.contains("admin.clients"), "{log}");
        let metrics = scene.get(&proxy, Some("viewer"), "/metrics", &[]).expect(200).text();
        assert!(metrics.contains("prism_admin_refused_total{reason=\"unknown_certificate\"}"), "{metrics}");
        let ready = scene.get(&proxy, Some("stranger"), "/ready", &[]);
        assert_eq!(ready.status, 200, "it is for everybody who gets so far");
    }
}

#[test]
fn who_sends_a_token_goes_by_the_token() {
    let scene = Scene::new();
    let template = scene.config();
    let proxy = scene.start(&template);
    let more = proxy.fill(&longer(&template));
    let (_, token) = TOKENS[2];
    for field in [
        "authorization: Bearer nobody-u3Xr8Qm2Lk5Tz9Wc7Bn4".to_owned(),
        format!("authorization: Bearer {}", &token[1..]),
        format!("authorization: Bearer {}", sha256(token)),
        "authorization: Basic YWRtaW46YWRtaW4=".to_owned(),
        "authorization: Bearer a b".to_owned(),
    ] {
        // However good the certificate is.
        let _ = scene.get(&proxy, Some("deploy"), "/config", &[&field]).expect(401);
        let _ = scene.put(&proxy, Some("deploy"), "/config", &more, &[&field]).expect(401);
    }
    // A token that permits less is not filled up by the certificate, nor the other way round.
    let _ = scene.put(&proxy, Some("deploy"), "/config", &more, &[&bearer("viewer")]).expect(403);
    let _ = scene.put(&proxy, Some("deploy"), "/config", &more, &[&bearer("operator")]).expect(403);
    assert_eq!(version(&proxy), 1);
    let _ = scene.put(&proxy, Some("viewer"), "/config", &more, &[&bearer("admin")]).expect(200);
    let _ = scene.get(&proxy, Some("stranger"), "/config", &[&bearer("viewer")]).expect(200);
    let _ = scene.get(&proxy, None, "/config", &[&bearer("viewer")]).expect(200);
}

#[test]
fn who_has_no_certificate_comes_in_by_a_token_or_not_at_all() {
    let scene = Scene::new();
    let proxy = scene.start(&scene.config());
    for path in ["/config", "/metrics", "/nothing"] {
        let _ = scene.get(&proxy, None, path, &[]).expect(401);
    }
    let _ = scene.get(&proxy, None, "/healthz", &[]).expect(200);
    let proxy = scene.start(&scene.without_tokens());
    for path in ["/config", "/healthz", "/ready", "/metrics"] {
        assert_eq!(scene.get(&proxy, None, path, &[]).status, 0);
        assert_eq!(scene.get(&proxy, None, path, &[&bearer("admin")]).status, 0);
        // Nothing is answered in clear.
        let clear = format!("http://127.0.0.1:{}{path}", proxy.admin().port());
        assert_eq!(curl::run(&["-H", &bearer("admin"), &clear]).status, 0);
    }
    // A token that nobody has configured is none.
    let _ = scene.get(&proxy, Some("deploy"), "/config", &[&bearer("admin")]).expect(401);
    // A page that its reader's browser shows a certificate for.
    let origin = ["origin: https://evil.example"];
    let _ = scene.put(&proxy, Some("deploy"), "/config", "workers: 1\n", &origin).expect(403);
    let _ = scene.get(&proxy, Some("deploy"), "/config", &["host: evil.example"]).expect(421);
    assert_eq!(version(&proxy), 1);
}

/// A role that is taken away in the configuration is gone with the next request.
#[test]
fn a_role_ends_with_its_configuration() {
    let scene = Scene::new();
    let template = scene.config();
    let proxy = scene.start(&template);
    let _ = scene.get(&proxy, Some("viewer"), "/config", &[]).expect(200);
    proxy.hang_up(&template.replace("spiffe://corp/**", "spiffe://corp/other/**"));
    wait::until("the certificate should be refused", || {
        (scene.get(&proxy, Some("viewer"), "/config", &[]).status == 401).then_some(())
    });
    let _ = scene.get(&proxy, Some("operator"), "/config", &[]).expect(200);
}

/// What is read is answered up to here.
async fn answer(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&text).contains("\r\n\r\n") {
        let length = stream.read(&mut piece).await.unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&piece[..length]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// An open connection is worth as much as a new one would be.
#[tokio::test(flavor = "multi_thread")]
async fn rights_end_on_connections_that_are_open() {
    const GET: &str = "HEAD /config HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let scene = Scene::new();
    scene.sign("leaver", &["deploy.corp"], |params| params.serial_number = Some(8.into()));
    let proxy = scene.start(&scene.without_tokens());
    let soon = SystemTime::now() + Duration::from_secs(5);
    scene.sign("ending", &["deploy.corp"], |params| end(params, soon));
    let connect = |name: &'static str| {
        let (files, port) = (scene.files(name), proxy.admin().port());
        async move { tls::connect(port, &files, alpn::HTTP1).await.unwrap() }
    };
    let mut ending = connect("ending").await;
    let mut stays = connect("deploy").await;
    let mut leaver = connect("leaver").await;
    for stream in [&mut ending, &mut leaver, &mut stays] {
        stream.write_all(GET.as_bytes()).await.unwrap();
        assert!(answer(stream).await.starts_with("HTTP/1.1 200"));
    }
    // Half of a change is there when the right to make it goes.
    let mut late = connect("leaver").await;
    let body = proxy.fill(&longer(&scene.without_tokens()));
    let head = format!(
        "PUT /config HTTP/1.1\r\nhost: localhost\r\n{YAML}\r\ncontent-length: {}\r\n\r\n{}",
        body.len(),
        &body[..10]
    );
    late.write_all(head.as_bytes()).await.unwrap();
    scene.revoke(&[7, 8]);
    wait::until("it should be known", || {
        (scene.get(&proxy, Some("leaver"), "/healthz", &[]).status == 0).then_some(())
    });
    late.write_all(&body.as_bytes()[10..]).await.unwrap();
    let refused = answer(&mut late).await;
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("connection: close"), "{refused}");
    leaver.write_all(GET.as_bytes()).await.unwrap();
    let refused = answer(&mut leaver).await;
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("connection: close"), "{refused}");
    assert_eq!(leaver.read(&mut [0; 1]).await.unwrap(), 0, "the connection is over");
    assert_eq!(version(&proxy), 1);
    tokio::time::sleep(soon.duration_since(SystemTime::now()).unwrap_or_default() + Duration::from_secs(2))
        .await;
    ending.write_all(GET.as_bytes()).await.unwrap();
    assert!(answer(&mut ending).await.starts_with("HTTP/1.1 401"));
    // Others stay, until nobody knows any more who was revoked.
    stays.write_all(GET.as_bytes()).await.unwrap();
    assert!(answer(&mut stays).await.starts_with("HTTP/1.1 200"));
    let past = SystemTime::now() - Duration::from_secs(3600);
    scene.pki.folder.write("ca.crl", &scene.pki.authority.revoked(&[7, 8], past));
    wait::until("the list should be read", || {
        (scene.get(&proxy, Some("deploy"), "/healthz", &[]).status == 0).then_some(())
    });
    stays.write_all(GET.as_bytes()).await.unwrap();
    assert!(answer(&mut stays).await.starts_with("HTTP/1.1 401"));
    let log = proxy.process.log();
    assert!(log.contains("bad_certificate") && log.contains("the certificate of dns:deploy.corp: "), "{log}");
    assert!(log.contains("Revoked"), "{log}");
}

#[test]
fn the_audit_log_names_the_principal() {
    let scene = Scene::new();
    let key = scene.pki.path("audit.key");
    let mut openssl = std::process::Command::new(tools::tool("openssl"));
    tools::succeed(openssl.args(["genpkey", "-algorithm", "ed25519", "-out", &key]));
    let dir = scene.pki.folder.path().join("audit");
    let audit = format!("- audit: {{ dir: '{}', key: '{key}' }}\n      - plugin_dispatch", dir.display());
    let template = scene.config().replace("- plugin_dispatch", &audit);
    let mut proxy = scene.start(&template);
    let more = proxy.fill(&longer(&template));
    let _ = scene.put(&proxy, Some("operator"), "/config", &more, &[]).expect(403);
    let _ = scene.put(&proxy, Some("stranger"), "/config", &more, &[]).expect(401);
    let _ = scene.put(&proxy, Some("deploy"), "/config", &more, &[]).expect(200);
    proxy.process.signal(Signal::TERM);
    assert!(proxy.process.wait().success());
    let mut text = String::new();
    for file in std::fs::read_dir(&dir).unwrap() {
        text.push_str(&String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()));
    }
    for (who, outcome) in [
        ("\"spiffe://corp/ops/alice\"", "\"refused\""),
        ("\"spiffe://other/ops/alice\"", "\"refused\""),
        ("\"dns:deploy.corp\"", "\"done\""),
    ] {
        let lines = text.lines().filter(|line| line.contains("\"config.apply\""));
        let count = lines.filter(|line| line.contains(who) && line.contains(outcome)).count();
        assert_eq!(count, 1, "{who} {outcome}: {text}");
    }
}
