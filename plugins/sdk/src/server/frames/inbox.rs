//! The client's messages of a streaming call, between the connection and a plugin that may read them on any
//! thread.
//!
//! Bytes wait in the session, where they use up the sender's credit, until the plugin asks for a message
//! that is not whole yet. So a plugin that does not read stops its own sender and nobody else.

use crate::server::outcome;
use bytes::Bytes;
use bytestring::ByteString;
use futures_core::Stream;
use prism_plugin_abi::{Code, Error, Payload, Request, RequestStream};
use prism_plugin_envelope::{Deframer, ProtocolError, decode_message};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// The connection's end. Dropping it ends the plugin's stream with an error.
pub(super) struct Inbox(Arc<Shared>);

struct Shared(Mutex<State>);

struct State {
    deframer: Deframer,
    /// A message that was whole when the plugin waited for it.
    next: Option<Result<Payload, ProtocolError>>,
    /// No more bytes come; `Err`: and those that came are not all.
    end: Option<Result<(), Error>>,
    /// The plugin waits for a message that is not whole yet.
    hungry: bool,
    reader: Option<Waker>,
    /// Polls the call.
    call: Waker,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// `deframer` has what followed the first message, `call` polls the call when the plugin wants bytes.
    /// The stream takes messages of this operation alone.
    pub(super) fn new(deframer: Deframer, operation: ByteString, call: Waker) -> (Self, RequestStream) {
        let state = State { deframer, next: None, end: None, hungry: false, reader: None, call };
        let shared = Arc::new(Shared(Mutex::new(state)));
        (Self(Arc::clone(&shared)), Box::pin(Messages { shared: Some(shared), operation }))
    }

    /// The plugin waits for more than came.
    pub(super) fn wants(&self) -> bool {
        self.0.lock().hungry
    }

    /// More came.
    pub(super) fn push(&self, bytes: Bytes) {
        self.change(|state| {
            state.deframer.push(bytes);
            if state.hungry {
                state.next = state.deframer.next_message().transpose();
            }
            state.next.is_some()
        });
    }

    /// All of it came; or no more will.
    pub(super) fn end(&self, end: Result<(), Error>) {
        self.change(|state| {
            state.end.get_or_insert(end);
            true
        });
    }

    /// Wakes the reader if the change is one that it waits for.
    fn change(&self, change: impl FnOnce(&mut State) -> bool) {
        let reader = {
            let mut state = self.0.lock();
            if !change(&mut state) {
                return;
            }
            state.hungry = false;
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.end(Err(Error::channel(Code::Cancelled, "the call is over")));
    }
}

/// The plugin's end.
struct Messages {
    /// `None` after the last.
    shared: Option<Arc<Shared>>,
    operation: ByteString,
}

impl Stream for Messages {
    type Item = Result<Request, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(shared) = &self.shared else { return Poll::Ready(None) };
        let Poll::Ready(next) = next(&mut shared.lock(), cx) else { return Poll::Pending };
        let next = next.map(|message| outcome::later(&self.operation, message?));
        if !matches!(next, Some(Ok(_))) {
            self.shared = None;
        }
        Poll::Ready(next)
    }
}

