//! A byte relay that parses nothing: `relay PORT SOCKET` passes every connection to 127.0.0.1:PORT on to the
//! unix socket. One thread, one epoll, two system calls for a burst of bytes: what a proxy with a connection on
//! either side cannot go below, and hence the floor that `cargo xtask bench compare` counts from.
//!
//! It prints the port it listens on, so that with 0 the kernel chooses one that nobody else has.
//!
//! It keeps no half-closed connections: when one end closes, so does the other.
// Where it listens, and why it did not start, is said at the terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, Event, EventData, EventFlags},
    io::{Errno, read, write},
};
use std::{
    env, io,
    net::TcpListener,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Bytes read at once. A megabyte passes in a few steps, and the buffer stays in the second-level cache.
const CHUNK: usize = 256 << 10;
/// Events taken from the kernel at once: more than the comparison's busiest shape has connections.
const EVENTS: usize = 256;
/// The listener among the events' tokens; the others count from 0.
const LISTENER: u64 = u64::MAX;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let port = arguments.next().and_then(|port| port.to_str()?.parse::<u16>().ok());
    let (Some(port), Some(socket)) = (port, arguments.next()) else {
        eprintln!("usage: relay PORT SOCKET");
        return ExitCode::from(2);
    };
    let Err(error) = Relay::bind(port, socket.into()).and_then(Relay::run);
    eprintln!("relay: {error}");
    ExitCode::FAILURE
}

/// Never.
enum Never {}

/// Two connections that are one.
struct Pair {
    ends: [OwnedFd; 2],
    /// What an end would not take yet. As long as there is some, the other end is not read.
    waiting: [Vec<u8>; 2],
}

struct Relay {
    epoll: OwnedFd,
    listener: TcpListener,
    socket: PathBuf,
    pairs: Vec<Option<Pair>>,
    chunk: Vec<u8>,
}

impl Relay {
    fn bind(port: u16, socket: PathBuf) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        println!("{}", listener.local_addr()?.port());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self { epoll, listener, socket, pairs: Vec::new(), chunk: vec![0; CHUNK] })
    }

    fn run(mut self) -> io::Result<Never> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let (token, flags) = (event.data.u64(), event.flags);
                if token == LISTENER {
                    self.accept()?;
                } else {
                    self.turn(token, flags);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let client = match self.listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            client.set_nodelay(true)?;
            client.set_nonblocking(true)?;
            let server = connect(&self.socket)?;
            let free = self.pairs.iter().position(Option::is_none).unwrap_or(self.pairs.len());
            let pair = Pair { ends: [client.into(), server.into()], waiting: [Vec::new(), Vec::new()] };
            for (end, fd) in pair.ends.iter().enumerate() {
                let token = EventData::new_u64((free * 2 + end) as u64);
                epoll::add(&self.epoll, fd, token, EventFlags::IN)?;
            }
            if free == self.pairs.len() {
                self.pairs.push(Some(pair));
            } else {
                self.pairs[free] = Some(pair);
            }
        }
    }

    fn turn(&mut self, token: u64, flags: EventFlags) {
        let Ok(token) = usize::try_from(token) else { return };
        let (slot, end) = (token / 2, token % 2);
        // A pair that ended earlier in this very turn may still have an event.
        let Some(pair) = self.pairs.get_mut(slot).and_then(Option::as_mut) else { return };
        if pair.turn(&self.epoll, slot, end, flags, &mut self.chunk).is_err() {
            self.pairs[slot] = None;
        }
    }
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let server = UnixStream::connect(socket)?;
    server.set_nonblocking(true)?;
    Ok(server)
}

/// One end closed, or failed: so does the other.
struct Ended;

impl From<Errno> for Ended {
    fn from(_: Errno) -> Self {
        Self
    }
}

impl Pair {
    fn turn(
        &mut self,
        epoll: &OwnedFd,
        slot: usize,
        end: usize,
        flags: EventFlags,
        chunk: &mut [u8],
    ) -> Result<(), Ended> {
        if flags.contains(EventFlags::OUT) {
            let sent = put(&self.ends[end], &self.waiting[end])?;
            self.waiting[end].drain(..sent);
            if self.waiting[end].is_empty() {
                self.watch(epoll, slot)?;
            }
        }
        let other = 1 - end;
        if flags.contains(EventFlags::IN) && self.waiting[other].is_empty() {
            let length = match read(&self.ends[end], &mut *chunk) {
                Ok(0) => return Err(Ended),
                Ok(length) => length,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(_) => return Err(Ended),
            };
            let sent = put(&self.ends[other], &chunk[..length])?;
            if sent < length {
                self.waiting[other].extend_from_slice(&chunk[sent..length]);
                self.watch(epoll, slot)?;
            }
        } else if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            return Err(Ended);
        }
        Ok(())
    }

    /// Tells the kernel what both ends wait for. Level-triggered and only on a change: with edges, a unix
    /// socket would report "writable" after every read of its peer.
    fn watch(&self, epoll: &OwnedFd, slot: usize) -> Result<(), Ended> {
        for end in 0..2 {
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, self.waiting[1 - end].is_empty());
            flags.set(EventFlags::OUT, !self.waiting[end].is_empty());
            let token = EventData::new_u64((slot * 2 + end) as u64);
            epoll::modify(epoll, &self.ends[end], token, flags)?;
        }
        Ok(())
    }
}

fn put(fd: &impl AsFd, bytes: &[u8]) -> Result<usize, Ended> {
    match write(fd, bytes) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(_) => Err(Ended),
    }
}
