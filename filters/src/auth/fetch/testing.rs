//! A network with one server in it, which behaves as it is told.

use prism_platform::{Address, BindOptions, BoxFuture, Io, Listener, Net, Platform};
use prism_tls::ServerTls;
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};

/// What the server does with a connection.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Takes none.
    Refuses,
    /// Does not even say that.
    Swallows,
    /// Answers, and closes.
    Says(Vec<u8>),
    /// Answers that, and neither goes on nor closes.
    Stops(Vec<u8>),
    /// Answers that, a byte a second.
    Trickles(Vec<u8>),
    /// Answers that, and then bytes without an end.
    Floods(Vec<u8>),
}

#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

struct State {
    behaviour: Behaviour,
    tls: Option<Arc<ServerTls>>,
    hosts: HashMap<String, Vec<IpAddr>>,
    /// Addresses at which nobody answers.
    dead: Vec<IpAddr>,
    resolved: Vec<String>,
    connected: Vec<SocketAddr>,
    requests: Vec<String>,
}

/// 200 with a body.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

impl World {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self(Arc::new(Mutex::new(State {
            behaviour,
            tls: None,
            hosts: HashMap::from([("localhost".to_owned(), vec![[127, 0, 0, 1].into()])]),
            dead: Vec::new(),
            resolved: Vec::new(),
            connected: Vec::new(),
            requests: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn platform(&self) -> Platform {
        Platform::simulated(Arc::new(self.clone()), 7)
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    pub(crate) fn speak_tls(&self, tls: ServerTls) {
        self.state().tls = Some(Arc::new(tls));
    }

    pub(crate) fn host(&self, name: &str, addresses: &[IpAddr]) {
        self.state().hosts.insert(name.to_owned(), addresses.to_vec());
    }

    pub(crate) fn dead(&self, address: IpAddr) {
        self.state().dead.push(address);
    }

    /// The names that were looked up.
    pub(crate) fn resolved(&self) -> Vec<String> {
        self.state().resolved.clone()
    }

    /// Where connections were opened, or tried.
    pub(crate) fn connected(&self) -> Vec<SocketAddr> {
        self.state().connected.clone()
    }

    /// What was asked, as it came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    async fn serve(self, mut io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut request = Vec::new();
        let complete = |request: &[u8]| {
            let text = String::from_utf8_lossy(request).to_ascii_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            body.len() >= length.map_or(0, |length| length.parse().unwrap())
        };
        while !complete(&request) {
            if io.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let behaviour = {
            let mut state = self.state();
            state.requests.push(String::from_utf8(request).unwrap());
            state.behaviour.clone()
        };
        match behaviour {
            Behaviour::Refuses | Behaviour::Swallows => Ok(()),
            Behaviour::Says(answer) => {
                io.write_all(&answer).await?;
                io.shutdown().await
            }
            Behaviour::Stops(answer) => {
                io.write_all(&answer).await?;
                io.flush().await?;
                io.read_u8().await.map(drop)
            }
            Behaviour::Trickles(answer) => {
                for byte in answer {
                    io.write_all(&[byte]).await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Ok(())
            }
            Behaviour::Floods(answer) => {
                io.write_all(&answer).await?;
                loop {
                    io.write_all(&[b' '; 1024]).await?;
                }
            }
        }
    }
}

impl Net for World {
    fn bind<'a>(&'a self, _: &'a Address, _: BindOptions) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Io>> {
        Box::pin(async move {
            let Address::Tcp(address) = address else { return Err(io::ErrorKind::Unsupported.into()) };
            let (behaviour, tls) = {
                let mut state = self.state();
                state.connected.push(*address);
                let dead = state.dead.contains(&address.ip());
                (if dead { Behaviour::Swallows } else { state.behaviour.clone() }, state.tls.clone())
            };
            match behaviour {
                Behaviour::Refuses => return Err(io::ErrorKind::ConnectionRefused.into()),
                Behaviour::Swallows => std::future::pending().await,
                _ => {}
            }
            let (near, far) = duplex(16 << 10);
            let world = self.clone();
            tokio::spawn(async move {
                match tls {
                    None => world.serve(far).await,
                    Some(tls) => world.serve(tls.accept(far).await?).await,
                }
            });
            Ok(Io::Other(Box::new(near)))
        })
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let mut state = self.state();
            state.resolved.push(host.to_owned());
            let addresses = state.hosts.get(host).ok_or(io::ErrorKind::NotFound)?;
            Ok(addresses.iter().map(|address| SocketAddr::new(*address, port)).collect())
        })
    }
}
