//! What sslyze finds: old versions, weak ciphers, and the mistakes that TLS servers are known for.

use crate::{pki, s_server, start};
use prism_tests::{DEMO, Proxy, tools};
use serde_json::Value;
use std::{fs, process::Command};

/// What is asked for, and where its answer is. With `--mozilla_config disable` nothing is asked for unless it is named.
const SCANS: [(&str, &str); 12] = [
    ("--sslv2", "ssl_2_0_cipher_suites"),
    ("--sslv3", "ssl_3_0_cipher_suites"),
    ("--tlsv1", "tls_1_0_cipher_suites"),
    ("--tlsv1_1", "tls_1_1_cipher_suites"),
    ("--tlsv1_2", "tls_1_2_cipher_suites"),
    ("--tlsv1_3", "tls_1_3_cipher_suites"),
    ("--compression", "tls_compression"),
    ("--reneg", "session_renegotiation"),
    ("--heartbleed", "heartbleed"),
    ("--robot", "robot"),
    ("--openssl_ccs", "openssl_ccs_injection"),
    ("--early_data", "tls_1_3_early_data"),
];

/// Has a port looked over in one go: the one server's result.
fn scan(port: u16, arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("found.json");
    let mut command = Command::new(tools::tool("timeout"));
    command.arg("120").arg(tools::tool("sslyze")).args(["--mozilla_config", "disable", "--quiet"]);
    // Few connections at a time: what it cannot look at because the machine is busy would fail the test.
    command.arg("--slow_connection");
    command.args(arguments).arg(format!("--json_out={}", file.display()));
    tools::succeed(command.arg(format!("127.0.0.1:{port}")));
    let mut found: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let servers = found["server_scan_results"].as_array_mut().unwrap();
    assert_eq!(servers.len(), 1, "{servers:?}");
    servers.remove(0)
}

/// The same of a server that takes one connection at a time: one scan after the other.
fn scan_slowly(port: u16) -> Value {
    let scans = SCANS.map(|(flag, name)| (name, scan(port, &[flag])));
    let mut all = scans[0].1.clone();
    for (name, mut scan) in scans {
        assert_eq!(scan["scan_status"], "COMPLETED", "{name}");
        all["scan_result"][name] = scan["scan_result"][name].take();
    }
    all
}

/// The names of the suites that were accepted.
fn accepted<'a>(scan: &'a Value, version: &str) -> Vec<&'a str> {
    let suites = scan["scan_result"][version]["result"]["accepted_cipher_suites"].as_array();
    let name = |suite: &'a Value| suite["cipher_suite"]["name"].as_str().unwrap();
    suites.unwrap_or_else(|| panic!("no suites for {version}")).iter().map(name).collect()
}

/// RFC 9325 section 4.2: forward secrecy, and authenticated encryption.
fn is_strong(suite: &str) -> bool {
    let is_ephemeral = suite.starts_with("TLS_ECDHE_") || suite.starts_with("TLS_DHE_");
    is_ephemeral && ["_GCM_", "_CCM", "_CHACHA20_POLY1305_"].iter().any(|mode| suite.contains(mode))
}

/// What is wrong with a server.
///
/// # Errors
/// Something was not looked at to its end: that is no good news.
fn weaknesses(scan: &Value) -> Result<Vec<String>, String> {
    if scan["scan_status"] != "COMPLETED" {
        return Err(format!("the scan is {}", scan["scan_status"]));
    }
    for (_, name) in SCANS {
        let scan = &scan["scan_result"][name];
        if scan["status"] != "COMPLETED" || !scan["result"].is_object() {
            return Err(format!("{name} is {}: {}", scan["status"], scan["error_trace"]));
        }
    }
    let mut found = Vec::new();
    for version in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"] {
        let name = format!("{version}_cipher_suites");
        let is_supported = &scan["scan_result"][&name]["result"]["is_tls_version_supported"];
        if *is_supported != Value::Bool(false) || !accepted(scan, &name).is_empty() {
            found.push(format!("{version} is spoken"));
        }
    }
    let weak = accepted(scan, "tls_1_2_cipher_suites").into_iter().filter(|suite| !is_strong(suite));
    found.extend(weak.map(str::to_owned));
    // What each says of a server that has not this mistake; whatever else it says, or does not say, is one.
    let robot = ["NOT_VULNERABLE_NO_ORACLE", "NOT_VULNERABLE_RSA_NOT_SUPPORTED"].map(Value::from);
    let (yes, no) = (&[Value::Bool(true)], &[Value::Bool(false)]);
    let good: [(&str, &str, &[Value]); 7] = [
        ("tls_compression", "supports_compression", no),
        ("session_renegotiation", "supports_secure_renegotiation", yes),
        ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", no),
        ("heartbleed", "is_vulnerable_to_heartbleed", no),
        ("robot", "robot_result", &robot),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", no),
        // A request in it can be played again (RFC 8446 section 8).
        ("tls_1_3_early_data", "supports_early_data", no),
    ];
    for (name, key, good) in good {
        let said = &scan["scan_result"][name]["result"][key];
        if !good.contains(said) {
            found.push(format!("{key}: {said}"));
        }
    }
    Ok(found)
}

