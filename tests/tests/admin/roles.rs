//! Tokens and their roles, over TCP.

use prism_tests::{
    DEMO, Pki, Proxy, Signal, Start,
    client::curl::{self, Answer},
    sha256, tools, wait,
};

/// A token of each role.
pub(super) const TOKENS: [(&str, &str); 3] = [
    ("viewer", "view-u3Xr8Qm2Lk5Tz9Wc7Bn4"),
    ("operator", "oper-u3Xr8Qm2Lk5Tz9Wc7Bn4"),
    ("admin", "admi-u3Xr8Qm2Lk5Tz9Wc7Bn4"),
];

/// [`DEMO`] with a token of each role, and more settings of `admin`.
pub(super) fn config(more: &str) -> String {
    let tokens: Vec<String> = TOKENS
        .iter()
        .map(|(role, token)| format!("{{ name: the-{role}, sha256: {}, role: {role} }}", sha256(token)))
        .collect();
    DEMO.replace("admin: {", &format!("admin: {{ tokens: [{}]{more},", tokens.join(", ")))
}

/// The same with one more namespace.
pub(super) fn longer(config: &str) -> String {
    format!("{config}  - {{ name: second, backend: memory, plugin: memory }}\n")
}

pub(super) fn bearer(role: &str) -> String {
    let (_, token) = TOKENS.iter().find(|(name, _)| *name == role).unwrap();
    format!("authorization: Bearer {token}")
}

pub(super) fn url(proxy: &Proxy, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", proxy.admin().port())
}

/// A read with these header fields.
pub(super) fn get(proxy: &Proxy, path: &str, fields: &[&str]) -> Answer {
    let url = url(proxy, path);
    let mut arguments = vec!["--path-as-is"];
    arguments.extend(fields.iter().flat_map(|field| ["-H", field]));
    arguments.push(&url);
    curl::run(&arguments)
}

/// A `PUT` with these header fields.
pub(super) fn put(proxy: &Proxy, path: &str, body: &str, fields: &[&str]) -> Answer {
    let url = url(proxy, path);
    let mut arguments = vec!["-X", "PUT", "--data-binary", body];
    arguments.extend(fields.iter().flat_map(|field| ["-H", field]));
    arguments.push(&url);
    curl::run(&arguments)
}

/// The version of the configuration that runs, as the socket says it.
pub(super) fn version(proxy: &Proxy) -> u64 {
    proxy.admin().over_socket("GET", "/config", "").expect(200).json()["version"].as_u64().unwrap()
}

pub(super) const YAML: &str = "content-type: application/yaml";

#[test]
fn each_role_does_what_is_its_own_and_no_more() {
    let config = config("");
    let proxy = Proxy::start(&config);
    let more = proxy.fill(&longer(&config));
    for role in ["viewer", "operator", "admin"] {
        for path in ["/healthz", "/ready", "/metrics", "/config", "/namespaces", "/plugins", "/audit"] {
            let _ = get(&proxy, path, &[&bearer(role)]).expect(200);
        }
        let _ = get(&proxy, "/nothing", &[&bearer(role)]).expect(404);
        let _ = get(&proxy, "//config", &[&bearer(role)]).expect(404);
    }
    let dry = |role| put(&proxy, "/config?dry_run=true", &more, &[&bearer(role), YAML]);
    let refused = dry("viewer").expect(403).text();
    assert!(refused.contains("role"), "{refused}");
    assert!(dry("operator").expect(200).text().contains("second"));
    assert!(dry("admin").expect(200).text().contains("second"));
    for path in ["/config", "/config?require_healthy=true", "/config?dry_run=false"] {
        for role in ["viewer", "operator"] {
            let _ = put(&proxy, path, &more, &[&bearer(role), YAML]).expect(403);
        }
    }
    assert_eq!(version(&proxy), 1);
    let answer = put(&proxy, "/config", &more, &[&bearer("admin"), YAML]).expect(200);
    assert!(answer.text().contains("second"), "{}", answer.text());
    assert_eq!(version(&proxy), 2);
    let _ = curl::run(&["-X", "DELETE", "-H", &bearer("admin"), &url(&proxy, "/config")]).expect(405);
}

