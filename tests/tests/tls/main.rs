//! TLS at the listener, from outside: what is spoken, who is refused, renewal, and how connections end.

mod again;
mod broken;
mod clients;
mod ends;
mod files;
mod renewal;
mod scanned;
mod spoken;

use bytes::Bytes;
use prism_tests::{
    DEMO, Pki, Process, Proxy,
    client::{http2, tls},
    tools, wait,
};
use prism_tls::{ClientFiles, IdentityFiles};
use std::{io, net::TcpStream, process::Command};

/// [`DEMO`] behind TLS with these settings, and more settings for its listener.
fn behind(settings: &str, more: &str) -> String {
    DEMO.replace("- trace: {}", &format!("- tls: {settings}\n      - trace: {{}}"))
        .replace("    filters:", &format!("    {more}\n    filters:"))
}

/// The listener's own files: `edge.crt` and `.key`, for 127.0.0.1.
fn pki() -> Pki {
    let pki = Pki::new();
    sign(&pki);
    pki
}

/// A new identity for the listener.
fn sign(pki: &Pki) {
    pki.folder.identity("edge", &pki.authority.identity(&["edge.test", "127.0.0.1"], |_| {}));
}

/// The settings of the filter: certificate and key, and more of them.
fn own(pki: &Pki, more: &str) -> String {
    format!("{{ cert: '{}', key: '{}'{more} }}", pki.path("edge.crt"), pki.path("edge.key"))
}

/// A proxy with the listener's own files, and whoever trusts it.
fn start(more: &str) -> (Pki, Proxy, ClientFiles) {
    let pki = pki();
    let proxy = Proxy::start(&behind(&own(&pki, ""), more));
    let nobody = nobody(&pki);
    (pki, proxy, nobody)
}

/// A client that trusts the listener and has no certificate.
fn nobody(pki: &Pki) -> ClientFiles {
    ClientFiles { ca: pki.path("ca.crt").into(), identity: None }
}

/// A client that has one.
fn somebody(pki: &Pki, identity: IdentityFiles) -> ClientFiles {
    ClientFiles { identity: Some(identity), ..nobody(pki) }
}

/// A call on an open connection: what it is for is that it is answered.
async fn call(connection: &http2::Connection) -> Result<(), h2::Error> {
    let answer = ask(connection).await?;
    assert_eq!(answer.status, 200, "{answer:?}");
    Ok(())
}

async fn ask(connection: &http2::Connection) -> Result<http2::Answer, h2::Error> {
    let head = http::Request::get("https://127.0.0.1/v1/demo").body(()).unwrap();
    connection.call(head, Bytes::new()).await
}

/// Connects and calls. A client whose rights end between the two is let in and then refused: that is no service either.
async fn serves(proxy: &Proxy, files: &ClientFiles) -> io::Result<()> {
    let connection = tls::http2(proxy.port(), files).await?;
    let answer = ask(&connection).await.map_err(io::Error::other)?;
    match answer.status.as_u16() {
        200 => Ok(()),
        401 => Err(io::Error::other("refused after the handshake")),
        _ => panic!("{answer:?}"),
    }
}

/// How many handshakes have failed.
fn failed(proxy: &Proxy) -> f64 {
    proxy.admin().metric("prism_tls_handshakes_failed_total", "edge")
}

/// A server of other people with the listener's files, which takes what it is told to take.
fn s_server(pki: &Pki, port: u16, arguments: &[&str]) -> Process {
    let log = pki.folder.path().join("s_server.log");
    let mut command = Command::new(tools::tool("openssl"));
    command.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-www"]).args(arguments);
    command.args(["-cert", &pki.path("edge.crt"), "-key", &pki.path("edge.key")]);
    let mut server = Process::spawn("s_server", &mut command, &log);
    wait::until("openssl should listen", || {
        assert!(server.ended().is_none(), "{}", server.log());
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    server
}
