//! The comparison's floor has to be a relay: what goes in comes out, whole, in order, however slowly it is read.
#![allow(clippy::unwrap_used)] // also in the helpers of a test

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

struct Relay {
    process: Child,
    port: u16,
    server: UnixListener,
    _folder: tempfile::TempDir,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Relay {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("server.sock");
        let server = UnixListener::bind(&socket).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        let mut process = command.arg("0").arg(&socket).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let port = said.trim().parse().expect("the port it listens on");
        Self { process, port, server, _folder: folder }
    }

    /// The connection that the relay opens for a client.
    fn accept(&self) -> UnixStream {
        self.server.set_nonblocking(true).unwrap();
        for _ in 0..3000 {
            match self.server.accept() {
                Ok((server, _)) => {
                    server.set_nonblocking(false).unwrap();
                    return server;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("the relay does not connect");
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        client
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index ^ (index >> 8) ^ (index >> 16)).to_le_bytes()[0]).collect()
}

#[test]
fn megabytes_pass_both_ways_at_once() {
    let relay = Relay::start();
    let client = relay.client();
    let server = relay.accept();
    // More than the sockets and the relay hold together, so that both directions stop and go on.
    let sent = pattern(8 << 20);
    thread::scope(|scope| {
        for mut writer in [
            Box::new(client.try_clone().unwrap()) as Box<dyn Write + Send>,
            Box::new(server.try_clone().unwrap()),
        ] {
            let sent = &sent;
            scope.spawn(move || writer.write_all(sent).unwrap());
        }
        for mut reader in [
            Box::new(client.try_clone().unwrap()) as Box<dyn Read + Send>,
            Box::new(server.try_clone().unwrap()),
        ] {
            let sent = &sent;
            scope.spawn(move || {
                let mut got = vec![0; sent.len()];
                for piece in got.chunks_mut(100_000) {
                    reader.read_exact(piece).unwrap();
                }
                assert!(got == *sent);
            });
        }
    });
}

#[test]
fn connections_do_not_mix_and_slots_are_used_again() {
    let relay = Relay::start();
    for round in 0..3_u8 {
        let mut pairs: Vec<_> = (0..20_u8).map(|_| (relay.client(), relay.accept())).collect();
        for (number, (client, _)) in pairs.iter_mut().enumerate() {
            client.write_all(&[round, u8::try_from(number).unwrap()]).unwrap();
        }
        for (number, (client, server)) in pairs.iter_mut().enumerate() {
            let mut got = [0; 2];
            server.read_exact(&mut got).unwrap();
            assert_eq!(got, [round, u8::try_from(number).unwrap()]);
            server.write_all(&got).unwrap();
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, [round, u8::try_from(number).unwrap()]);
        }
    }
}

#[test]
fn an_end_that_closes_takes_the_other_with_it() {
    let relay = Relay::start();
    let client = relay.client();
    let mut server = relay.accept();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.shutdown(Shutdown::Both).unwrap();
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    let mut client = relay.client();
    drop(relay.accept());
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}
