//! What every plugin must do, whatever its operations are for, whatever it is written in and however it is reached:
//! unknown operations, errors, payloads of every size, calls beside each other, streams, cancellation, deadlines.

use super::Instance;
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use prism_plugin_abi::{CallContext, Code, Data, Error, InstanceId, Payload, Request, ResponseStream, Scope};
use std::{collections::BTreeSet, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

/// Which of a plugin's operations the suite is to use, and for what.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// A proxy stands before the plugin: it chooses the instance, keeps the deadlines, and answers itself for
    /// operations without a name.
    pub proxied: bool,
    /// A raw unary operation that takes any bytes, and refuses a message of a type that it does not know.
    pub write: &'static str,
    /// A raw unary operation that gives back what `write` took. `None`: `write` answers with it.
    pub read: Option<&'static str>,
    /// The metadata entry in which `write` is told where to, and what `read` is asked by; each begins with this
    /// prefix. `None`: nothing is kept.
    pub slots: Option<(&'static str, &'static str)>,
    /// An operation that streams, and stays open as long as its client's side does.
    pub stream: &'static str,
    /// Its first message. An answer for it, if there is one, is the same bytes.
    pub opening: Data,
    /// The stream answers each message of its client's with the same bytes, the first one too. Where not, it
    /// answers each `write`, and with what is the plugin's own affair.
    pub echoes: bool,
    /// Bytes of the largest payload.
    pub largest: usize,
}

/// Only against hanging: no answer takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough for a stream to open before it, on a machine that is busy with other tests.
const DEADLINE: Duration = Duration::from_millis(500);

/// A type that no operation takes.
const STRANGE_TYPE: &str = "type.googleapis.com/prism.plugin.DescribeRequest";

/// Runs the suite on an instance.
///
/// # Panics
/// When the plugin breaks a rule of the protocol.
pub async fn protocol_suite(instance: &Instance, protocol: &Protocol) {
    let suite = Suite { instance, protocol };
    suite.describes_itself();
    suite.unknown_operations_are_unimplemented().await;
    suite.errors_are_the_operations_own().await;
    suite.payloads_come_back().await;
    suite.calls_stand_beside_each_other().await;
    suite.given_up_calls_disturb_nobody().await;
    suite.streams_answer_and_are_dropped().await;
    if protocol.proxied {
        suite.deadlines_end_streams().await;
    } else {
        suite.strangers_are_refused().await;
    }
}

#[derive(Clone, Copy)]
struct Suite<'a> {
    instance: &'a Instance,
    protocol: &'a Protocol,
}

/// The client's side of a stream, which stays open until this is dropped.
type Sender = mpsc::Sender<Result<Request, Error>>;