#[test]
fn the_socket_needs_no_token() {
    let config = config("");
    let proxy = Proxy::start(&config);
    for path in ["/ready", "/metrics", "/config", "/namespaces", "/plugins", "/audit"] {
        let _ = proxy.admin().over_socket("GET", path, "").expect(200);
    }
    // Nor a content type that is right, nor a host.
    let _ = proxy.admin().over_socket("PUT", "/config", &proxy.fill(&longer(&config))).expect(200);
    assert_eq!(version(&proxy), 2);
}

#[test]
fn probes_need_no_token_and_are_told_no_names() {
    let template = config("")
        .replace("plugins:", "plugins:\n  - { name: away, type: sidecar, socket: '@dir@/away.sock' }")
        .replace("tokens:", "ready: all, tokens:")
        + "  - { name: hidden-one, backend: redis, plugin: away }\n";
    let proxy = Start::new(&template).without_ready().run();
    let _ = get(&proxy, "/healthz", &[]).expect(200);
    let anybody = get(&proxy, "/ready", &[]).expect(503).text();
    assert!(!anybody.contains("hidden-one"), "{anybody}");
    let owner = proxy.admin().over_socket("GET", "/ready", "").expect(503).text();
    assert!(owner.contains("hidden-one"), "{owner}");
}

#[test]
fn metrics_are_open_where_that_is_said() {
    let proxy = Proxy::start(&config(""));
    let _ = get(&proxy, "/metrics", &[]).expect(401);
    proxy.hang_up(&config(", open_metrics: true"));
    let text = wait::until("the metrics should be open", || {
        let answer = get(&proxy, "/metrics", &[]);
        (answer.status == 200).then(|| answer.text())
    });
    let refusals =
        text.lines().find(|line| line.starts_with("prism_admin_refused_total{reason=\"no_token\"}"));
    assert!(refusals.is_some(), "{text}");
    let _ = get(&proxy, "/config", &[]).expect(401);
}

/// A token that is taken out of the configuration is nobody's with the next request, on open connections too.
#[test]
fn a_token_ends_with_its_configuration() {
    let config = config("");
    let proxy = Proxy::start(&config);
    let _ = get(&proxy, "/config", &[&bearer("viewer")]).expect(200);
    let (_, token) = TOKENS[0];
    proxy.hang_up(&config.replace(&sha256(token), &sha256("another-u3Xr8Qm2Lk5Tz9Wc7Bn4")));
    wait::until("the token should be refused", || {
        (get(&proxy, "/config", &[&bearer("viewer")]).status == 401).then_some(())
    });
    let _ = get(&proxy, "/config", &["authorization: Bearer another-u3Xr8Qm2Lk5Tz9Wc7Bn4"]).expect(200);
}

/// A short token is refused though its digest is right: whoever reads the file could guess it.
#[test]
fn a_short_token_is_not_accepted() {
    let short = "u3Xr8Qm2Lk5Tz9Wc7Bn4123";
    let proxy = Proxy::start(&config("").replace(&sha256(TOKENS[2].1), &sha256(short)));
    let _ = get(&proxy, "/config", &[&format!("authorization: Bearer {short}")]).expect(401);
    let log = proxy.process.log();
    assert!(log.contains("shorter than 24") && !log.contains(short), "{log}");
}

