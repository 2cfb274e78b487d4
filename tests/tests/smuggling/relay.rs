//! A naive relay, as it should not be: it believes `Content-Length` and nothing else, and sends on what it got as it came.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

/// Sends one request on to the service: its head as it is, and as much of a body as the last well-formed length says.
pub(crate) fn pass(service: u16, bytes: &[u8]) {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let lengths = head.lines().filter_map(|line| line.strip_prefix("content-length:"));
    let length = lengths.filter_map(|value| value.trim().parse().ok()).next_back().unwrap_or(0_usize);
    let whole = &bytes[..bytes.len().min((end + 4).saturating_add(length))];
    let mut socket = TcpStream::connect(("127.0.0.1", service)).unwrap();
    socket.write_all(whole).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    // Its answers are of no interest; that it ends is.
    let _ = socket.read_to_end(&mut Vec::new());
}