#[test]
fn nothing_old_or_weak_is_found() {
    let (_pki, proxy, _) = start("");
    let scan = scan(proxy.port(), &SCANS.map(|(flag, _)| flag));
    assert_eq!(weaknesses(&scan), Ok(Vec::new()));
    assert!(!accepted(&scan, "tls_1_2_cipher_suites").is_empty());
    assert!(!accepted(&scan, "tls_1_3_cipher_suites").is_empty());

    // Were there something, or had it not been looked at, it would be told.
    for (_, name) in SCANS {
        for status in ["ERROR", "NOT_SCHEDULED"] {
            let mut other = scan.clone();
            other["scan_result"][name]["status"] = status.into();
            assert!(weaknesses(&other).is_err(), "{name} {status}");
        }
        let mut other = scan.clone();
        other["scan_result"][name]["result"] = Value::Null;
        assert!(weaknesses(&other).is_err(), "{name}");
    }
    for (name, key, bad) in [
        ("ssl_2_0_cipher_suites", "is_tls_version_supported", Value::Bool(true)),
        ("ssl_3_0_cipher_suites", "is_tls_version_supported", Value::Bool(true)),
        ("tls_compression", "supports_compression", Value::Bool(true)),
        ("session_renegotiation", "supports_secure_renegotiation", Value::Bool(false)),
        ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", Value::Bool(true)),
        ("heartbleed", "is_vulnerable_to_heartbleed", Value::Bool(true)),
        ("robot", "robot_result", "VULNERABLE_WEAK_ORACLE".into()),
        ("robot", "robot_result", "UNKNOWN_INCONSISTENT_RESULTS".into()),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", Value::Null),
        ("tls_1_3_early_data", "supports_early_data", Value::Bool(true)),
    ] {
        let mut other = scan.clone();
        other["scan_result"][name]["result"][key] = bad;
        assert_eq!(weaknesses(&other).map(|found| found.len()), Ok(1), "{name}.{key}");
    }
    let mut other = scan;
    other["scan_status"] = "ERROR_NO_CONNECTIVITY".into();
    assert!(weaknesses(&other).is_err());
}

/// Else the test above could be one of a scanner that finds nothing.
#[test]
fn what_is_old_and_weak_is_found_elsewhere() {
    let pki = pki();
    // With a key of RSA there are suites without forward secrecy too.
    let (cert, key) = (pki.path("edge.crt"), pki.path("edge.key"));
    let mut openssl = Command::new(tools::tool("openssl"));
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=weak"]);
    tools::succeed(openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &key, "-out", &cert]));
    let port = Proxy::start(DEMO).port();
    let weak = ["-cipher", "ALL:@SECLEVEL=0", "-min_protocol", "TLSv1"];
    let _server = s_server(&pki, port, &weak);
    let found = weaknesses(&scan_slowly(port)).unwrap();
    for expected in [
        "tls_1_0 is spoken",
        "tls_1_1 is spoken",
        // No forward secrecy, no authenticated encryption, nobody at the other end, and all of it.
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "TLS_DH_anon_WITH_AES_128_GCM_SHA256",
        "TLS_DH_anon_WITH_AES_128_CBC_SHA",
    ] {
        assert!(found.iter().any(|found| found == expected), "no {expected} in {found:?}");
    }
    assert!(!found.iter().any(|found| is_strong(found)), "{found:?}");
}
