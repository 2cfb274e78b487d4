//! A connection as its task sees it: it reads, gives out requests, and writes.

use crate::{
    error::{Error, Reason, Violation},
    handles::{Pinger, RecvStream, Respond},
    output::Output,
    session::{Incoming, Session},
    settings::Settings,
    state::{Leaving, Shared, State},
};
use bytes::{Buf, BytesMut};
use http::Request;
use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// RFC 9113 section 3.4: what a client's connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is read at a time at least, and at most.
const LEAST_READ: usize = 8 << 10;
const MOST_READ: usize = 32 << 10;

/// So many requests are given out before more is read.
const MOST_INCOMING: usize = 64;

/// An idle connection keeps room for so many: calls that come one by one need no more.
const KEPT_INCOMING: usize = 4;

/// A request's body up to this size that is all there counts as read. That is no way around the windows: there are so many
/// streams, and no more.
const WHOLE: usize = 4 << 10;

/// What may wait in the output beyond bodies before nothing more is read: answers to what the peer sends while it does not read.
const MOST_REPLIES: usize = 64 << 10;

/// A request, and the way of its answer.
pub type Accepted = (Request<RecvStream>, Respond);

/// The server's side of a connection.
///
/// It is driven by [`Connection::poll_accept`] and [`Connection::poll_flush`], both of which must be called until they are
/// pending whenever the task is woken. Dropping it closes the connection, and ends every stream.
pub struct Connection<T> {
    io: T,
    shared: Arc<Shared>,
    buffer: BytesMut,
    read_size: usize,
    /// The last read brought all that there was room for.
    has_more: bool,
    /// As the state has it.
    at_work: bool,
    session: Session,
    given_up: u64,
    end: Option<Result<(), Error>>,
}

