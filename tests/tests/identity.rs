//! No copy between a listener's socket and a plugin in a shared library: 16 MiB reach the plugin in the memory that they
//! were read into, and the plugin's own bytes are what is written.
//!
//! The proxy runs in this process, on sockets that note which memory is read into and written from.

use bytes::Bytes;
use prism_config::Source;
use prism_edge::{Builtins, Options};
use prism_filters::registry;
use prism_platform::{Accepted, Address, BindOptions, BoxFuture, Io, Listener, Net, Platform, SystemNet};
use prism_tests::{
    InProcess,
    client::http2::{self, Connection},
    tools, wait,
    wire::{field, framed, messages},
};
use prost::Message;
use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const SIZE: usize = 16 << 20;
const EXECUTE: &str = "/prism.data.v1.DataService/Execute";

/// Memory: its address and its length.
type Place = (usize, usize);

/// What was read into and written from, of every connection of the listener.
#[derive(Clone, Default)]
struct Notes {
    reads: Arc<Mutex<Vec<Place>>>,
    writes: Arc<Mutex<Vec<Place>>>,
    /// Where it listens.
    port: Arc<AtomicU16>,
}

/// The system's network, whose accepted connections are noted.
struct Noted(Notes);

struct NotedListener(Box<dyn Listener>, Notes);

struct NotedIo(Io, Notes);

impl Net for Noted {
    fn bind<'a>(
        &'a self,
        address: &'a Address,
        options: BindOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = SystemNet.bind(address, options).await?;
            if let Address::Tcp(address) = listener.local_address()? {
                self.0.port.store(address.port(), SeqCst);
            }
            Ok(Box::new(NotedListener(listener, self.0.clone())) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Io>> {
        SystemNet.connect(address)
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        SystemNet.resolve(host, port)
    }
}

impl Listener for NotedListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async {
            let Accepted { io, peer } = self.0.accept().await?;
            Ok(Accepted { io: Io::Other(Box::new(NotedIo(io, self.1.clone()))), peer })
        })
    }

    fn local_address(&self) -> io::Result<Address> {
        self.0.local_address()
    }
}

impl AsyncRead for NotedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.0).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        if !read.is_empty() {
            self.1.reads.lock().unwrap().push((read.as_ptr() as usize, read.len()));
        }
        polled
    }
}