#[test]
fn the_address_speaks_tls_where_it_is_told_to() {
    let pki = Pki::new();
    pki.folder.identity("admin", &pki.authority.identity(&["admin.test", "127.0.0.1"], |_| {}));
    let tls = format!(", tls: {{ cert: '{}', key: '{}' }}", pki.path("admin.crt"), pki.path("admin.key"));
    // On every address, which is refused without TLS.
    let config = config(&tls).replace("127.0.0.1:@admin@", "0.0.0.0:@admin@");
    let proxy = Start::new(&config).spawn();
    let (ca, port) = (pki.path("ca.crt"), proxy.admin().port());
    let secured = |arguments: &[&str], path: &str| {
        let url = format!("https://127.0.0.1:{port}{path}");
        let mut all = vec!["--cacert", &ca];
        all.extend_from_slice(arguments);
        all.push(&url);
        curl::run(&all)
    };
    wait::until("the proxy should become ready", || {
        let listens = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        (listens && secured(&[], "/ready").status == 200).then_some(())
    });
    let _ = secured(&[], "/config").expect(401);
    let _ = secured(&["-H", &bearer("viewer")], "/config").expect(200);
    let _ = secured(&["--http2", "-H", &bearer("viewer")], "/config").expect(200);
    let more = proxy.fill(&longer(&config));
    let change = ["-X", "PUT", "--data-binary", &*more, "-H", YAML, "-H"];
    let _ = secured(&[&change[..], &[&*bearer("operator")]].concat(), "/config").expect(403);
    let _ = secured(&[&change[..], &[&*bearer("admin")]].concat(), "/config").expect(200);
    assert_eq!(version(&proxy), 2);
    // In clear there is no answer.
    assert_eq!(get(&proxy, "/config", &[&bearer("admin")]).status, 0);
    assert_eq!(put(&proxy, "/config", &more, &[&bearer("admin"), YAML]).status, 0);
    assert_eq!(get(&proxy, "/healthz", &[]).status, 0);
    let metrics = secured(&["-H", &bearer("viewer")], "/metrics").expect(200).text();
    assert!(metrics.contains("prism_tls_certificate_expiry_days{certificate="), "{metrics}");
    assert!(metrics.contains("listener=\"(admin)\""), "{metrics}");
    assert!(metrics.contains("prism_admin_refused_total{reason=\"tls\"} 3"), "{metrics}");
    // What it is encrypted with is read at the start.
    let plain = more.replace(&tls, "").replace("0.0.0.0", "127.0.0.1");
    let answer = proxy.admin().over_socket("PUT", "/config", &plain).expect(400).text();
    assert!(answer.contains("admin.tls"), "{answer}");
}

#[test]
fn with_a_client_ca_nobody_comes_in_without_a_certificate() {
    let pki = Pki::new();
    pki.folder.identity("admin", &pki.authority.identity(&["admin.test", "127.0.0.1"], |_| {}));
    let tls = format!(
        ", tls: {{ cert: '{}', key: '{}', client_ca: '{}' }}",
        pki.path("admin.crt"),
        pki.path("admin.key"),
        pki.path("ca.crt")
    );
    let proxy = Start::new(&config(&tls)).spawn();
    let (ca, cert, key) = (pki.path("ca.crt"), pki.path("proxy.crt"), pki.path("proxy.key"));
    let url = format!("https://127.0.0.1:{}/config", proxy.admin().port());
    let with = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    wait::until("the proxy should answer", || {
        let listens = std::net::TcpStream::connect(("127.0.0.1", proxy.admin().port())).is_ok();
        (listens && curl::run(&[&with[..], &["-H", &bearer("viewer"), &url]].concat()).status == 200)
            .then_some(())
    });
    // One does not stand for the other.
    assert_eq!(curl::run(&["--cacert", &ca, "-H", &bearer("admin"), &url]).status, 0);
    let _ = curl::run(&[&with[..], &[&*url]].concat()).expect(401);
}

