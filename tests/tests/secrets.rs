//! Secrets: they reach whom they are for, and nobody else ever sees one.

use prism_proto::google::protobuf::{Struct, value::Kind};
use prism_tests::{
    DEMO, Proxy, Start,
    client::{curl, http2},
    issuer::{Answering, from_now},
    plugin::Plugin,
    sha256, tools, wait, wire,
};
use prost::Message as _;
use serde_json::json;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Each in its own place, none a part of another or of anything else.
const IN_ENVIRONMENT: &str = "pl4nted-env-3Kx9";
const IN_DIRECTORY: &str = "pl4nted-dir-8Qw2";
const ROTATED: &str = "pl4nted-rot-5Zt7";
const LITERAL: &str = "pl4nted-lit-1Bn6";
const LITERAL_IN_URL: &str = "pl4nted-url-4Hd0";
const CLIENT_SECRET: &str = "pl4nted-cls-7Yp3";
const API_KEY: &str = "pl4nted-key-k7Qm2xZp9RtYvB4nL8sWc3Df";
const BAD_KEY: &str = "pl4nted-bad-Zr5Tq8Wn1Xc6Vb3Hm7Jd2Kf4";
const TOKEN: &str = "pl4nted-tok-2Fs5";
const BAD_TOKEN: &str = "pl4nted-btk-9Gv1";
const HEADER: &str = "pl4nted-hdr-6Lc8";
const MISTAKEN: &str = "pl4nted-mis-0Rj4";
/// What all of them begin with: every part that could be told has it.
const MARK: &str = "pl4nted";

/// A plugin, an authorization server, and a directory of secrets as Kubernetes mounts one.
struct Scene {
    folder: TempDir,
    plugin: Plugin,
    server: Answering,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("prism-secrets-").tempdir().unwrap();
        let plugin = Plugin::start(&folder.path().join("plugin.sock"));
        let scene = Self { folder, plugin, server: Answering::new() };
        scene.mount(1, &[("backend.password", IN_DIRECTORY), ("client-secret", CLIENT_SECRET)]);
        let hex = sha256(API_KEY);
        fs::write(scene.path("keys.yaml"), format!("keys: [{{ name: batch, sha256: {hex} }}]")).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Takes the place of what was mounted, in one step.
    fn mount(&self, version: u32, secrets: &[(&str, &str)]) {
        let directory = self.path("secrets");
        fs::create_dir_all(directory.join(format!("..{version}"))).unwrap();
        for (name, value) in secrets {
            fs::write(directory.join(format!("..{version}")).join(name), format!("{value}\n")).unwrap();
            if fs::symlink_metadata(directory.join(name)).is_err() {
                symlink(format!("..data/{name}"), directory.join(name)).unwrap();
            }
        }
        symlink(format!("..{version}"), directory.join("..next")).unwrap();
        fs::rename(directory.join("..next"), directory.join("..data")).unwrap();
    }

