//! h2spec, which looks over how a listener speaks HTTP/2.

use crate::{
    backend::{Backend, Speaks},
    tools,
};
use std::process::Command;

/// This configuration made fit for it, and the service that everything is passed on to then.
///
/// The service answers when it has read a request to its end. Where a request is answered before that, the rest is
/// declined with `RST_STREAM(NO_ERROR)` (RFC 9113, 8.1), which case 6.9.1/3 takes for a wrong code instead of
/// `FLOW_CONTROL_ERROR` when the answer is faster than its second `WINDOW_UPDATE`.
#[must_use]
pub fn passed_on(template: &str) -> (String, Backend) {
    let backend = Backend::start(Speaks::Http2);
    let route = format!(
        "{{ match: {{}}, forward: true, targets: [{{ address: '{}', protocol: http2 }}] }}",
        backend.address
    );
    (template.replace("match: { path_prefix: / }", &route), backend)
}

/// Runs all of its cases, strictly, with these further arguments.
///
/// # Panics
/// When one fails or is left out.
pub fn passes_every_case(port: u16, arguments: &[&str]) {
    let mut command = Command::new(tools::tool("h2spec"));
    command.args(["--strict", "--host", "127.0.0.1", "--port", &port.to_string(), "--timeout", "5"]);
    let report = tools::succeed(command.args(arguments));
    let sum = report.lines().rev().find(|line| line.contains("tests,")).unwrap_or_default();
    assert!(sum.contains("0 skipped, 0 failed"), "{report}");
    assert!(!sum.starts_with("0 tests"), "{report}");
}
