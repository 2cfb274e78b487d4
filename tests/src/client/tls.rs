//! TLS: the project's own client, and `openssl s_client`, which can be told to be old, weak or odd.

use crate::{client::http2, tools};
use prism_tls::{ClientFiles, ClientStream, ClientTls, alpn, server_name};
use std::{
    io::{self, Write},
    process::{Command, Stdio},
    thread,
};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// Connects as who `files` say, to the proxy on 127.0.0.1.
///
/// # Errors
/// One side refused the other. In TLS 1.3 a client that is refused may hear of it only when it reads.
///
/// # Panics
/// When the files cannot be used.
pub async fn connect(
    port: u16,
    files: &ClientFiles,
    protocol: &'static [u8],
) -> io::Result<ClientStream<TcpStream>> {
    let client = ClientTls::load(files.clone()).unwrap();
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    client.connect(server_name("127.0.0.1").unwrap(), protocol, socket).await
}

/// An HTTP/2 connection as who `files` say.
///
/// # Errors
/// As [`connect`].
pub async fn http2(port: u16, files: &ClientFiles) -> io::Result<http2::Connection> {
    let stream = connect(port, files, alpn::HTTP2).await?;
    http2::over(stream).await.map_err(io::Error::other)
}

/// The certificate that the proxy shows, in DER.
///
/// # Panics
/// When it shows none.
#[must_use]
pub fn certificate<S>(stream: &ClientStream<S>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().expect("a server has a certificate")[0].to_vec()
}

/// The first bytes of a client that asks for HTTP/2: a whole `ClientHello`.
///
/// # Panics
/// When the files cannot be used.
pub async fn client_hello(files: &ClientFiles) -> Vec<u8> {
    let client = ClientTls::load(files.clone()).unwrap();
    let (near, mut far) = tokio::io::duplex(16 << 10);
    let hello = async {
        let mut hello = vec![0; 16 << 10];
        let length = far.read(&mut hello).await.unwrap();
        hello.truncate(length);
        hello
    };
    tokio::select! {
        ended = client.connect(server_name("127.0.0.1").unwrap(), alpn::HTTP2, near) => {
            panic!("it waits for an answer: {ended:?}")
        }
        hello = hello => hello,
    }
}

/// What `openssl` said, and whether it was content.
#[derive(Debug)]
pub struct Said {
    /// It ended with success.
    pub success: bool,
    /// What it wrote to both outputs.
    pub text: String,
}

/// `openssl s_client` to a port of 127.0.0.1, which is sent `input`.
///
/// # Panics
/// When it cannot be run.
#[must_use]
pub fn s_client(port: u16, arguments: &[&str], input: &[u8]) -> Said {
    let mut command = Command::new(tools::tool("timeout"));
    command.arg("30").arg(tools::tool("openssl")).args(["s_client", "-connect"]);
    command.arg(format!("127.0.0.1:{port}")).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may end before it has read everything.
    let writing = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Said { success: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() }
}
