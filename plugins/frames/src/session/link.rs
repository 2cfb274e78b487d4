//! A connection below its calls: bytes in, bytes out, the preface, pings, and how it ends.

use super::outbox::Outbox;
use crate::{
    control::{Config, GoAway, Settings},
    decoder::{Decoder, Sink},
    error::{ConnectionError, ProtocolError},
    frame::{self, Frame},
    wire::{CHUNK, Kind, MAX_HEAD, PREFACE},
};
use bytes::{Buf, BytesMut};
use bytestring::ByteString;
use std::{
    future::Future,
    io,
    pin::pin,
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// The read buffer: about as much as a socket holds of a chunk, so that large bodies need few reads.
const READ_BUFFER: usize = 64 << 10;

/// With less room than this a read would be small for no reason.
const MIN_READ: usize = 16 << 10;

/// What one turn reads at most, so that calls get what arrived before more is asked for.
const READ_TURN: usize = 256 << 10;

/// What one turn writes at most, so that reading gets its turn while a peer takes everything at once.
const WRITE_TURN: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) outbox: Outbox,
    /// `None` while it is at work, and after an error.
    decoder: Option<Decoder>,
    input: BytesMut,
    preface_read: bool,
    /// The peer's SETTINGS, once they are here.
    pub(crate) peer: Option<Settings>,
    chunk: usize,
    /// The peer's announcement of the end.
    pub(crate) goaway: Option<GoAway>,
    /// Why the connection is over.
    pub(crate) closed: Option<ByteString>,
    driver: Option<Waker>,
    /// The driver has to be woken: not while it has its turn, at the end of which it writes without being told.
    armed: bool,
    pings: u64,
    ping_outstanding: bool,
    received: u64,
    /// Bytes received.
    #[cfg(test)]
    pub(crate) read_bytes: u64,
}

