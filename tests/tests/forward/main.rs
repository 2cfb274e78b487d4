//! Forward routes: another service, over HTTP/1.1 or HTTP/2, behind the same filters.

mod answers;
mod ends;
mod heads;
mod routing;
mod targets;

use prism_tests::{
    Proxy,
    backend::{Backend, Speaks},
    client::curl::{self, Answer},
};
use serde_json::Value;

pub(crate) const CLIENTS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];
pub(crate) const SPEAKS: [(Speaks, &str); 2] = [(Speaks::Http1, "http1"), (Speaks::Http2, "http2")];

/// A listener with these routes.
pub(crate) fn routes(routes: &[String]) -> String {
    let routes: String = routes.iter().map(|route| format!("      - {{ {route} }}\n")).collect();
    format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters: [ trace: {{}}, plugin_dispatch: {{}} ]
    routes:
{routes}namespaces:
  - {{ name: demo, backend: memory }}
"
    )
}

/// A route for everything to one service.
pub(crate) fn all_to(backend: &Backend, protocol: &str) -> String {
    let address = &backend.address;
    format!("match: {{}}, forward: true, targets: [{{ address: '{address}', protocol: {protocol} }}]")
}

pub(crate) fn get(proxy: &Proxy, version: &str, path: &str, more: &[&str]) -> Answer {
    let url = proxy.url(path);
    let mut arguments = vec![version, "--path-as-is", &url];
    arguments.extend(more);
    curl::run(&arguments)
}

/// The header's values, as the service saw them.
pub(crate) fn values<'a>(asked: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = asked["headers"].as_array().unwrap();
    headers.iter().filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect()
}

pub(crate) fn reason(answer: &Answer) -> String {
    answer.json()["reason"].as_str().unwrap().to_owned()
}
