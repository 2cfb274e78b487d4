//! One stream as the connection keeps it (RFC 9113 section 5.1), and where it keeps them.

use crate::{error::Error, flow::Window};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    task::Waker,
};

/// So many pieces of a body may wait for their reader as they came, however small. Each keeps all that was read with it, up to
/// 32 KiB, where others' bytes may have been the most.
const MOST_PIECES: usize = 8;

/// Beyond that they may while they have so many bytes on average, and small ones are put together when not: then what waits keeps
/// no more than some times its bytes, which the windows bound, and a frame of one byte does not cost the memory of a piece. Large
/// bodies never come to that: nothing of them is moved, though many a frame comes in two parts.
const LEAST_AVERAGE: usize = 4 << 10;

/// Where the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Nothing was sent.
    Nothing,
    /// Its head was.
    Body,
    /// Its last frame is in the output, or waits for a window.
    Ended,
}

/// What ends an answer.
#[derive(Debug)]
pub(crate) enum End {
    Data,
    Trailers(HeaderMap),
}

pub(crate) struct Stream {
    pub(crate) id: u32,
    /// Handles of it.
    pub(crate) refs: u8,
    /// It is over: nothing comes and nothing goes any more.
    pub(crate) closed: bool,
    /// What ended it before its end.
    pub(crate) failed: Option<Error>,

    /// The request's last frame was received.
    pub(crate) received: bool,
    /// It was its head.
    pub(crate) is_bare: bool,
    pub(crate) window: Window,
    /// It was answered here, and so much of its body is read and thrown away: a client that is still sending would drop the answer
    /// with the reset.
    pub(crate) unread: Option<u32>,
    /// How much of the body its head still promises.
    pub(crate) promised: Option<u64>,
    body: VecDeque<Bytes>,
    /// Put together, behind `body`.
    small: BytesMut,
    /// How many bytes there are in `body`.
    in_pieces: usize,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) reader: Option<Waker>,
    /// Whoever read the body has let it go.
    pub(crate) has_no_reader: bool,

    pub(crate) sending: Sending,
    pub(crate) send_window: i64,
    /// Given to be sent, and waiting for a window.
    pub(crate) pending: VecDeque<Bytes>,
    /// What follows it.
    pub(crate) end: Option<End>,
    pub(crate) writer: Option<Waker>,
    /// What it waits for is room, and not only that the stream ends.
    pub(crate) wants_room: bool,
    /// It is in the queue of those that wait for the connection's window, or for room in the output.
    pub(crate) is_blocked: bool,
}

impl Stream {
    /// One that was just opened, with one handle.
    pub(crate) fn new(id: u32, promised: Option<u64>, window: Window, send_window: i64) -> Self {
        Self {
            id,
            refs: 1,
            closed: false,
            failed: None,
            received: false,
            is_bare: false,
            unread: None,
            window,
            promised,
            body: VecDeque::new(),
            small: BytesMut::new(),
            in_pieces: 0,
            trailers: None,
            reader: None,
            has_no_reader: false,
            sending: Sending::Nothing,
            send_window,
            pending: VecDeque::new(),
            end: None,
            writer: None,
            wants_room: false,
            is_blocked: false,
        }
    }

    /// Keeps a piece of the request's body for its reader.
    pub(crate) fn put(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let count = self.body.len() + 1;
        if piece.len() < LEAST_AVERAGE
            && count > MOST_PIECES
            && self.in_pieces + piece.len() < count * LEAST_AVERAGE
        {
            self.small.extend_from_slice(&piece);
            return;
        }
        if !self.small.is_empty() {
            let small = self.small.split().freeze();
            self.push(small);
        }
        self.push(piece);
    }

    fn push(&mut self, piece: Bytes) {
        self.in_pieces += piece.len();
        self.body.push_back(piece);
    }

    /// The next piece of the request's body.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let Some(piece) = self.body.pop_front() else {
            return (!self.small.is_empty()).then(|| std::mem::take(&mut self.small).freeze());
        };
        self.in_pieces -= piece.len();
        Some(piece)
    }

    pub(crate) fn has_body(&self) -> bool {
        !self.body.is_empty() || !self.small.is_empty()
    }

    /// All that is there, when it is one piece or none.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        if !self.small.is_empty() || self.body.len() > 1 {
            return None;
        }
        Some(self.take().unwrap_or_default())
    }

    /// Forgets what nobody will take.
    pub(crate) fn forget_body(&mut self) {
        self.body = VecDeque::new();
        self.small = BytesMut::new();
        self.in_pieces = 0;
        self.trailers = None;
    }

    /// Forgets what nobody will take or send.
    pub(crate) fn clear(&mut self) {
        self.forget_body();
        self.pending = VecDeque::new();
        self.end = None;
    }

    /// Nothing of the answer is left to be sent.
    pub(crate) fn has_sent(&self) -> bool {
        self.sending == Sending::Ended && self.pending.is_empty() && self.end.is_none()
    }

    pub(crate) fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// Where a stream is kept while anybody knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u32);

/// Fibonacci hashing of numbers that the peer chooses, which are few: a table has as many as there may be streams.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

/// The streams of a connection.
#[derive(Default)]
pub(crate) struct Streams {
    places: Vec<Option<Box<Stream>>>,
    free: Vec<u32>,
    /// Those that are not closed, by their number.
    open: HashMap<u32, Key, BuildHasherDefault<IdHasher>>,
}

impl Streams {
    pub(crate) fn insert(&mut self, stream: Stream) -> Key {
        let id = stream.id;
        let stream = Some(Box::new(stream));
        let key = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = stream;
                Key(place)
            }
            None => {
                self.places.push(stream);
                Key(u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.open.insert(id, key);
        key
    }

    /// Not one that is closed.
    pub(crate) fn find(&self, id: u32) -> Option<Key> {
        self.open.get(&id).copied()
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Stream> {
        self.places.get_mut(key.0 as usize)?.as_deref_mut()
    }

    pub(crate) fn close(&mut self, id: u32) {
        self.open.remove(&id);
    }

    pub(crate) fn remove(&mut self, key: Key) {
        if self.places.get_mut(key.0 as usize).and_then(Option::take).is_some() {
            self.free.push(key.0);
        }
    }

    /// How many are not closed.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// How many there are, with those that are closed and of which there are handles.
    pub(crate) fn kept(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.open.values().copied().collect()
    }

    /// Gives memory back that a connection without streams does not need.
    pub(crate) fn shrink(&mut self) {
        if self.free.len() == self.places.len() {
            self.places = Vec::new();
            self.free = Vec::new();
            self.open.shrink_to(0);
        }
    }
}
