//! Bytes on a socket, for requests that no client would send.

use crate::wait::GUARD;
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

/// A connection. Its reads end after [`GUARD`].
///
/// # Panics
/// When nobody answers.
#[must_use]
pub fn connect(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(GUARD)).unwrap();
    socket
}

/// Sends bytes; a peer that has already closed is no error, for its answer may still be there to read.
pub fn send(socket: &mut TcpStream, bytes: &[u8]) {
    let _ = socket.write_all(bytes);
}

/// Everything until the peer closes, in order or not.
///
/// # Panics
/// When it does not close.
pub fn until_closed(socket: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match socket.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => all.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the peer should close: {error}"),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}
