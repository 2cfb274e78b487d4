use super::*;
use crate::connection::{
    detect::{Detected, detect},
    linger::{Linger, Lingering},
    socket::{self, Watched},
};
use prism_platform::{BindOptions, Io, Platform};
use socket2::Socket;
use std::{os::fd::AsFd, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An accepted HTTP/2 connection, its turn, a second handle to its socket, and the client.
async fn connected() -> (Batched, Turn, Socket, Io) {
    let platform = Platform::system();
    let listener = platform.bind(&"127.0.0.1:0".parse().unwrap(), BindOptions::default()).await.unwrap();
    let mut client = platform.connect(&listener.local_address().unwrap()).await.unwrap();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let io = listener.accept().await.unwrap().io;
    let Io::Tcp(stream) = &io else { panic!("a TCP listener") };
    let socket = Socket::from(stream.as_fd().try_clone_to_owned().unwrap());
    let linger = Rc::new(Linger::new(Duration::from_secs(1)));
    let io = socket::Socket::Plain(Watched::new(io, Duration::from_secs(30)));
    let detected = detect(Lingering::new(io, linger)).await.unwrap();
    let Detected::Http2(io) = detected else { panic!("the preface of HTTP/2") };
    let (batched, turn) = Batched::new(io);
    (batched, turn, socket, client)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // What lingers is a local task.
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn the_large_writes_of_a_turn_are_brought_together_until_it_ends() {
    run(async {
        let (mut io, turn, socket, mut client) = connected().await;
        let frame = vec![7; LARGE];
        for _ in 0..3 {
            io.write_all(&frame).await.unwrap();
            assert!(!socket.tcp_cork().unwrap(), "the first leaves at once");
            io.write_all(&frame).await.unwrap();
            assert!(socket.tcp_cork().unwrap());
            // What is small now leaves with the rest.
            io.write_all(b"small").await.unwrap();
            turn.end();
            assert!(!socket.tcp_cork().unwrap(), "nothing is kept back between turns");
            let mut received = vec![0; 2 * LARGE + 5];
            client.read_exact(&mut received).await.unwrap();
            assert_eq!(&received[2 * LARGE..], b"small");
        }
    });
}

#[test]
fn small_writes_and_turns_without_any_never_cork() {
    run(async {
        let (mut io, turn, socket, mut client) = connected().await;
        for _ in 0..4 {
            io.write_all(&[7; 100]).await.unwrap();
            io.write_all(&[7; LARGE - 1]).await.unwrap();
            assert!(!socket.tcp_cork().unwrap());
        }
        turn.end();
        turn.end();
        assert!(!socket.tcp_cork().unwrap());
        client.read_exact(&mut vec![0; 4 * (LARGE + 99)]).await.unwrap();
    });
}

#[test]
fn one_large_write_a_turn_never_corks() {
    run(async {
        let (mut io, turn, socket, mut client) = connected().await;
        for _ in 0..4 {
            io.write_all(&[7; LARGE]).await.unwrap();
            assert!(!socket.tcp_cork().unwrap());
            turn.end();
        }
        client.read_exact(&mut vec![0; 4 * LARGE]).await.unwrap();
    });
}
