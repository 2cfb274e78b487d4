//! A network in memory for the clients. Unix sockets are the kernel's: in one thread, what is written to one can
//! be read at once, so they repeat as well.

use prism_platform::{Accepted, Address, BindOptions, BoxFuture, Io, Listener, Net, SystemNet};
use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};
use tokio::{
    io::{DuplexStream, duplex},
    sync::{self, mpsc},
};

/// Bytes that a pipe holds: more than any scenario has under way.
const PIPE: usize = 1 << 20;

/// The network. It has room for one TCP listener.
#[derive(Default)]
pub(super) struct Pipes {
    door: Mutex<Option<mpsc::Sender<DuplexStream>>>,
}

impl Pipes {
    /// A client's end of a connection to the listener.
    ///
    /// # Panics
    /// When nobody listens.
    pub(super) fn dial(&self) -> DuplexStream {
        let (client, server) = duplex(PIPE);
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        door.as_ref().expect("a listener").try_send(server).expect("room in its queue");
        client
    }
}

impl Net for Pipes {
    fn bind<'a>(
        &'a self,
        address: &'a Address,
        options: BindOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let Address::Tcp(address) = address else { return SystemNet.bind(address, options).await };
            let (door, queue) = mpsc::channel(4);
            *self.door.lock().unwrap_or_else(PoisonError::into_inner) = Some(door);
            Ok(Box::new(Entrance { address: *address, queue: queue.into() }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Io>> {
        SystemNet.connect(address)
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        SystemNet.resolve(host, port)
    }
}

struct Entrance {
    address: SocketAddr,
    queue: sync::Mutex<mpsc::Receiver<DuplexStream>>,
}

impl Listener for Entrance {
    fn accept(&self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async {
            let stream = self.queue.lock().await.recv().await.ok_or(io::ErrorKind::NotConnected)?;
            Ok(Accepted { io: Io::Other(Box::new(stream)), peer: Some(self.address) })
        })
    }

    fn local_address(&self) -> io::Result<Address> {
        Ok(Address::Tcp(self.address))
    }
}