fn next(state: &mut State, cx: &mut Context<'_>) -> Poll<Option<Result<Request, Error>>> {
    match state.next.take().or_else(|| state.deframer.next_message().transpose()) {
        Some(Ok(message)) => return Poll::Ready(Some(decode_message(message))),
        Some(Err(error)) => return Poll::Ready(Some(Err(outcome::unreadable(&error)))),
        None => {}
    }
    match state.end.take() {
        Some(Err(error)) => Poll::Ready(Some(Err(error))),
        Some(Ok(())) if state.deframer.is_between_messages() => Poll::Ready(None),
        Some(Ok(())) => Poll::Ready(Some(Err(outcome::cut_short()))),
        None => {
            state.reader = Some(cx.waker().clone());
            if !state.hungry {
                state.hungry = true;
                state.call.wake_by_ref();
            }
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt};
    use prism_plugin_abi::{Data, Scope};
    use prism_plugin_envelope::encode_request;
    use std::{
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        task::Wake,
    };

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn message(operation: &'static str, length: usize) -> Bytes {
        let params = Data::Raw(Bytes::from(vec![1; length]).into());
        let request = Request { operation: operation.into(), params, metadata: Vec::new() };
        encode_request(request).unwrap().into_bytes()
    }

    fn inbox(limit: usize) -> (Inbox, RequestStream, Arc<Count>) {
        let count = Arc::new(Count::default());
        let call = Waker::from(Arc::clone(&count));
        let (inbox, stream) = Inbox::new(Deframer::with_limit(limit), "chat".into(), call);
        (inbox, stream, count)
    }

    fn now(stream: &mut RequestStream) -> Option<Option<Result<Request, Error>>> {
        stream.next().now_or_never()
    }

    #[test]
    fn bytes_are_asked_for_only_where_a_message_is_waited_for() {
        let (inbox, mut stream, woken) = inbox(usize::MAX);
        assert!(!inbox.wants(), "nobody reads");
        assert!(now(&mut stream).is_none() && now(&mut stream).is_none());
        assert_eq!(woken.0.load(SeqCst), 1, "the call is woken once for each want");
        let bytes = message("chat", 3000);
        inbox.push(bytes.slice(..2000));
        assert!(inbox.wants(), "half a message is none");
        inbox.push(bytes.slice(2000..));
        assert!(!inbox.wants());
        inbox.push(message("", 5));
        for length in [3000, 5] {
            let request = now(&mut stream).unwrap().unwrap().unwrap();
            assert!(matches!(request.params, Data::Raw(raw) if raw.len() == length));
        }
        assert!(now(&mut stream).is_none() && inbox.wants());
        inbox.end(Ok(()));
        assert!(now(&mut stream).unwrap().is_none());
        assert!(now(&mut stream).unwrap().is_none(), "it stays ended");
    }

    #[test]
    fn it_ends_with_the_first_error() {
        let failed = |stream: &mut RequestStream| now(stream).unwrap().unwrap().unwrap_err();
        let (inbox_, mut stream, _) = inbox(usize::MAX);
        inbox_.push(message("other", 1));
        inbox_.push(message("chat", 1));
        let error = failed(&mut stream);
        assert_eq!((error.code, error.scope), (Code::InvalidArgument, Scope::Operation));
        assert!(now(&mut stream).unwrap().is_none());

        let (inbox_, mut stream, _) = inbox(100);
        inbox_.push(message("chat", 101).slice(..5));
        assert_eq!(failed(&mut stream).code, Code::ResourceExhausted);

        let (inbox_, mut stream, _) = inbox(100);
        inbox_.push(message("chat", 10).slice(..5));
        inbox_.end(Ok(()));
        assert_eq!(failed(&mut stream).code, Code::InvalidArgument);

        for bytes in [&b"\x01\0\0\0\0"[..], b"\x02\0\0\0\0", b"\0\0\0\0\x01\x0a"] {
            let (inbox_, mut stream, _) = inbox(100);
            inbox_.push(Bytes::from_static(bytes));
            assert_eq!(failed(&mut stream).code, Code::InvalidArgument, "{bytes:?}");
        }
    }

    #[test]
    fn a_reader_learns_that_the_call_is_over() {
        let (inbox_, mut stream, _) = inbox(100);
        let reader = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&reader));
        assert!(stream.as_mut().poll_next(&mut Context::from_waker(&waker)).is_pending());
        drop(inbox_);
        assert_eq!(reader.0.load(SeqCst), 1);
        assert_eq!(now(&mut stream).unwrap().unwrap().unwrap_err().code, Code::Cancelled);

        // What came before is read first, and an end that came before stays.
        let (inbox_, mut stream, _) = inbox(100);
        inbox_.push(message("chat", 1));
        inbox_.end(Ok(()));
        drop(inbox_);
        assert!(now(&mut stream).unwrap().unwrap().is_ok());
        assert!(now(&mut stream).unwrap().is_none());
    }
}
