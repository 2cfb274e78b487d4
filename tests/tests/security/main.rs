//! Who may call what, end to end: a real proxy, real clients, every way in.

mod certificates;
mod introspection;
mod keys;
mod rights;
mod together;
mod tokens;

use prism_tests::{
    Proxy,
    client::{
        curl::{self, Answer},
        http2::{self, Connection},
    },
    sha256, wait, wire,
};
use std::fmt::Write as _;
use tempfile::TempDir;

/// Keys as people make them: 24 random characters.
pub(crate) const KEY: &str = "k7Qm2xZp9RtYvB4nL8sWc3Df";
pub(crate) const OTHER: &str = "Zr5Tq8Wn1Xc6Vb3Hm7Jd2Kf4";

/// A file of keys.
pub(crate) struct KeyFile(TempDir);

impl KeyFile {
    pub(crate) fn new(keys: &[(&str, &str, &str)]) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        file.write(keys);
        file
    }

    pub(crate) fn path(&self) -> String {
        self.0.path().join("keys.yaml").display().to_string()
    }

    /// Names, keys and what else is said of each.
    pub(crate) fn write(&self, keys: &[(&str, &str, &str)]) {
        let mut text = "keys:\n".to_owned();
        for (name, key, more) in keys {
            let hex = sha256(key);
            writeln!(text, "  - {{ name: {name}, sha256: {hex}{more} }}").unwrap();
        }
        let next = self.0.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.path()).unwrap();
    }
}

/// A listener with these filters between `trace` and `plugin_dispatch`, and a namespace `demo`.
pub(crate) fn config(filters: &str) -> String {
    with_access(filters, "")
}

/// The same with `authz` behind these filters, and these rules of the namespace.
pub(crate) fn guarded(filters: &str, rules: &str) -> String {
    with_access(&format!("{filters}      - authz\n"), &format!(", access: [ {rules} ]"))
}

fn with_access(filters: &str, access: &str) -> String {
    format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters:
      - trace: {{}}
{filters}      - plugin_dispatch: {{}}
namespaces:
  - {{ name: demo, backend: memory{access} }}
"
    )
}

/// The header of a token.
pub(crate) fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

/// What each way in answers to a token.
pub(crate) async fn with_token(proxy: &Proxy, token: &str) -> Vec<(String, String)> {
    let (name, value) = bearer(token);
    every_way(proxy, &[(name, &value)]).await
}

/// Every way in lets the token's owner in.
pub(crate) async fn is_let_in(proxy: &Proxy, token: &str) {
    for (way, outcome) in with_token(proxy, token).await {
        assert_eq!(outcome, "Ok", "{way}");
    }
}

/// No way in does, and each says so with this reason.
pub(crate) async fn is_refused(proxy: &Proxy, token: &str, code: &str, reason: &str) {
    for (way, outcome) in with_token(proxy, token).await {
        let wanted = if way == "json" { reason } else { code };
        assert_eq!(outcome, wanted, "{way}");
    }
}

pub(crate) const INVALID: &str = "401 INVALID_CREDENTIALS";

pub(crate) const KV: &str = "/prism.kv.v1.KeyValueService";
pub(crate) const EXECUTE: &str = "/prism.data.v1.DataService/Execute";

/// `GetRequest { key: "k" }`.
pub(crate) fn get_request() -> Vec<u8> {
    wire::field(1, b"k")
}

/// The same, as `Execute` has it.
pub(crate) fn execute_get() -> Vec<u8> {
    let any = [wire::field(1, b"type.googleapis.com/prism.kv.v1.GetRequest"), wire::field(2, &get_request())]
        .concat();
    [wire::field(1, b"get"), wire::field(2, &any)].concat()
}

pub(crate) fn curl_get(proxy: &Proxy, headers: &[&str]) -> Answer {
    let url = proxy.url("/v1/demo/get");
    let mut arguments = vec![url.as_str(), "--json", r#"{"key":"k"}"#];
    for header in headers {
        arguments.extend(["-H", header]);
    }
    curl::run(&arguments)
}

/// What each way in answers to these credentials: the code, and the reason where there is one.
pub(crate) async fn every_way(proxy: &Proxy, headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let connection = http2::connect(proxy.port()).await;
    let mut outcomes = Vec::new();
    for (path, message) in [(EXECUTE, execute_get()), (&format!("{KV}/Get"), get_request())] {
        outcomes.push((path.to_owned(), grpc(&connection, path, headers, &message).await));
    }
    // curl's way to send a header without a value ends in a semicolon.
    let plain = |(name, value): &(&str, &str)| match value.is_empty() {
        true => format!("{name};"),
        false => format!("{name}: {value}"),
    };
    let plain: Vec<String> = headers.iter().map(plain).collect();
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let answer = curl_get(proxy, &plain);
    let outcome = match answer.status {
        200 => "Ok".to_owned(),
        _ => format!("{} {}", answer.status, answer.json()["reason"].as_str().unwrap()),
    };
    outcomes.push(("json".to_owned(), outcome));
    outcomes
}

pub(crate) async fn grpc(
    connection: &Connection,
    path: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> String {
    let mut all = vec![("x-prism-namespace", "demo")];
    all.extend(headers);
    let answer = connection.call(http2::head(path, &all), wire::framed(message)).await.unwrap();
    format!("{:?}", answer.code())
}

/// Waits until the access log's refusals have this detail.
pub(crate) fn told(proxy: &Proxy, detail: &str) {
    wait::until(&format!("the log says that {detail}"), || {
        let log = proxy.process.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.any(|line| line["detail"] == detail).then_some(())
    });
}