    fn config(&self) -> String {
        let at = |name: &str| self.path(name).display().to_string();
        format!(
            "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
secrets: {{ directory: {{ path: '{secrets}' }} }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters:
      - trace: {{ access_log: {{ path: '@dir@/access.log' }} }}
      - audit: {{ dir: '{audit}', key: '{key}' }}
      - auth:
          any:
            - api_keys: {{ file: '{keys}' }}
            - oauth2:
                issuer: https://id.example
                audiences: [orders]
                introspection:
                  url: '{url}'
                  client_id: proxy
                  client_secret: '{{{{ secret:client-secret }}}}'
      - plugin_dispatch: {{}}
plugins:
  - {{ name: near, type: sidecar, socket: '{socket}' }}
namespaces:
  - name: demo
    backend: near
    config: {{ url: 'near://me:{{{{ secret:backend.password }}}}@h', more: [ '{{{{ secret:from-env }}}}' ] }}
    credentials: {{ password: '{{{{ secret:backend.password }}}}', other: '{{{{ secret:from-env }}}}', literal: {LITERAL} }}
  - name: plain
    backend: near
    config: {{ url: 'near://me:{LITERAL_IN_URL}@h' }}
",
            secrets = at("secrets"),
            audit = at("audit"),
            key = at("audit.key"),
            keys = at("keys.yaml"),
            url = self.server.url(),
            socket = at("plugin.sock"),
        )
    }

    fn start(&self, config: &str) -> Start {
        let key = self.path("audit.key");
        if !key.exists() {
            let mut openssl = Command::new(tools::tool("openssl"));
            tools::succeed(openssl.args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(key));
        }
        Start::new(config).variable("PRISM_SECRET_FROM_ENV", IN_ENVIRONMENT)
    }

    /// What the instances of a namespace were given: `url` and credentials.
    fn given(&self, namespace: &str) -> Vec<(String, Vec<(String, String)>)> {
        let asked = self.plugin.recorder.initialized().into_iter();
        asked
            .filter(|request| request.namespace == namespace)
            .map(|request| {
                let config = Struct::decode(&*request.config.unwrap().value).unwrap();
                let Some(Kind::StringValue(url)) = &config.fields["url"].kind else { panic!("{config:?}") };
                let mut credentials: Vec<_> = request.credentials.into_iter().collect();
                credentials.sort();
                (url.clone(), credentials)
            })
            .collect()
    }
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn initialized_with(secret: &str) -> (String, Vec<(String, String)>) {
    let credentials = pairs(&[("literal", LITERAL), ("other", IN_ENVIRONMENT), ("password", secret)]);
    (format!("near://me:{secret}@h"), credentials)
}

/// Everything in a folder, as text.
fn files(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            text.push_str(&String::from_utf8_lossy(&fs::read(entry.path()).unwrap()));
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_whom_they_are_for_and_are_seen_nowhere() {
    let scene = Scene::new();
    let config = scene.config();
    let proxy = scene.start(&config).run();
    let admin = proxy.admin();
    let active = json!({ "active": true, "sub": "alice", "aud": "orders", "exp": from_now(600) });
    scene.server.set(TOKEN, &active);
    assert_eq!(scene.given("demo"), [initialized_with(IN_DIRECTORY)]);
    assert_eq!(scene.given("plain"), [(format!("near://me:{LITERAL_IN_URL}@h"), Vec::new())]);

    let mut seen: Vec<(String, String)> = Vec::new();
    let mut see = |what: &str, text: String| seen.push((what.to_owned(), text));
    // Good and bad calls, by every way in.
    let connection = http2::connect(proxy.port()).await;
    for (name, value) in [
        ("x-api-key", API_KEY.to_owned()),
        ("x-api-key", BAD_KEY.to_owned()),
        ("authorization", format!("Bearer {TOKEN}")),
        ("authorization", format!("Bearer {BAD_TOKEN}")),
        ("authorization", format!("Basic {BAD_TOKEN}")),
        ("cookie", format!("session={HEADER}")),
    ] {
        let headers = [("x-prism-namespace", "demo"), (name, &*value), ("x-other", HEADER)];
        let message = wire::field(1, b"echo");
        for path in ["/prism.data.v1.DataService/Execute", "/no.such.Service/Method"] {
            let answer = connection.call(http2::head(path, &headers), wire::framed(&message)).await.unwrap();
            see(path, format!("{answer:?} {}", String::from_utf8_lossy(&answer.body)));
        }
        let headers = [format!("{name}: {value}"), format!("x-other: {HEADER}")];
        for path in ["/v1/demo/echo", "/v1/nobodys/echo", "/nowhere"] {
            let url = proxy.url(&format!("{path}?password={HEADER}"));
            let raw = "content-type: application/octet-stream";
            let arguments = ["-H", &headers[0], "-H", &headers[1], "-H", raw, "-d", "x", &url];
            let answer = curl::run(&arguments);
            see(path, format!("{:?} {}", answer.headers, answer.text()));
        }
    }
    let called = curl::run(&[
        "-H",
        &format!("authorization: Bearer {TOKEN}"),
        "-d",
        "x",
        "-H",
        "content-type: application/octet-stream",
        &proxy.url("/v1/demo/echo"),
    ]);
    let _ = called.expect(200);

    // Mistakes beside secrets: nothing changes, and nothing is quoted.
    let literal = format!("literal: {LITERAL}");
    for (from, to, told) in [
        (&*literal, format!("literal: [{MISTAKEN}]"), "expected a string"),
        (&*literal, format!("literal: {MISTAKEN}, colour: {{ a: {MISTAKEN} }}"), "expected a string"),
        (&*literal, format!("literal: '{MISTAKEN}{{{{ secret: }}}}'"), "the name of a secret"),
        (&*literal, "literal: '{{ secret:absent }}'".to_owned(), "there is no secret `absent`"),
        (
            "client_id: proxy",
            format!("client_id: proxy\n                  client_password: {MISTAKEN}"),
            "client_password",
        ),
        ("client_id: proxy", "client_id: '{{ secret:from-env }}'".to_owned(), "cannot stand here"),
        (
            "backend: near\n    config",
            format!("backend: near\n    password: {MISTAKEN}\n    config"),
            "unknown key",
        ),
    ] {
        assert!(config.contains(from), "{from}");
        let wrong = proxy.fill(&config.replacen(from, &to, 1));
        for path in ["/config", "/config?dry_run=true"] {
            let answer = admin.over_socket("PUT", path, &wrong).expect(400).text();
            assert!(answer.contains(told), "{to}: {answer}");
            see(path, answer);
        }
        let file = scene.path("wrong.yaml");
        fs::write(&file, &wrong).unwrap();
        let mut check = Command::new(tools::own("prism-edge"));
        let output = tools::output(
            check.env("PRISM_SECRET_FROM_ENV", IN_ENVIRONMENT).arg("check").arg("-c").arg(&file),
        );
        assert_eq!(output.status.code(), Some(1), "{to}");
        see("check", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
    }
    proxy.hang_up(&config.replacen(&literal, &format!("literal: [{MISTAKEN}]"), 1));
    wait::until("the mistake is told", || proxy.process.log().contains("refused").then_some(()));
    see("/config beside a wrong file", admin.get("/config").text());
    let changed = proxy.fill(&config.replacen(&literal, &format!("literal: {MISTAKEN}"), 1));
    let answer = admin.over_socket("PUT", "/config?dry_run=true", &changed).expect(200).text();
    assert!(answer.contains("changed namespace demo"), "{answer}");
    see("dry run", answer);
    proxy.write(&config);
    for arguments in [
        &["check"][..],
        &["explain", "--principal", "key:batch", "--namespace", "demo", "--operation", "echo"],
    ] {
        let mut command = Command::new(tools::own("prism-edge"));
        command.env("PRISM_SECRET_FROM_ENV", IN_ENVIRONMENT).args(arguments);
        let output = tools::output(command.arg("-c").arg(proxy.folder().join("prism.yaml")));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        see(arguments[0], String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
    }

    // Another secret in the directory.
    scene.mount(2, &[("backend.password", ROTATED), ("client-secret", CLIENT_SECRET)]);
    wait::until("the instance has the new secret", || {
        (scene.given("demo") == [initialized_with(IN_DIRECTORY), initialized_with(ROTATED)]).then_some(())
    });
    assert_eq!(scene.given("plain").len(), 1, "its secrets have not changed");
    wait::until("the change is told", || {
        proxy.process.log().contains("changed secret backend.password").then_some(())
    });

    for path in ["/ready", "/healthz", "/metrics", "/config", "/namespaces", "/plugins", "/audit"] {
        see(path, admin.get(path).text());
    }
    let shown = admin.config();
    let namespace = &shown["config"]["namespaces"][0];
    assert_eq!(namespace["config"]["url"], "near://me:{{ secret:backend.password }}@h");
    assert_eq!(
        namespace["credentials"],
        json!({
            "literal": "<redacted>",
            "other": "{{ secret:from-env }}",
            "password": "{{ secret:backend.password }}",
        })
    );
    let auth = &shown["config"]["listeners"][0]["filters"][2]["auth"]["any"][1]["oauth2"];
    assert_eq!(auth["introspection"]["client_secret"], "{{ secret:client-secret }}");
    assert_eq!(shown["file_differs"], json!([]), "{shown}");
    see("access log", fs::read_to_string(proxy.folder().join("access.log")).unwrap());
    see("process log", proxy.process.log());
    let audit = files(&scene.path("audit"));
    assert!(audit.contains("key:batch") && audit.contains("changed secret backend.password"), "{audit}");
    see("audit log", audit);
    for (what, text) in &seen {
        assert!(!text.is_empty(), "{what}");
        assert!(!text.contains(MARK), "{what}: {text}");
    }
    assert!(seen.len() > 60, "{}", seen.len());
}

#[test]
fn a_secret_that_cannot_be_used_changes_nothing_and_is_told_once() {
    let scene = Scene::new();
    let proxy = scene.start(&scene.config()).run();
    let version = proxy.admin().version();
    let file = scene.path("secrets/backend.password");
    fs::remove_file(&file).unwrap();
    let told = || proxy.process.log().matches("there is no secret `backend.password`").count();
    // One line for each of the two places that name it.
    wait::until("it is told", || (told() == 2).then_some(()));
    let refusal = proxy.admin().config()["last_refusal"].to_string();
    assert!(
        refusal.contains("PRISM_SECRET_BACKEND_PASSWORD") && refusal.contains("credentials.password"),
        "{refusal}"
    );
    fs::write(&file, b"\xff\xff").unwrap();
    wait::until("what is wrong with it is told", || {
        proxy.process.log().contains("it is not UTF-8").then_some(())
    });
    assert_eq!((told(), proxy.admin().version()), (4, version));
    assert_eq!(scene.given("demo").len(), 1);
    fs::write(&file, ROTATED).unwrap();
    wait::until("the new one is in use", || (scene.given("demo").len() == 2).then_some(()));
    assert_eq!(scene.given("demo")[1], initialized_with(ROTATED));
    wait::until("nothing is wrong any more", || {
        proxy.admin().config()["last_refusal"].is_null().then_some(())
    });
}

#[test]
fn the_client_secret_that_changes_is_the_one_that_is_sent() {
    let scene = Scene::new();
    let proxy = scene.start(&scene.config()).run();
    let active = json!({ "active": true, "sub": "alice", "aud": "orders", "exp": from_now(600) });
    scene.server.set(TOKEN, &active);
    let authorization = format!("authorization: Bearer {TOKEN}");
    let raw = "content-type: application/octet-stream";
    let call =
        || curl::run(&["-H", &authorization, "-H", raw, "-d", "x", &proxy.url("/v1/demo/echo")]).status;
    assert_eq!(call(), 200);
    let version = proxy.admin().version();
    scene.mount(2, &[("backend.password", IN_DIRECTORY), ("client-secret", ROTATED)]);
    wait::until("it is in use", || (proxy.admin().version() > version).then_some(()));
    assert_eq!(call(), 200);
    let sent = scene.server.authorizations();
    let basic = |secret: &str| {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        format!("Basic {}", STANDARD.encode(format!("proxy:{secret}")))
    };
    assert_eq!(sent.first(), Some(&basic(CLIENT_SECRET)));
    assert_eq!(sent.last(), Some(&basic(ROTATED)));
    // No instance had anything to do with it.
    assert_eq!((scene.given("demo").len(), scene.given("plain").len()), (1, 1));
}

#[test]
fn a_proxy_without_its_secrets_does_not_start() {
    let scene = Scene::new();
    let config = scene.config();
    let mut proxy: Proxy = scene.start(&config).variable("PRISM_SECRET_FROM_ENV", "").spawn();
    assert!(!proxy.process.wait().success());
    let log = proxy.process.log();
    assert!(log.contains("namespaces[0].credentials.other: there is no secret `from-env`"), "{log}");
    assert!(log.contains("PRISM_SECRET_FROM_ENV is empty") && !log.contains(MARK), "{log}");
    assert!(scene.plugin.recorder.initialized().is_empty());
}

/// Whatever is wrong with where it stands.
#[test]
fn a_secret_that_stands_in_the_wrong_place_is_not_told() {
    let oauth2 = |introspection: &str| {
        format!("- auth: {{ oauth2: {{ issuer: a, audiences: [b], introspection: {introspection} }} }}")
    };
    let proxy = Proxy::start(DEMO);
    let bare = format!("proxy:{MISTAKEN}");
    let url = format!("https://proxy:{MISTAKEN}@id.example/introspect");
    for text in [&*bare, &*url, MISTAKEN] {
        for filter in [
            oauth2(&format!("'{text}'")),
            oauth2(&format!("['{text}']")),
            oauth2(&format!("{{ '{url}' }}")),
            oauth2(&format!("{{ url: 'https://a', client_id: b, client_secret: ['{text}'] }}")),
            oauth2(&format!("{{ url: ['{url}'], client_id: b, client_secret: c }}")),
            oauth2(&format!("{{ url: '{url}', client_id: b, client_secret: c }}")),
            format!("- auth: '{text}'"),
            format!("- auth: {{ any: '{text}' }}"),
            format!("- auth: {{ any: ['{text}'] }}"),
            format!("- auth: {{ any: [ {{ oauth2: '{text}' }} ] }}"),
            format!("- auth: {{ all: [ {{ jwt: '{url}' }} ] }}"),
            format!("- auth: {{ api_keys: '{text}' }}"),
            format!("- '{url}'"),
            format!("- '{url}': {{}}"),
        ] {
            let config =
                proxy.fill(&DEMO.replace("- plugin_dispatch", &format!("{filter}\n      - plugin_dispatch")));
            let answer = proxy.admin().over_socket("PUT", "/config", &config).expect(400).text();
            assert!(answer.contains("problems") && !answer.contains(MARK), "{filter}: {answer}");
            let file = proxy.folder().join("wrong.yaml");
            fs::write(&file, &config).unwrap();
            let checked =
                tools::output(Command::new(tools::own("prism-edge")).arg("check").arg("-c").arg(&file));
            let said = [checked.stdout, checked.stderr].concat();
            assert!(!checked.status.success() && !String::from_utf8_lossy(&said).contains(MARK), "{filter}");
            let shown = proxy.admin().get("/config").expect(200).text();
            assert!(shown.contains("last_refusal") && !shown.contains(MARK), "{filter}: {shown}");
        }
    }
    assert!(!proxy.process.log().contains(MARK));
}
