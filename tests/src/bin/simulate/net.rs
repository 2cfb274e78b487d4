//! The simulated network, as the platform's.

use prism_platform::{Accepted, Address, BindOptions, BoxFuture, Io, Listener, Net};
use std::{io, net::SocketAddr};

/// turmoil's network. It has no unix sockets.
pub(crate) struct Turmoil;

impl Net for Turmoil {
    fn bind<'a>(
        &'a self,
        address: &'a Address,
        _: BindOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let socket = turmoil::net::TcpListener::bind(tcp(address)?).await?;
            Ok(Box::new(Socket(socket)) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Io>> {
        Box::pin(
            async move { Ok(Io::Other(Box::new(turmoil::net::TcpStream::connect(tcp(address)?).await?))) },
        )
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(vec![SocketAddr::new(turmoil::lookup(host), port)]) })
    }
}

fn tcp(address: &Address) -> io::Result<SocketAddr> {
    match address {
        Address::Tcp(address) => Ok(*address),
        Address::Unix(_) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "no unix sockets in the simulation"))
        }
    }
}

struct Socket(turmoil::net::TcpListener);

impl Listener for Socket {
    fn accept(&self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await?;
            Ok(Accepted { io: Io::Other(Box::new(stream)), peer: Some(peer) })
        })
    }

    fn local_address(&self) -> io::Result<Address> {
        self.0.local_addr().map(Address::Tcp)
    }
}