impl<T> Drop for Connection<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.end(&Error::Closed);
        // Handles may be kept for long, and nobody writes it any more.
        state.output = Output::default();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// Reads the client's preface (RFC 9113 section 3.4). What the server's has to say goes out with what is written first.
    ///
    /// # Errors
    /// The client speaks something else, or is gone.
    pub async fn handshake(mut io: T, settings: Settings) -> Result<Self, Error> {
        let mut buffer = BytesMut::new();
        let state = State::new(settings);
        while buffer.len() < PREFACE.len() {
            if !PREFACE.starts_with(&buffer) {
                break;
            }
            if io.read_buf(&mut buffer).await? == 0 {
                return Err(Error::Closed);
            }
        }
        if !buffer.starts_with(PREFACE) {
            return Err(Error::Connection(Reason::PROTOCOL_ERROR, "this is not the preface of HTTP/2"));
        }
        buffer.advance(PREFACE.len());
        let mut connection = Self {
            io,
            session: Session::new(&settings),
            shared: Arc::new(Shared::new(state)),
            buffer,
            read_size: LEAST_READ,
            has_more: false,
            at_work: false,
            given_up: 0,
            end: None,
        };
        connection.parse();
        Ok(connection)
    }

    /// The next request; `None` when the connection is over. Its body may be read, and its answer be given, whenever.
    ///
    /// # Errors
    /// The connection is over: it broke, or the peer broke the protocol, which it has been told.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Accepted, Error>>> {
        if !std::mem::replace(&mut self.at_work, true) {
            self.shared.lock().begin_work(cx);
        }
        loop {
            // What has come is read first: then most bodies come with their requests, and nobody waits for them.
            let reads_on = self.has_more && self.session.incoming.len() < MOST_INCOMING && self.end.is_none();
            while !reads_on && let Some(incoming) = self.session.incoming.pop_front() {
                if let Some(accepted) = self.accept(incoming) {
                    return Poll::Ready(Some(Ok(accepted)));
                }
            }
            let is_full = self.end.is_none() && self.look();
            if self.end.is_some() {
                // Whoever is told why it ends shall read that, too.
                let said = ready!(self.poll_flush(cx));
                let shut = ready!(Pin::new(&mut self.io).poll_shutdown(cx));
                let end = self.end.take().unwrap_or(Ok(()));
                self.end = Some(Ok(()));
                return Poll::Ready(end.and(said).and(shut.map_err(Error::from)).err().map(Err));
            }
            if is_full {
                if let Err(error) = ready!(self.poll_flush(cx)) {
                    return Poll::Ready(Some(Err(error)));
                }
                self.at_work = true;
                self.shared.lock().begin_work(cx);
            }
            let read = match self.poll_read(cx) {
                Poll::Pending if reads_on => continue,
                other => ready!(other),
            };
            match read {
                Ok(0) => {
                    self.shared.lock().end(&Error::Closed);
                    return Poll::Ready(None);
                }
                Ok(_) => self.parse(),
                Err(error) => {
                    let error = Error::from(error);
                    self.shared.lock().end(&error);
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = |buffer: &BytesMut| buffer.capacity() - buffer.len();
        // What is left of a piece of memory is used up: bodies may hold it anyway.
        if room(&self.buffer) < self.read_size / 2 {
            self.buffer.reserve(self.read_size);
        }
        let room = room(&self.buffer);
        let polled = pin!(self.io.read_buf(&mut self.buffer)).poll(cx);
        self.has_more = false;
        if let Poll::Ready(Ok(read)) = &polled {
            self.has_more = *read == room;
            if self.has_more {
                self.read_size = MOST_READ.min(2 * self.read_size);
            } else if *read < self.read_size / 4 {
                self.read_size = LEAST_READ.max(self.read_size / 2);
            }
        }
        polled
    }

    /// Takes every frame that is there.
    fn parse(&mut self) {
        let mut state = self.shared.lock();
        if let Err(violation) = self.session.frames(&mut self.buffer, &mut state) {
            let (reason, why) = match violation {
                Violation::Connection(reason, why) => (reason, why),
                Violation::Stream(_, reason) => (reason, ""),
            };
            state.go_away(reason, why);
            let error = Error::Connection(reason, why);
            state.end(&error);
            self.session.incoming.clear();
            self.end = Some(Err(error));
        }
    }

    /// Looks whether everything was said and done, and answers whether so much waits to be written that nothing more is to be read.
    fn look(&mut self) -> bool {
        let mut state = self.shared.lock();
        if state.is_done() {
            if !matches!(state.leaving, Leaving::After(_)) {
                state.go_away(Reason::NO_ERROR, "");
            }
            self.end = Some(Ok(()));
        }
        state.output.len() >= state.settings.most_output + MOST_REPLIES
    }

    fn accept(&mut self, incoming: Incoming) -> Option<Accepted> {
        let Incoming { key, request } = incoming;
        let mut state = self.shared.lock();
        let stream = state.streams.get(key)?;
        if stream.closed {
            state.release(key);
            self.given_up += 1;
            return None;
        }
        let is_small = stream.window.held() as usize <= WHOLE && stream.trailers.is_none();
        let whole = (stream.received && is_small).then(|| stream.take_whole()).flatten();
        let body = match whole {
            Some(body) => {
                let (held, is_bare) = (stream.window.held(), stream.is_bare);
                stream.window.release(held);
                state.discard(held);
                RecvStream::whole((!is_bare).then_some(body))
            }
            None => {
                stream.refs += 1;
                RecvStream::open(Arc::clone(&self.shared), key)
            }
        };
        Some((request.map(|()| body), Respond::new(Arc::clone(&self.shared), key)))
    }

    /// Writes what there is to write. To be called at the end of each turn.
    ///
    /// # Errors
    /// The connection broke, and is over.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.at_work = false;
        let mut state = self.shared.lock();
        loop {
            let written = state.output.poll_write(Pin::new(&mut self.io), cx);
            if let Poll::Ready(Err(error)) = written {
                let error = Error::from(error);
                state.end(&error);
                return Poll::Ready(Err(error));
            }
            if state.can_resume() {
                state.resume_all();
                if state.can_resume() {
                    // There were more than there is room for: what those leave that were woken is for the next.
                    cx.waker().wake_by_ref();
                }
                if !state.output.is_empty() && written.is_ready() {
                    continue;
                }
            }
            state.at_work = false;
            if written.is_pending() {
                return Poll::Pending;
            }
            break;
        }
        if state.streams.open() == 0 {
            if state.is_done() && self.end.is_none() {
                // It is for the accepting to end it.
                cx.waker().wake_by_ref();
            }
            state.output.shrink();
            state.streams.shrink();
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            self.session.incoming.shrink_to(KEPT_INCOMING);
        }
        Pin::new(&mut self.io).poll_flush(cx).map_err(Error::from)
    }
}

impl<T> Connection<T> {
    /// Begins an end that loses no request: the peer is told to open no more streams, those that it has opened are served, and then
    /// the connection ends (RFC 9113 section 6.8).
    pub fn graceful_shutdown(&mut self) {
        let mut state = self.shared.lock();
        state.announce_end();
        state.wake();
    }

    /// Ends the connection at once, with a reason.
    pub fn abrupt_shutdown(&mut self, reason: Reason) {
        let mut state = self.shared.lock();
        state.go_away(reason, "");
        let error = Error::Connection(reason, "ended from here");
        state.end(&error);
        self.end = Some(Err(error));
    }

    /// What all streams together may send ahead of their readers, in bytes.
    pub fn set_connection_window(&mut self, bytes: u32) {
        let mut state = self.shared.lock();
        state.window.set_target(bytes);
        state.open_window();
    }

    /// What each stream may send ahead of its reader, in bytes. False, and nothing is changed, while the peer has not acknowledged
    /// the change before.
    pub fn set_stream_window(&mut self, bytes: u32) -> bool {
        self.shared.lock().set_stream_window(bytes)
    }

    /// How many requests the peer has given up, since this was asked last, before they could be accepted: they never show.
    pub fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// For PINGs.
    #[must_use]
    pub fn pinger(&self) -> Pinger {
        Pinger::new(Arc::clone(&self.shared))
    }

    /// Time has passed: frames that move nothing on may come again.
    pub fn forgive(&mut self) {
        self.shared.lock().forgive(u32::MAX);
    }
}

#[cfg(test)]
mod tests;