impl Link {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            outbox: Outbox::default(),
            decoder: Some(Decoder::new(config.max_frame)),
            input: BytesMut::new(),
            preface_read: false,
            peer: None,
            chunk: CHUNK,
            goaway: None,
            closed: None,
            driver: None,
            armed: false,
            pings: 0,
            ping_outstanding: false,
            received: 0,
            #[cfg(test)]
            read_bytes: 0,
        }
    }

    /// Queues the preface and SETTINGS.
    pub(crate) fn greet(&mut self, settings: &Settings) {
        self.outbox.stage(|to| {
            to.extend_from_slice(&PREFACE);
            Frame::Settings(*settings).encode(to);
        });
    }

    /// The most body bytes that go into one frame.
    pub(crate) fn chunk(&self) -> usize {
        self.chunk
    }

    /// Frames received.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Something is to be written: the driver gets a turn, once, and not while it has one.
    pub(crate) fn notify(&mut self) {
        if std::mem::take(&mut self.armed)
            && let Some(driver) = &self.driver
        {
            driver.wake_by_ref();
        }
    }

    /// The driver's turn ends.
    fn end_turn(&mut self, cx: &Context<'_>) {
        match &self.driver {
            Some(driver) if driver.will_wake(cx.waker()) => {}
            _ => self.driver = Some(cx.waker().clone()),
        }
        self.armed = true;
    }

    /// Begins a turn of the session, of which this is a part (`link` finds it there), and gives it what there is to
    /// read. After a protocol error the peer is told, and how many calls were accepted.
    pub(crate) fn poll_read<S: Sink, Io: AsyncRead + Unpin>(
        session: &mut S,
        link: impl Fn(&mut S) -> &mut Self,
        accepted: impl FnOnce(&mut S) -> u64,
        cx: &mut Context<'_>,
        io: &mut Io,
    ) -> Poll<Result<(), ConnectionError>> {
        let this = link(session);
        this.armed = false;
        if this.closed.is_some() {
            return Poll::Ready(Err(ConnectionError::Closed));
        }
        let mut bytes = 0;
        while bytes < READ_TURN {
            bytes += ready!(link(session).poll_fill(cx, io))?;
            if let Err(error) = Self::take_in(session, &link) {
                let accepted = accepted(session);
                let goaway = GoAway { accepted, reason: error.reason(), text: error.to_string().into() };
                link(session).send_goaway(goaway);
                return Poll::Ready(Err(error.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once.
    fn poll_fill<Io: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
    ) -> Poll<Result<usize, ConnectionError>> {
        if self.input.capacity() - self.input.len() < MIN_READ {
            // Takes the old buffer when nothing refers to it any more. What is left in it is part of a frame,
            // at most a head's worth.
            self.input.reserve(READ_BUFFER);
        }
        let read = pin!(io.read_buf(&mut self.input));
        match ready!(read.poll(cx)) {
            Ok(0) => Poll::Ready(Err(match &self.goaway {
                Some(goaway) => ConnectionError::GoAway(goaway.clone()),
                None => ConnectionError::Closed,
            })),
            Ok(count) => {
                #[cfg(test)]
                {
                    self.read_bytes += count as u64;
                }
                Poll::Ready(Ok(count))
            }
            Err(error) => Poll::Ready(Err(ConnectionError::Io(error))),
        }
    }

    /// Gives everything that arrived to the session.
    fn take_in<S: Sink>(session: &mut S, link: impl Fn(&mut S) -> &mut Self) -> Result<(), ProtocolError> {
        let this = link(session);
        if !this.preface_read && !this.read_preface()? {
            return Ok(());
        }
        // Out of the session while the session has its turn with what it finds there.
        let Some(mut decoder) = this.decoder.take() else { return Ok(()) };
        let mut input = std::mem::take(&mut this.input);
        let outcome = loop {
            match decoder.step(&mut input, session) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let this = link(session);
        this.input = input;
        // After an error nothing is to be understood any more.
        this.decoder = outcome.is_ok().then_some(decoder);
        outcome
    }

    /// Counts a frame, which must not come before SETTINGS.
    #[inline]
    pub(crate) fn count(&mut self, kind: Kind) -> Result<(), ProtocolError> {
        self.received += 1;
        if self.peer.is_none() {
            return Err(ProtocolError::SettingsFirst(kind.name()));
        }
        Ok(())
    }

    /// What a link deals with by itself: `None`. Else the frame, for the session.
    pub(crate) fn other(&mut self, frame: Frame) -> Result<Option<Frame>, ProtocolError> {
        if let Frame::Settings(settings) = frame {
            self.received += 1;
            if self.peer.is_some() {
                return Err(ProtocolError::SettingsAgain);
            }
            self.chunk = CHUNK.min((settings.max_frame as usize).saturating_sub(MAX_HEAD + 2));
            self.peer = Some(settings);
            return Ok(None);
        }
        self.count(kind(&frame))?;
        match frame {
            Frame::Ping(payload) if !self.outbox.pong(payload) => Err(ProtocolError::PingFlood),
            Frame::Ping(_) => Ok(None),
            Frame::Pong(payload) => {
                if payload == self.pings.to_le_bytes() {
                    self.ping_outstanding = false;
                }
                Ok(None)
            }
            frame => Ok(Some(frame)),
        }
    }

    fn read_preface(&mut self) -> Result<bool, ProtocolError> {
        let common = self.input.len().min(PREFACE.len());
        if self.input[..common] != PREFACE[..common] {
            return Err(match self.input.first_chunk::<8>() {
                Some([magic @ .., major]) if PREFACE.starts_with(magic) => {
                    ProtocolError::Version(char::from(*major))
                }
                _ => ProtocolError::NotFrames,
            });
        }
        if common < PREFACE.len() {
            return Ok(false);
        }
        self.input.advance(PREFACE.len());
        self.preface_read = true;
        Ok(true)
    }

    /// Asks the peer whether it is alive, unless an answer is due already or nothing may be sent.
    pub(crate) fn ping(&mut self) {
        if self.ping_outstanding || self.closed.is_some() || self.peer.is_none() {
            return;
        }
        self.ping_outstanding = true;
        self.pings += 1;
        let payload = self.pings.to_le_bytes();
        self.outbox.stage(|to| frame::ping(to, Kind::Ping, payload));
        self.notify();
    }

    pub(crate) fn is_ping_outstanding(&self) -> bool {
        self.ping_outstanding
    }

    pub(crate) fn send_goaway(&mut self, goaway: GoAway) {
        self.outbox.stage(|to| Frame::GoAway(goaway).encode(to));
        self.notify();
    }

    /// Writes until nothing is left, the socket is full or the turn is over. `fill` queues the next round of
    /// chunks.
    pub(crate) fn poll_write<Io: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        mut fill: impl FnMut(&mut Self),
    ) -> Poll<io::Result<()>> {
        let until = self.outbox.written() + WRITE_TURN;
        let outcome = loop {
            fill(self);
            match self.outbox.poll_write(cx, io) {
                Poll::Ready(Ok(true)) => break Poll::Ready(Ok(())),
                Poll::Ready(Ok(false)) if self.outbox.written() < until => {}
                Poll::Ready(Ok(false)) => {
                    cx.waker().wake_by_ref();
                    break Poll::Pending;
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.end_turn(cx);
        outcome
    }
}

/// The kind of a frame.
fn kind(frame: &Frame) -> Kind {
    match frame {
        Frame::Settings(_) => Kind::Settings,
        Frame::Open { .. } => Kind::Open,
        Frame::Data { .. } => Kind::Data,
        Frame::End { .. } => Kind::End,
        Frame::Credit { .. } => Kind::Credit,
        Frame::Cancel { .. } => Kind::Cancel,
        Frame::GoAway(_) => Kind::GoAway,
        Frame::Ping(_) => Kind::Ping,
        Frame::Pong(_) => Kind::Pong,
    }
}