impl Suite<'_> {
    fn describes_itself(self) {
        let description = self.instance.plugin.describe();
        assert!(!description.name.is_empty() && !description.version.is_empty(), "{description:?}");
        let names: BTreeSet<&str> = description.operations.iter().map(|info| &*info.name).collect();
        assert_eq!(names.len(), description.operations.len(), "each operation once: {names:?}");
        // A namespace of a proxy does not say it.
        if self.protocol.proxied {
            return;
        }
        for (name, streams) in [(self.protocol.write, false), (self.protocol.stream, true)] {
            let info = description.operations.iter().find(|info| info.name == name);
            let info = info.unwrap_or_else(|| panic!("`{name}` is not declared"));
            assert_eq!(info.streaming(), streams, "{info:?}");
        }
    }

    async fn unknown_operations_are_unimplemented(self) {
        let Protocol { write, stream, .. } = self.protocol;
        let case = write.to_uppercase();
        let space = format!("{write} ");
        let long = "x".repeat(256);
        for operation in ["", "no_such_operation", &case, &space, &long, stream] {
            let by_the_proxy = self.protocol.proxied && operation.is_empty();
            let code = if by_the_proxy { Code::InvalidArgument } else { Code::Unimplemented };
            let error = self.instance.send(operation, raw("x"), &[]).await.expect_err(operation);
            assert_eq!((error.code, error.scope), (code, Scope::Channel), "`{operation}`: {error}");
            assert!(!error.message.is_empty(), "`{operation}`: no reason");
        }
        for operation in ["no_such_operation", &case, write] {
            let (_open, opened) = self.open(operation, raw("x"), None).await;
            let error = failed(opened).await;
            assert_eq!((error.code, error.scope), (Code::Unimplemented, Scope::Channel), "{operation}");
        }
    }

    async fn errors_are_the_operations_own(self) {
        let strange = Data::Typed { type_url: STRANGE_TYPE.into(), value: Payload::new() };
        let error = self.instance.send(self.protocol.write, strange, &[]).await.expect_err("another type");
        assert_eq!((error.code, error.scope), (Code::InvalidArgument, Scope::Operation), "{error}");
        assert!(!error.message.is_empty(), "no reason");
    }

    async fn payloads_come_back(self) {
        for len in [1, 100, 16 << 10, (1 << 20) + 1, self.protocol.largest] {
            let bytes = pattern(len);
            let back = self.round_trip("size", Payload::from(bytes.clone())).await;
            assert!(back == bytes, "{len} bytes came back as {} others", back.len());
        }
        // As HTTP/2 brings it: in frames.
        let bytes = pattern(400_000);
        let pieces = (0..bytes.len()).step_by(4096).map(|at| bytes.slice(at..bytes.len().min(at + 4096)));
        assert!(self.round_trip("pieces", pieces.collect()).await == bytes);
        assert_eq!(self.round_trip("none", Payload::new()).await, Bytes::new());
    }

    async fn calls_stand_beside_each_other(self) {
        let calls = (0..64_usize).map(|number| async move {
            let bytes = Bytes::from(format!("{number} ").repeat(number));
            let back = self.round_trip(&number.to_string(), bytes.clone().into()).await;
            assert_eq!(back, bytes, "call {number}");
        });
        join_all(calls).await;
    }

    async fn given_up_calls_disturb_nobody(self) {
        for _ in 0..16 {
            let call = self.write("given_up", pattern(200_000).into());
            // Polled once, so that it has begun.
            let _ = futures_util::poll!(std::pin::pin!(call));
        }
        let back = self.round_trip("after", Bytes::from_static(b"fine").into()).await;
        assert_eq!(back, "fine");
    }

    async fn streams_answer_and_are_dropped(self) {
        let mut kept = Vec::new();
        for _ in 0..8 {
            let (client, opened) = self.open(self.protocol.stream, self.protocol.opening.clone(), None).await;
            let mut answers = opened.unwrap_or_else(|error| panic!("the stream does not open: {error}"));
            self.skip_opening(&mut answers).await;
            assert!(futures_util::poll!(answers.next()).is_pending(), "nothing has happened");
            for text in ["first", "second", "third"] {
                self.provoke(&client, text, &mut answers).await;
            }
            kept.push((client, answers));
        }
        // Half of them are dropped half-way; the others go on.
        kept.truncate(4);
        for (client, answers) in &mut kept {
            self.provoke(client, "still here", answers).await;
        }
        if self.protocol.echoes {
            // A client that ends ends its answers.
            for (client, mut answers) in kept {
                drop(client);
                // What the others' answers were is in order; nothing is left over.
                assert!(within(answers.next()).await.is_none());
            }
        }
        assert_eq!(self.round_trip("after", Bytes::from_static(b"fine").into()).await, "fine");
    }

    async fn deadlines_end_streams(self) {
        let deadline = Instant::now() + DEADLINE;
        let opening = self.protocol.opening.clone();
        let (_client, opened) = self.open(self.protocol.stream, opening, Some(deadline)).await;
        let error = match opened {
            Ok(mut answers) => loop {
                match within(answers.next()).await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => panic!("the stream ended in good order"),
                }
            },
            Err(error) => error,
        };
        assert_eq!(error.code, Code::DeadlineExceeded, "{error}");
        assert_eq!(self.round_trip("after", Bytes::from_static(b"fine").into()).await, "fine");
    }

    async fn strangers_are_refused(self) {
        let stranger = Instance { id: InstanceId(self.instance.id.0 ^ 1), ..self.instance.clone() };
        let outcome = stranger.send(self.protocol.write, raw("x"), self.protocol.slots.as_slice()).await;
        let error = outcome.expect_err("an instance that nobody initialized");
        assert_eq!((error.code, error.scope), (Code::FailedPrecondition, Scope::Channel), "{error}");
    }

    async fn write(self, slot: &str, payload: Payload) -> Result<Data, Error> {
        let operation = self.protocol.write;
        match self.protocol.slots {
            None => self.instance.send(operation, Data::Raw(payload), &[]).await,
            Some((entry, prefix)) => {
                let place = format!("{prefix}{slot}");
                self.instance.send(operation, Data::Raw(payload), &[(entry, &place)]).await
            }
        }
    }

    async fn round_trip(self, slot: &str, payload: Payload) -> Bytes {
        let written = self.write(slot, payload).await;
        let answer = match (self.protocol.read, self.protocol.slots) {
            (Some(read), Some((_, prefix))) => {
                written.unwrap_or_else(|error| panic!("{slot} is not written: {error}"));
                self.instance.send(read, raw(&format!("{prefix}{slot}")), &[]).await
            }
            _ => written,
        };
        match answer {
            Ok(Data::Raw(payload)) => payload.into_bytes(),
            // Bytes of no length may be no bytes.
            Ok(Data::Empty) => Bytes::new(),
            other => panic!("{slot}: {other:?}"),
        }
    }

    async fn open(
        self,
        operation: &str,
        params: Data,
        deadline: Option<Instant>,
    ) -> (Sender, Result<ResponseStream, Error>) {
        let (sender, receiver) = mpsc::channel(1);
        let rest = stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async move {
            let message = receiver.recv().await?;
            Some((message, receiver))
        });
        let context = CallContext {
            instance: self.instance.id,
            namespace: self.instance.namespace.clone().into(),
            deadline: deadline.map(Instant::into_std),
            ..CallContext::default()
        };
        let first = Request { operation: operation.to_owned().into(), params, metadata: Vec::new() };
        let opened = within(self.instance.plugin.execute_stream(context, first, Box::pin(rest))).await;
        (sender, opened)
    }

    /// Reads the answer to the first message, where there is one.
    async fn skip_opening(self, answers: &mut ResponseStream) {
        if self.protocol.echoes {
            let item = within(answers.next()).await;
            let (Some(Ok(Data::Raw(back))), Data::Raw(opening)) = (item, &self.protocol.opening) else {
                panic!("the first message does not come back");
            };
            assert_eq!(back.into_bytes(), opening.clone().into_bytes());
        }
    }

    /// Does what the stream answers, and reads the answer.
    async fn provoke(self, client: &Sender, text: &str, answers: &mut ResponseStream) {
        if self.protocol.echoes {
            let message = Request { params: raw(text), ..Request::default() };
            within(client.send(Ok(message))).await.unwrap_or_else(|_| panic!("nobody takes the message"));
        } else {
            let written = self.write("provoked", Payload::from(Bytes::from(text.to_owned()))).await;
            written.unwrap_or_else(|error| panic!("{error}"));
        }
        match within(answers.next()).await {
            Some(Ok(Data::Raw(back))) if self.protocol.echoes => assert_eq!(back.into_bytes(), text),
            Some(Ok(_)) if !self.protocol.echoes => {}
            other => panic!("no answer to `{text}`: {other:?}"),
        }
    }
}

fn raw(text: &str) -> Data {
    Data::Raw(Bytes::from(text.to_owned()).into())
}

/// Bytes that show it when one is missing or stands elsewhere.
fn pattern(len: usize) -> Bytes {
    (0_u32..).flat_map(u32::to_le_bytes).take(len).collect()
}

/// The error of a stream that fails to open: where there is a network between, its first item.
async fn failed(opened: Result<ResponseStream, Error>) -> Error {
    match opened {
        Err(error) => error,
        Ok(mut stream) => match within(stream.next()).await {
            Some(Err(error)) => error,
            other => panic!("the stream opened: {other:?}"),
        },
    }
}

#[track_caller]
fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move { timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{caller}: no answer came")) }
}
