//! A forward route hides nothing of gRPC: the gRPC project's own interoperability tests, with its client and its server.

mod compression;

use prism_tests::{Process, Proxy, tools, wait};
use std::{collections::BTreeSet, process::Command};
use tempfile::TempDir;

/// What the client meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    Clear,
    Tls,
}

/// A test of each case over each listener: `clear::NAME` and `tls::NAME`.
macro_rules! cases {
    ($($name:ident)*) => {
        const CASES: &[&str] = &[$(stringify!($name)),*];
        mod clear {
            $(#[test]
            fn $name() {
                super::passes(stringify!($name), super::Listener::Clear);
            })*
        }
        mod tls {
            $(#[test]
            fn $name() {
                super::passes(stringify!($name), super::Listener::Tls);
            })*
        }
    };
}

cases! {
    empty_unary
    large_unary
    client_streaming
    server_streaming
    ping_pong
    empty_stream
    timeout_on_sleeping_server
    cancel_after_begin
    cancel_after_first_response
    status_code_and_message
    special_status_message
    custom_metadata
    unimplemented_method
    unimplemented_service
    orca_per_rpc
    orca_oob
    rpc_soak
    channel_soak
}

/// Cases that the client's list of its cases does not mention.
const UNLISTED: [&str; 2] = ["rpc_soak", "channel_soak"];

/// Cases that are not about what lies between client and server.
const LEFT_OUT: [&str; 7] = [
    // Of an account in Google's cloud.
    "compute_engine_creds",
    "service_account_creds",
    "jwt_token_creds",
    "per_rpc_creds",
    "oauth2_auth_token",
    "google_default_credentials",
    "compute_engine_channel_credentials",
];

/// A case that this server fails without a proxy too: it does not say its name.
const BROKEN: &str = "pick_first_unary";

/// What else the client is told for a case.
fn arguments(case: &str) -> &'static [&'static str] {
    match case {
        // The bounds are there against a hang: how long a call takes is not what is tested.
        "rpc_soak" | "channel_soak" => &[
            "-soak_iterations=100",
            "-soak_num_threads=4",
            "-soak_per_iteration_max_acceptable_latency_ms=50000",
            "-soak_overall_timeout_seconds=50",
        ],
        // The balancer that gives the load reports to the case.
        "orca_per_rpc" | "orca_oob" => &[
            "-service_config_json",
            r#"{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#,
        ],
        _ => &[],
    }
}

/// The gRPC project's server. It says where it listens only in its log.
fn interop_server(folder: &TempDir) -> (Process, u16) {
    let mut command = Command::new(tools::interop("server"));
    command.args(["-port", "0"]).env("GRPC_GO_LOG_SEVERITY_LEVEL", "info");
    let mut server = Process::spawn("the interop server", &mut command, &folder.path().join("server.log"));
    let port = wait::until("the interop server should listen", || {
        let log = server.log();
        assert!(server.ended().is_none(), "the interop server ended:\n{log}");
        let line = log.lines().find(|line| line.contains("interop server listening on"))?.to_owned();
        // The whole line, not as much of it as has been written.
        log.contains(&format!("{line}\n")).then(|| line.rsplit_once(':').unwrap().1.parse().unwrap())
    });
    (server, port)
}

/// A proxy that forwards the calls of these services to a server in clear.
fn forward(listener: Listener, services: &[&str], port: u16) -> Proxy {
    let tls = match listener {
        Listener::Clear => String::new(),
        Listener::Tls => {
            let folder = tools::interop_certificates();
            let file = |name: &str| folder.join(name).display().to_string();
            format!("      - tls: {{ cert: '{}', key: '{}' }}\n", file("server1.pem"), file("server1.key"))
        }
    };
    let route = |service: &&str| {
        format!(
            "      - {{ match: {{ grpc: {{ service: {service} }} }}, forward: true, \
             targets: [{{ address: '127.0.0.1:{port}' }}] }}\n"
        )
    };
    let routes: String = services.iter().map(route).collect();
    Proxy::start(&format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters:
{tls}      - trace: {{}}
      - plugin_dispatch: {{}}
    routes:
{routes}"
    ))
}

/// What the gRPC project's client says of a case on this port, if it does not pass.
fn failure(case: &str, listener: Listener, port: u16) -> Option<String> {
    let mut command = Command::new(tools::tool("timeout"));
    command.arg("60").arg(tools::interop("client"));
    command.args(["-server_host=127.0.0.1", &format!("-server_port={port}"), &format!("-test_case={case}")]);
    if listener == Listener::Tls {
        command.args(["-use_tls", "-use_test_ca", "-server_host_override=foo.test.google.fr"]);
    }
    command.args(arguments(case)).env("GRPC_GO_LOG_SEVERITY_LEVEL", "info").env("no_proxy", "*");
    let output = tools::output(&mut command);
    (!output.status.success())
        .then(|| format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// A case passes through the proxy. If not, the server alone is asked whose fault it is.
fn passes(case: &str, listener: Listener) {
    let folder = tempfile::tempdir().unwrap();
    let (server, port) = interop_server(&folder);
    // The case `unimplemented_service` is about a service that no route takes.
    let services = ["grpc.testing.TestService", "xds.service.orca.v3.OpenRcaService"];
    let proxy = forward(listener, &services, port);
    if let Some(why) = failure(case, listener, proxy.port()) {
        let alone = match failure(case, Listener::Clear, port) {
            None => "without the proxy it passes".to_owned(),
            Some(why) => format!("without the proxy it fails too: {why}"),
        };
        panic!("{case} fails through the proxy ({listener:?}): {why}\n{alone}\n{}", server.log());
    }
}

/// A newer client's new cases are run, or left out with a reason.
#[test]
fn every_case_that_the_client_knows_is_run_or_left_out() {
    let help = tools::output(Command::new(tools::interop("client")).arg("-help"));
    let help = String::from_utf8(help.stderr).unwrap();
    let list = help.split("Valid options are:").nth(1).unwrap();
    let list = list.split("  -use_alts").next().unwrap();
    let listed: BTreeSet<&str> =
        list.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    let known = CASES.iter().chain(&LEFT_OUT).chain([&BROKEN]);
    let expected: BTreeSet<&str> = known.copied().filter(|case| !UNLISTED.contains(case)).collect();
    assert_eq!(listed, expected);
}

/// Without this, every case above could be one that nothing fails.
#[test]
fn a_case_that_is_not_served_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, port) = interop_server(&folder);
    let proxy = forward(Listener::Clear, &["grpc.testing.Nobody"], port);
    let why = failure("empty_unary", Listener::Clear, proxy.port()).expect("nothing takes its calls");
    assert!(why.contains("Unimplemented"), "{why}");
    let proxy = forward(Listener::Tls, &["grpc.testing.TestService"], port);
    for listener in [Listener::Clear, Listener::Tls] {
        let failed = failure("empty_unary", listener, proxy.port());
        assert_eq!(failed.is_some(), listener == Listener::Clear, "{listener:?}: {failed:?}");
    }
}
