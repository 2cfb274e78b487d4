//! The operating system's sockets and clock.

#![allow(clippy::disallowed_methods)] // the one place that may

use crate::{
    io::Io,
    net::{Accepted, Address, BindOptions, BoxFuture, Listener, Net},
};
use rustix::{
    process::{Resource, getrlimit, setrlimit},
    thread::disable_transparent_huge_pages,
};
use socket2::{SockRef, TcpKeepalive};
use std::{
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixSocket, UnixStream, lookup_host};

/// Bytes that a socket takes beyond what the peer's window lets it send. The kernel's default is "megabytes": they
/// are memory that no limit of ours counts, and a peer that reads slowly but steadily would look like one
/// that reads nothing until a third of them is gone. 128 KiB keeps a fast peer's window full.
const NOT_SENT_BYTES: u32 = 128 * 1024;

pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Allows this process as many open files as the system lets it have, and says how many. The soft limit is 1,024 on
/// most systems for the sake of programs that use `select`; every connection here is a file.
///
/// # Errors
/// What the operating system says; the limit is then what it was.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current)
}

/// Keeps this process's memory in pages of the usual size. The allocator asks the kernel for huge ones, and then what an
/// idle connection keeps is rounded up to them: nearly twice the memory, and none of the speed (docs/performance.md).
///
/// # Errors
/// What the operating system says: one without such pages does not know the call, and needs it not.
pub fn avoid_huge_pages() -> io::Result<()> {
    Ok(disable_transparent_huge_pages(true)?)
}

/// Ends this process now, whatever its threads do: for one that does not end in order. It looks like being killed to who
/// waits for it, which is what happened.
pub fn end_now() {
    // Of ourselves: it cannot fail.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// The operating system's network.
#[derive(Debug, Default)]
pub struct SystemNet;

impl Net for SystemNet {
    fn bind<'a>(
        &'a self,
        address: &'a Address,
        options: BindOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            Ok(match address {
                Address::Tcp(address) => {
                    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                    // Else a restart fails while old connections linger in TIME_WAIT.
                    socket.set_reuseaddr(true)?;
                    socket.bind(*address)?;
                    Box::new(Tcp(socket.listen(options.backlog)?)) as Box<dyn Listener>
                }
                Address::Unix(path) => Box::new(bind_unix(path, options)?),
            })
        })
    }

    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Io>> {
        Box::pin(async move {
            match address {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    // Every write of ours is a whole batch: Nagle's algorithm could only delay it.
                    stream.set_nodelay(true)?;
                    keep_alive(&stream)?;
                    Ok(Io::Tcp(stream))
                }
                Address::Unix(path) => UnixStream::connect(path).await.map(Io::Unix),
            }
        })
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
    }
}

/// Has the kernel find out that the other host is gone, or no longer knows the connection: after 10 s of silence it
/// asks, every 5 s and three times, and what was sent and is not taken for two minutes ends the connection
/// (tcp(7), RFC 5482). Linux counts a host that is there and does not read among those, so the second time is one that
/// nobody who is alive lets pass. The kernel and not the protocol asks, because it costs neither side's process anything,
/// it is the same for every protocol, and gRPC servers end connections that ping them too often (gRFC A8); what it
/// cannot find, a process that hangs, the health checks find. 10 s are below what any router forgets a
/// connection after (RFC 5382: two hours, in practice some minutes).
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    const SILENCE: Duration = Duration::from_secs(10);
    const INTERVAL: Duration = Duration::from_secs(5);
    const ATTEMPTS: u32 = 3;
    const UNTAKEN: Duration = Duration::from_secs(120);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(SILENCE).with_interval(INTERVAL).with_retries(ATTEMPTS),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNTAKEN))?;
    Ok(())
}

/// Binds, then sets the mode, then listens: nobody can connect before the mode is right.
fn bind_unix(path: &Path, options: BindOptions) -> io::Result<Unix> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(options.unix_mode))?;
    Ok(Unix { listener: socket.listen(options.backlog)?, path: path.to_owned() })
}

struct Tcp(TcpListener);

impl Listener for Tcp {
    fn accept(&self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await?;
            stream.set_nodelay(true)?;
            // Linux only: elsewhere, or where it fails, the socket is as usable as before.
            let _ = SockRef::from(&stream).set_tcp_notsent_lowat(NOT_SENT_BYTES);
            Ok(Accepted { io: Io::Tcp(stream), peer: Some(peer) })
        })
    }

    fn local_address(&self) -> io::Result<Address> {
        self.0.local_addr().map(Address::Tcp)
    }
}

struct Unix {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener for Unix {
    fn accept(&self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async {
            let (stream, _) = self.listener.accept().await?;
            Ok(Accepted { io: Io::Unix(stream), peer: None })
        })
    }

    fn local_address(&self) -> io::Result<Address> {
        Ok(Address::Unix(self.path.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Platform;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_connection_survives_the_move_to_another_reactor() {
        let platform = Platform::system();
        let listener = platform.bind(&"127.0.0.1:0".parse().unwrap(), BindOptions::default()).await.unwrap();
        let mut client = platform.connect(&listener.local_address().unwrap()).await.unwrap();
        let detached = listener.accept().await.unwrap().io.detach().unwrap();
        let served = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut io = detached.attach().unwrap();
                io.write_all(b"hello").await.unwrap();
            });
        });
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        served.join().unwrap();
        assert_eq!(text, "hello");
    }

    #[tokio::test]
    async fn the_kernel_is_told_to_look_after_connections() {
        let listener = SystemNet.bind(&"127.0.0.1:0".parse().unwrap(), BindOptions::default()).await.unwrap();
        let Io::Tcp(stream) = SystemNet.connect(&listener.local_address().unwrap()).await.unwrap() else {
            panic!("TCP")
        };
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(10));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(120)));
        }
    }

    #[tokio::test]
    async fn hosts_are_looked_up_and_addresses_are_what_they_say() {
        let resolve = async |host| SystemNet.resolve(host, 7).await;
        assert_eq!(resolve("127.0.0.1").await.unwrap(), ["127.0.0.1:7".parse().unwrap()]);
        assert_eq!(resolve("::1").await.unwrap(), ["[::1]:7".parse().unwrap()]);
        assert!(resolve("localhost").await.unwrap().iter().all(|address| address.ip().is_loopback()));
        assert!(resolve("no-such-host.invalid").await.is_err());
    }
}