impl NotedIo {
    /// The first `written` bytes of these were.
    fn note(&self, bufs: &[IoSlice<'_>], mut written: usize) {
        let mut writes = self.1.writes.lock().unwrap();
        for buf in bufs {
            let count = buf.len().min(written);
            writes.extend((count > 0).then_some((buf.as_ptr() as usize, count)));
            written -= count;
        }
    }
}

impl AsyncWrite for NotedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            self.note(&[IoSlice::new(buf)], written);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(written)) = polled {
            self.note(bufs, written);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A proxy in this process; it stops when this is dropped.
struct Running {
    notes: Notes,
    _proxy: InProcess,
}

impl Running {
    fn start() -> Self {
        let text = format!(
            "
listeners:
  - {{ name: edge, address: '127.0.0.1:0', filters: [{{ trace: {{ access_log: {{ path: 'off' }} }} }}, plugin_dispatch] }}
workers: 1
plugins:
  - {{ name: inline, type: in_process, library: '{library}' }}
  - {{ name: apart, type: in_process, library: '{library}', offload: true }}
namespaces:
  - {{ name: inline, backend: probe, plugin: inline, limits: {{ max_message_bytes: 32MiB }} }}
  - {{ name: apart, backend: probe, plugin: apart, limits: {{ max_message_bytes: 32MiB }} }}
",
            library = tools::library("prism_plugin_probe").display()
        );
        let notes = Notes::default();
        let options = Options {
            platform: Platform::simulated(Arc::new(Noted(notes.clone())), 1),
            filters: registry::builtin(),
            builtins: Builtins::standard(),
            source: Source { name: "identity".into(), text, base_dir: ".".into() },
            file: None,
            admin: false,
        };
        Self { notes, _proxy: InProcess::start(options) }
    }
}

/// The answer's one message.
async fn answer(connection: &Connection, namespace: &str, operation: &str, raw: &[u8]) -> Bytes {
    let request = framed(&[field(1, operation.as_bytes()), field(3, raw)].concat());
    let head = http2::head(EXECUTE, &[("x-prism-namespace", namespace)]);
    let answer = connection.call(head, request).await.unwrap();
    let status = answer.grpc();
    assert_eq!(status.code(), tonic::Code::Ok, "{operation}: {status:?}");
    let body = Bytes::from(answer.body);
    let [message] = messages(&body)[..] else { panic!("one message") };
    body.slice_ref(message)
}

async fn call(connection: &Connection, namespace: &str, operation: &str, raw: &[u8]) -> Bytes {
    use prism_proto::plugin::{ExecuteResponse, execute_response::Result::RawResult};
    let answer = ExecuteResponse::decode(answer(connection, namespace, operation, raw).await).unwrap();
    assert!(answer.success, "{operation}: {:?}", answer.error);
    match answer.result {
        Some(RawResult(raw)) => raw,
        None => Bytes::new(),
        Some(other) => panic!("{operation}: {other:?}"),
    }
}

fn value() -> Vec<u8> {
    (0..SIZE).map(|at| (at / 7 + at / 4096).to_le_bytes()[0]).collect()
}

async fn number(connection: &Connection, namespace: &str, operation: &str, raw: &[u8]) -> Vec<usize> {
    let text = String::from_utf8(call(connection, namespace, operation, raw).await.into()).unwrap();
    text.split(' ').map(|number| number.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_lies_where_it_was_read_and_is_written_from_where_it_lies() {
    let running = Running::start();
    for namespace in ["inline", "apart"] {
        let connection = http2::connect(running.notes.port.load(SeqCst)).await;
        wait::until_async("the plugin should serve", || async {
            let head = http2::head(EXECUTE, &[("x-prism-namespace", namespace)]);
            let answer = connection.call(head, framed(&field(1, b"given"))).await.ok()?;
            (answer.code() == tonic::Code::Ok).then_some(())
        })
        .await;

        running.notes.reads.lock().unwrap().clear();
        assert!(call(&connection, namespace, "hold", &value()).await.is_empty());
        let reads: String =
            running.notes.reads.lock().unwrap().iter().map(|(at, len)| format!("{at} {len}\n")).collect();
        // The plugin refuses to say so of a piece that lies anywhere else.
        let told = number(&connection, namespace, "held", reads.as_bytes()).await;
        let [pieces, bytes, moved] = told[..] else { panic!("{told:?}") };
        assert_eq!(bytes, SIZE);
        // Less than a kilobyte of a frame is not given out alone, and may be moved when more is read.
        assert!(moved <= pieces * 1024, "{moved} bytes were moved");
        println!(
            "{namespace}: {pieces} pieces; {moved} bytes of {bytes} were moved before more of them was read"
        );

        running.notes.writes.lock().unwrap().clear();
        let given = call(&connection, namespace, "give", SIZE.to_string().as_bytes()).await;
        assert!(given == value(), "the value changed on its way");
        let writes = std::mem::take(&mut *running.notes.writes.lock().unwrap());
        let [address] = number(&connection, namespace, "given", b"").await[..] else { panic!("an address") };
        let within = |(at, _): &&Place| (address..address + SIZE).contains(at);
        let (mut next, mut copied) = (address, 0);
        for (at, length) in writes.iter().filter(within) {
            assert!(*at >= next, "written twice");
            copied += at - next;
            next = at + length;
        }
        copied += address + SIZE - next;
        // Pieces of less than a kilobyte are written out of the buffer that their frame's head is in.
        assert!(copied <= SIZE / 50, "{copied} bytes are not written from where they lie");
        println!("{namespace}: {copied} bytes of {SIZE} were written beside their frames' heads");
    }
}
