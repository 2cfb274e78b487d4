//! docs/frames.md says what is so: its example is what sessions write, and its numbers are the crate's.

use bytes::Bytes;
use prism_plugin_abi::{CallContext, InstanceId, Payload};
use prism_plugin_frames::{
    CHUNK, CallHead, ClientEvent, ClientSession, Config, End, MAX_CONTROL, MAX_FRAME, MAX_HEAD, MIN_FRAME,
    Method, PREFACE, ServerSession,
};
use std::{
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/frames.md");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The bytes of the page's hexadecimal examples: two digits each, up to the first that are none.
fn examples(page: &str) -> Vec<Vec<u8>> {
    let byte = |word: &str| match word.len() {
        2 => u8::from_str_radix(word, 16).ok(),
        _ => None,
    };
    let blocks = page.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks
        .map(|block| block.lines().flat_map(|line| line.split_whitespace().map_while(byte)).collect())
        .collect()
}

/// A socket that gives what it was given, and keeps what was written.
#[derive(Default)]
struct Socket {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.input.is_empty() {
            return Poll::Pending;
        }
        let count = self.input.len().min(to.remaining());
        to.put_slice(&self.input[..count]);
        self.input.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn the_example_is_what_is_written() {
    let page = page();
    let [from_client, from_server] = &examples(&page)[..] else { panic!("two blocks were expected") };
    let mut cx = Context::from_waker(Waker::noop());

    let mut server = ServerSession::new(Config::default());
    let mut socket = Socket { input: from_client.clone(), ..Socket::default() };
    assert!(server.poll_read(&mut cx, &mut socket).is_pending());
    let call = server.accept().unwrap();
    assert!(call.last);
    assert_eq!((call.head.method, call.head.timeout), (Method::Execute, Some(Duration::from_secs(5))));
    assert_eq!(call.head.context.namespace, "demo");
    assert_eq!(call.head.context.principal.as_deref(), Some("ann"));
    assert_eq!(call.body.into_bytes(), [0, 0, 0, 0, 2, 10, 0][..]);
    server.finish(call.id, End::ok(), Bytes::from_static(&[0; 5]));
    assert!(server.poll_write(&mut cx, &mut socket).is_ready());
    assert_eq!(&socket.output, from_server);

    // "No calls" is what a client of ours says, since it takes none.
    let mut client = ClientSession::new(Config { max_calls: 0, ..Config::default() });
    let mut socket = Socket { input: from_server.clone(), ..Socket::default() };
    // Its preface and SETTINGS alone, so that the call can be opened before its answer comes.
    let answer = socket.input.split_off(PREFACE.len() + 28);
    assert!(client.poll_read(&mut cx, &mut socket).is_pending());
    let context = CallContext {
        instance: InstanceId(7),
        namespace: "demo".into(),
        principal: Some("ann".into()),
        ..CallContext::default()
    };
    let head = CallHead { method: Method::Execute, timeout: Some(Duration::from_secs(5)), context: &context };
    let body = Payload::from(Bytes::from_static(&[0, 0, 0, 0, 2, 10, 0]));
    let id = client.open(&head, body, true).unwrap();
    assert!(client.poll_write(&mut cx, &mut socket).is_ready());
    assert_eq!(&socket.output, from_client);
    socket.input = answer;
    assert!(client.poll_read(&mut cx, &mut socket).is_pending());
    assert!(
        matches!(client.poll_recv(&mut cx, id), Poll::Ready(ClientEvent::Data(data)) if data == [0; 5][..])
    );
    assert!(matches!(client.poll_recv(&mut cx, id), Poll::Ready(ClientEvent::End(end)) if end.is_ok()));
}

#[test]
fn its_numbers_are_the_crates() {
    let page = page().replace('\n', " ");
    let says = |text: String| assert!(page.contains(&text), "docs/frames.md does not say: {text}");
    says(format!("all others against {MAX_CONTROL}."));
    says(format!("at most {CHUNK} bytes of body into one frame"));
    says(format!("accepts; at least {MIN_FRAME} |"));
    says(format!("the length of the head (at most {MAX_HEAD})"));
    says(format!("payloads up to {MAX_FRAME}"));
    let config = Config::default();
    says(format!(
        "begins at {} KiB per call, quadruples up to {} MiB",
        config.initial_credit >> 10,
        config.max_credit >> 20
    ));
    says(format!("allows {} MiB of such growth", config.growth >> 20));
}