#[test]
fn check_reads_the_files() {
    let pki = Pki::new();
    let tls = format!(", tls: {{ cert: '{}', key: '{}' }}", pki.path("absent.crt"), pki.path("proxy.key"));
    let mut proxy = Start::new(&config(&tls)).spawn();
    assert!(!proxy.process.wait().success());
    let log = proxy.process.log();
    assert!(log.contains("admin.tls") && log.contains("absent.crt"), "{log}");
    let file = pki.folder.write("prism.yaml", &proxy.fill(&config(&tls)));
    let output = std::process::Command::new(tools::own("prism-edge"))
        .arg("check")
        .arg("-c")
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("admin.tls") && said.contains("absent.crt"), "{said}");
}

/// In the log too, without an audit log; and what somebody tries who is known is told each time.
#[test]
fn the_log_names_who_changed_what_and_who_may_not() {
    let config = config("");
    let proxy = Proxy::start(&config);
    let more = proxy.fill(&longer(&config));
    for _ in 0..5 {
        let _ = put(&proxy, "/config", &more, &[&bearer("operator"), YAML]).expect(403);
    }
    let wrong = more.replace("listeners:", "listener:");
    let _ = put(&proxy, "/config", &wrong, &[&bearer("admin"), YAML]).expect(400);
    let _ = put(&proxy, "/config", &more, &[&bearer("admin"), YAML]).expect(200);
    let _ = put(&proxy, "/config", &more, &[&bearer("admin"), YAML]).expect(200);
    let log = proxy.process.log();
    let of = |what: &str, who: &str| {
        let who = format!("who=\"{who}\"");
        log.lines().filter(|line| line.contains(what) && line.contains(&who)).count()
    };
    assert_eq!(of("the admin address refused a request", "token:the-operator"), 5, "{log}");
    assert_eq!(of("unknown key `listener`", "token:the-admin"), 1, "{log}");
    assert_eq!(of("configuration applied", "token:the-admin"), 1, "{log}");
    assert_eq!(of("nothing changed", "token:the-admin"), 1, "{log}");
    let _ = proxy.admin().over_socket("PUT", "/config", &proxy.fill(&config)).expect(200);
    let log = proxy.process.log();
    assert!(
        log.lines().any(|line| line.contains("configuration applied") && line.contains("who=\"uid:")),
        "{log}"
    );
}

/// Who changed what is in the audit log by the token's name; and nothing of a token is anywhere.
#[test]
fn the_audit_log_names_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("audit.key");
    let mut openssl = std::process::Command::new(tools::tool("openssl"));
    tools::succeed(openssl.args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key));
    let dir = folder.path().join("audit");
    let audit =
        format!("- audit: {{ dir: '{}', key: '{}' }}\n      - plugin_dispatch", dir.display(), key.display());
    let config = config("").replace("- plugin_dispatch", &audit);
    let mut proxy = Proxy::start(&config);
    let more = proxy.fill(&longer(&config));
    let _ = put(&proxy, "/config", &more, &[&bearer("operator"), YAML]).expect(403);
    let _ = put(&proxy, "/config", &more, &[&bearer("admin"), YAML]).expect(200);
    for _ in 0..3 {
        let _ = put(&proxy, "/config", &more, &["authorization: Bearer nobody-u3Xr8Qm2Lk5Tz9Wc7Bn4", YAML])
            .expect(401);
    }
    proxy.process.signal(Signal::TERM);
    assert!(proxy.process.wait().success());
    let mut text = String::new();
    for file in std::fs::read_dir(&dir).unwrap() {
        text.push_str(&String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()));
    }
    let of = |who: &str, outcome: &str| {
        let lines = text.lines().filter(|line| line.contains("\"config.apply\""));
        lines.filter(|line| line.contains(who) && line.contains(outcome)).count()
    };
    assert_eq!(of("\"token:the-admin\"", "\"done\""), 1, "{text}");
    assert_eq!(of("\"token:the-operator\"", "\"refused\""), 1, "{text}");
    assert!(of("\"tcp:127.0.0.1:", "\"refused\"") >= 1, "{text}");
    text.push_str(&proxy.process.log());
    assert!(!text.contains("u3Xr8Qm2Lk5"), "{text}");
}
