//! Sessions of chance against a model: every step is one thing that a client or a handler does, and after each one the server has
//! written what the model says and nothing else. In the end nothing is left of any stream.

use crate::peer::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use prism_http2::{RecvStream, Respond, Settings};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

impl Chance {
    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// Some number up to this: mostly a small one, often all.
    fn part(&mut self, all: i64) -> i64 {
        match self.below(3) {
            0 => all,
            1 => self.below(all.unsigned_abs() + 1) as i64,
            _ => self.below(all.clamp(0, 200).unsigned_abs() + 1) as i64,
        }
    }
}

/// A window that the server gives.
#[derive(Clone, Copy)]
struct Given {
    target: i64,
    left: i64,
    held: i64,
}

impl Given {
    /// What the server should give back now: all that is free, if it doubles what is left.
    fn update(&mut self) -> Option<u32> {
        let free = self.target - self.held;
        let more = free - self.left;
        (free > 0 && more > 0 && more >= self.left).then(|| {
            self.left = free;
            u32::try_from(more).unwrap()
        })
    }

    fn receive(&mut self, bytes: i64) {
        self.left -= bytes;
        self.held += bytes;
    }
}

struct Model {
    given: Given,
    /// What the server may send.
    taken: i64,
    client_has_ended: bool,
    server_has_ended: bool,
    closed: bool,
    /// It was reset, by either side.
    failed: bool,
    /// By the server: what comes for it is ignored.
    reset: bool,
    promised: Option<i64>,

    /// Received, and not read.
    queue: VecDeque<u8>,
    has_trailers: bool,
    body: Option<RecvStream>,
    /// The body was all there with the request, and costs no window any more.
    whole: bool,

    respond: Option<Respond>,
    has_head: bool,
    ends: bool,
    /// Given to be sent, and not sent.
    queued: i64,

    /// Rung for the reader and for the writer, and whether they wait for that.
    bells: [Arc<Bell>; 2],
    reads: bool,
    writes: bool,
}

impl Model {
    fn refs(&self) -> usize {
        usize::from(self.respond.is_some()) + usize::from(self.body.is_some() && !self.whole)
    }

    /// How much a handler may send now, if anything; `None` when there is nobody to send it to.
    fn room(&self, connection: i64) -> Option<Option<usize>> {
        match connection.min(self.taken) {
            _ if self.closed => Some(None),
            room if room > 0 && self.queued == 0 => Some(Some(MOST_TURN.min(room as usize))),
            _ => None,
        }
    }

    fn has_reader(&self) -> bool {
        self.body.is_some() && !self.whole
    }
}

struct World {
    chance: Chance,
    seed: u64,
    pair: Pair,
    /// Of the connection.
    given: Given,
    taken: i64,
    /// Of new streams: what the server gives, as far as the client has said that it knows; what it has announced; what it may send.
    stream_window: i64,
    announced: VecDeque<i64>,
    peer_window: i64,

    streams: BTreeMap<u32, Model>,
    next: u32,
    given_up: u64,
    most_streams: usize,

    /// A frame was sent that the server may take in parts. When it gives back what is its own choice then, and how much is not.
    in_parts: bool,
    /// What the server must write: updates of each window, resets, answers.
    updates: BTreeMap<u32, VecDeque<u32>>,
    resets: Vec<(u32, u32)>,
    pongs: usize,
    acks: usize,
    settings: usize,
}

const MOST_TURN: usize = 10_000;

impl World {
    async fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let windows = [65_535, 16_384, 1_000, 200_000];
        let settings = Settings {
            max_concurrent_streams: 1 + chance.below(10) as u32,
            stream_window: windows[chance.below(4) as usize],
            connection_window: [65_535, 70_000, 300_000][chance.below(3) as usize],
            most_turn: MOST_TURN,
            // The client reads all there is after each step.
            most_output: 16 << 20,
            ..settings()
        };
        let mut world = Self {
            pair: Pair::with(settings).await,
            given: Given { target: settings.connection_window.into(), left: 65_535, held: 0 },
            taken: 65_535,
            stream_window: 65_535,
            announced: VecDeque::from([settings.stream_window.into()]),
            peer_window: 65_535,
            streams: BTreeMap::new(),
            next: 1,
            given_up: 0,
            most_streams: settings.max_concurrent_streams as usize,
            in_parts: false,
            updates: BTreeMap::new(),
            resets: Vec::new(),
            pongs: 0,
            acks: 1,
            settings: 1,
            chance,
            seed,
        };
        world.update_connection();
        world.settle().await;
        world
    }

    fn open(&self) -> usize {
        self.streams.values().filter(|stream| !stream.closed).count()
    }

    fn update_connection(&mut self) {
        if !self.in_parts
            && let Some(more) = self.given.update()
        {
            self.updates.entry(0).or_default().push_back(more);
        }
    }

    fn update_stream(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        if !self.in_parts
            && !stream.closed
            && !stream.client_has_ended
            && stream.has_reader()
            && let Some(more) = stream.given.update()
        {
            self.updates.entry(id).or_default().push_back(more);
        }
    }

    /// Somebody, or nobody, has taken so much of a stream.
    fn release(&mut self, id: u32, bytes: i64) {
        let stream = self.streams.get_mut(&id).unwrap();
        let bytes = bytes.min(stream.given.held);
        stream.given.held -= bytes;
        self.given.held -= bytes;
    }

    fn release_all(&mut self, id: u32) {
        self.release(id, i64::MAX);
    }

    /// It is over before its end.
    fn fail(&mut self, id: u32, reset: Option<u32>) {
        let stream = self.streams.get_mut(&id).unwrap();
        (stream.closed, stream.failed) = (true, true);
        if !stream.whole {
            stream.queue.clear();
        }
        (stream.queued, stream.has_trailers) = (0, false);
        if let Some(code) = reset {
            stream.reset = true;
            self.resets.push((id, code));
        }
        self.release_all(id);
        self.update_connection();
    }

    /// Whether it is over by now.
    fn look(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        if stream.closed {
            return;
        }
        if stream.client_has_ended && stream.server_has_ended {
            stream.closed = true;
            if stream.queue.is_empty() || stream.refs() == 0 {
                self.release_all(id);
            }
            self.update_connection();
        } else if stream.server_has_ended && stream.refs() == 0 {
            self.fail(id, Some(NO_ERROR));
        }
    }

    /// Reads what the server has written, and compares.
    async fn settle(&mut self) {
        self.pair.rest().await;
        let frames = self.pair.frames().await;
        let seed = self.seed;
        assert!(self.pair.ended.is_none(), "seed {seed}: {:?}", self.pair.ended);
        for frame in frames {
            let id = frame.stream;
            match (frame.kind, frame.flags) {
                (DATA, _) => {
                    let length = frame.payload.len() as i64;
                    let stream = self.streams.get_mut(&id).unwrap();
                    self.taken -= length;
                    stream.taken -= length;
                    stream.queued -= length;
                    assert!(stream.queued >= 0 && !stream.server_has_ended, "seed {seed}: {id}");
                    assert!(
                        length == 0 || self.taken.min(stream.taken) >= 0,
                        "seed {seed}: {id} beyond a window"
                    );
                    assert!(length <= 16_384);
                }
                (HEADERS, flags) => {
                    let stream = self.streams.get_mut(&id).unwrap();
                    assert!(flags & END_HEADERS != 0 && !stream.server_has_ended, "seed {seed}: {id}");
                }
                (RST_STREAM, _) => {
                    let reset = (id, code_of(&frame.payload));
                    let at = self.resets.iter().position(|expected| *expected == reset);
                    let at = at.unwrap_or_else(|| panic!("seed {seed}: {reset:?} of {:?}", self.resets));
                    self.resets.remove(at);
                }
                (WINDOW_UPDATE, _) if self.in_parts => {
                    let given = match id {
                        0 => &mut self.given,
                        _ => &mut self.streams.get_mut(&id).unwrap().given,
                    };
                    given.left += i64::from(code_of(&frame.payload));
                    assert!(given.left + given.held <= given.target, "seed {seed}: window of {id}");
                }
                (WINDOW_UPDATE, _) => {
                    let expected = self.updates.get_mut(&id).and_then(VecDeque::pop_front);
                    assert_eq!(expected, Some(code_of(&frame.payload)), "seed {seed}: window of {id}");
                }
                (SETTINGS, ACK) => self.acks -= 1,
                (SETTINGS, _) => self.settings -= 1,
                (PING, ACK) => self.pongs -= 1,
                _ => panic!("seed {seed}: {frame:?}"),
            }
            if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
                let stream = self.streams.get_mut(&id).unwrap();
                assert!(stream.ends && stream.queued == 0, "seed {seed}: {id} has ended too early");
                stream.server_has_ended = true;
                self.look(id);
            }
        }
        if std::mem::take(&mut self.in_parts) {
            // Whatever is due now was so before.
            self.update_connection();
            for id in self.streams.keys().copied().collect::<Vec<_>>() {
                self.update_stream(id);
            }
        }
        let updates: Vec<_> = self.updates.iter().filter(|(_, updates)| !updates.is_empty()).collect();
        assert!(updates.is_empty(), "seed {seed}: windows are not given back: {updates:?}");
        assert_eq!(self.resets, [], "seed {seed}");
        assert_eq!((self.acks, self.settings, self.pongs), (0, 0, 0), "seed {seed}");
        assert_eq!(self.pair.server.take_given_up(), std::mem::take(&mut self.given_up), "seed {seed}");
        assert!(self.pair.accepted.is_empty());
        for (id, stream) in &mut self.streams {
            let comes = !stream.queue.is_empty() || stream.client_has_ended || stream.failed;
            if stream.body.is_some() && stream.reads && comes {
                assert!(stream.bells[0].take() > 0, "seed {seed}: the reader of {id} is not woken");
                stream.reads = false;
            }
            if stream.respond.is_some() && stream.writes && stream.room(self.taken).is_some() {
                assert!(stream.bells[1].take() > 0, "seed {seed}: the writer of {id} is not woken");
                stream.writes = false;
            }
            if stream.closed {
                continue;
            }
            assert!(stream.queued == 0 || self.taken.min(stream.taken) <= 0, "seed {seed}: {id} could send");
            assert!(
                !stream.ends || stream.queued > 0 || stream.server_has_ended,
                "seed {seed}: {id} could end"
            );
        }
        let held: i64 = self.streams.values().map(|stream| stream.given.held).sum();
        assert_eq!(held, self.given.held, "the model is wrong");
    }

    /// What a client sends next of a body: its bytes say where they belong.
    fn bytes(id: u32, length: i64, at: u64) -> Vec<u8> {
        (0..length as u64).map(|byte| (byte + at) as u8 ^ id as u8).collect()
    }

    async fn request(&mut self) {
        let id = self.next;
        self.next += 2 + 2 * self.chance.below(3) as u32;
        let is_full = self.open() >= self.most_streams;
        let form = self.chance.below(8);
        // Less than would be given out in parts.
        let length = self.chance.part(self.given.left.min(self.stream_window).clamp(0, 1_000));
        let promised = self.chance.one_in(4).then(|| self.chance.part(30_000));
        let mut head = get();
        if let Some(promised) = promised.filter(|_| form > 1) {
            head.extend(field("content-length", &promised.to_string()));
        }
        let bytes = Self::bytes(id, length, 0);
        let sent = match form {
            // All of it at once; all of it in two frames; given up at once; and what is read bit by bit.
            0 => request(id),
            1 if !is_full => [open(id), frame(DATA, END_STREAM, id, &bytes)].concat(),
            2 if !is_full => [open(id), frame(RST_STREAM, 0, id, [0, 0, 0, 8])].concat(),
            _ => frame(HEADERS, END_HEADERS, id, head),
        };
        self.pair.send(sent).await;
        let mut stream = Model {
            given: Given { target: self.stream_window, left: self.stream_window, held: 0 },
            taken: self.peer_window,
            client_has_ended: form == 0 || form == 1,
            server_has_ended: false,
            closed: is_full,
            failed: is_full,
            reset: is_full,
            promised: promised.filter(|_| form > 2),
            queue: VecDeque::new(),
            has_trailers: false,
            body: None,
            whole: form == 0 || form == 1,
            respond: None,
            has_head: false,
            ends: false,
            queued: 0,
            bells: Default::default(),
            reads: false,
            writes: false,
        };
        if is_full {
            self.resets.push((id, REFUSED_STREAM));
        } else if form == 2 {
            (stream.closed, stream.failed) = (true, true);
            self.given_up += 1;
        } else {
            let (request, respond) = self.pair.accepted.pop().unwrap();
            (stream.body, stream.respond) = (Some(request.into_body()), Some(respond));
        }
        if form == 1 && !is_full {
            self.given.receive(length);
            self.update_connection();
            self.given.held -= length;
            self.update_connection();
            stream.queue.extend(bytes);
        }
        self.streams.insert(id, stream);
    }

    async fn data(&mut self, id: u32) {
        let stream = &self.streams[&id];
        self.in_parts = self.chance.one_in(4);
        let most = self.given.left.min(if self.in_parts { 16_384 } else { 1_000 });
        let most = if self.chance.one_in(20) { most } else { most.min(stream.given.left) };
        if most < 0 {
            return;
        }
        let payload = self.chance.part(most);
        let padding = if self.chance.one_in(4) { 1 + self.chance.part(255) } else { 0 };
        let padding = if payload + padding <= most { padding } else { 0 };
        let counted = payload + padding;
        let end = self.chance.one_in(6);
        let at = self.chance.below(256);
        let bytes = Self::bytes(id, payload, at);
        let flags = if end { END_STREAM } else { 0 };
        let sent = match padding {
            0 => frame(DATA, flags, id, &bytes),
            _ => {
                let padded = [&[(padding - 1) as u8][..], &bytes, &vec![0; padding as usize - 1]].concat();
                frame(DATA, flags | PADDED, id, padded)
            }
        };
        self.pair.send(sent).await;
        let stream = self.streams.get_mut(&id).unwrap();
        let beyond = counted > stream.given.left;
        if stream.closed || stream.client_has_ended || beyond {
            // Nobody gets it.
            self.given.left -= counted;
            let (closed, reset, ended) = (stream.closed, stream.reset, stream.client_has_ended);
            self.update_connection();
            if !closed {
                self.fail(id, Some(if ended { STREAM_CLOSED } else { FLOW_CONTROL_ERROR }));
            } else if !reset {
                self.streams.get_mut(&id).unwrap().reset = true;
                self.resets.push((id, STREAM_CLOSED));
            }
            return;
        }
        stream.given.receive(counted);
        self.given.receive(counted);
        if let Some(promised) = &mut stream.promised {
            *promised -= payload;
            if *promised < 0 || (end && *promised > 0) {
                return self.fail(id, Some(PROTOCOL_ERROR));
            }
        }
        if stream.has_reader() {
            stream.queue.extend(bytes);
            self.release(id, padding);
        } else {
            self.release_all(id);
            self.update_connection();
        }
        self.streams.get_mut(&id).unwrap().client_has_ended = end;
        self.look(id);
        self.update_stream(id);
        self.update_connection();
    }

    async fn trailers(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        if stream.closed && !stream.reset {
            // That ends the connection.
            return;
        }
        let end = !self.chance.one_in(4);
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.pair.send(frame(HEADERS, flags, id, fields(&[("sum", "7")]))).await;
        if stream.closed {
            return;
        }
        if stream.client_has_ended {
            return self.fail(id, Some(STREAM_CLOSED));
        }
        if !end || stream.promised.is_some_and(|left| left > 0) {
            return self.fail(id, Some(PROTOCOL_ERROR));
        }
        (stream.client_has_ended, stream.has_trailers) = (true, true);
        self.look(id);
    }

    async fn reset_by_client(&mut self, id: u32) {
        self.pair.send(frame(RST_STREAM, 0, id, CANCEL.to_be_bytes())).await;
        if !self.streams[&id].closed {
            self.fail(id, None);
        }
    }

    async fn grow(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        let most = (1_i64 << 31) - 1;
        let more = match self.chance.below(12) {
            0 => 0,
            1 if stream.taken > 0 => most,
            _ => 1 + self.chance.part(40_000),
        };
        self.pair.send(window_update(id, more as u32)).await;
        if stream.closed {
            return;
        }
        stream.taken += more;
        if more == 0 {
            self.fail(id, Some(PROTOCOL_ERROR));
        } else if stream.taken > most {
            self.fail(id, Some(FLOW_CONTROL_ERROR));
        }
    }

    async fn client(&mut self) {
        // Mostly one of the last.
        let back = self.chance.part(self.streams.len() as i64 - 1).max(0) as usize;
        let id = self.streams.keys().rev().nth(back).copied();
        match (self.chance.below(16), id) {
            (0..3, _) | (_, None) => self.request().await,
            (3..8, Some(id)) => self.data(id).await,
            (8, Some(id)) => self.trailers(id).await,
            (9, Some(id)) if self.chance.one_in(3) => self.reset_by_client(id).await,
            (9..12, Some(id)) => self.grow(id).await,
            (12, _) => {
                let more = 1 + self.chance.part(100_000);
                self.taken += more;
                self.pair.send(window_update(0, more as u32)).await;
            }
            (13, _) => {
                let sizes: Vec<i64> =
                    (0..1 + self.chance.below(3)).map(|_| self.chance.part(80_000)).collect();
                let payload: Vec<u8> = sizes.iter().flat_map(|size| setting(4, *size as u32)).collect();
                let size = *sizes.last().unwrap();
                for stream in self.streams.values_mut().filter(|stream| !stream.closed) {
                    stream.taken += size - self.peer_window;
                }
                self.peer_window = size;
                self.acks += 1;
                self.pair.send(frame(SETTINGS, 0, 0, payload)).await;
            }
            (14, _) => {
                self.pongs += 1;
                self.pair.send(frame(PING, 0, 0, [7; 8])).await;
            }
            _ => self.acknowledge().await,
        }
    }

    async fn acknowledge(&mut self) {
        self.pair.send(frame(SETTINGS, ACK, 0, [])).await;
        let Some(size) = self.announced.pop_front() else { return };
        self.stream_window = size;
        let open: Vec<_> =
            self.streams.iter().filter(|(_, stream)| !stream.closed).map(|(id, _)| *id).collect();
        for id in open {
            let given = &mut self.streams.get_mut(&id).unwrap().given;
            given.left += size - given.target;
            given.target = size;
            self.update_stream(id);
        }
    }

    async fn read(&mut self, id: u32) {
        let (seed, stream) = (self.seed, self.streams.get_mut(&id).unwrap());
        let Some(body) = &mut stream.body else { return };
        stream.bells[0].take();
        let read = poll(&stream.bells[0], |cx| body.poll_data(cx));
        stream.reads = read.is_none();
        if !stream.queue.is_empty() {
            let Some(Some(Ok(piece))) = read else { panic!("seed {seed}: {id}: {read:?}") };
            assert!(!piece.is_empty() && piece.len() <= stream.queue.len(), "seed {seed}: {id}");
            assert!(piece.iter().eq(stream.queue.drain(..piece.len()).collect::<Vec<_>>().iter()));
            if !self.chance.one_in(3) {
                self.give_back(id, piece.len() as i64);
            }
            return;
        }
        match read {
            Some(Some(Err(_))) => assert!(stream.failed && !stream.whole, "seed {seed}: {id}"),
            Some(None) => {
                assert!(stream.client_has_ended && (stream.whole || !stream.failed), "seed {seed}: {id}");
                let trailers = poll(&stream.bells[0], |cx| body.poll_trailers(cx)).unwrap().unwrap();
                assert_eq!(trailers.is_some(), std::mem::take(&mut stream.has_trailers), "seed {seed}: {id}");
                assert!(body.is_end_stream(), "seed {seed}: {id}");
            }
            None => assert!(!stream.client_has_ended && !stream.failed, "seed {seed}: {id}"),
            Some(Some(Ok(piece))) => panic!("seed {seed}: {id}: {piece:?}"),
        }
    }

    /// A reader gives back so much; it may say more than it had.
    fn give_back(&mut self, id: u32, bytes: i64) {
        let Some(body) = &mut self.streams.get_mut(&id).unwrap().body else { return };
        body.release(bytes as usize);
        if !self.streams[&id].whole {
            self.release(id, bytes);
            self.update_stream(id);
            self.update_connection();
        }
    }

    fn drop_body(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        if stream.body.take().is_some() && !stream.whole {
            stream.queue.clear();
            self.release_all(id);
            self.update_connection();
            self.look(id);
        }
    }

    fn drop_respond(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        if stream.respond.take().is_none() {
            return;
        }
        if !stream.closed && !stream.ends {
            self.fail(id, Some(CANCEL));
        } else {
            self.look(id);
        }
        let stream = self.streams.get_mut(&id).unwrap();
        if stream.closed && stream.refs() == 0 {
            self.release_all(id);
            self.update_connection();
        }
    }

    async fn send(&mut self, id: u32) {
        let (seed, stream) = (self.seed, self.streams.get_mut(&id).unwrap());
        let Some(respond) = &mut stream.respond else { return };
        if !stream.has_head {
            let end = self.chance.one_in(5);
            let goes = !stream.closed;
            assert_eq!(ok(respond, end), goes, "seed {seed}: {id}");
            (stream.has_head, stream.ends) = (goes, goes && end);
            return;
        }
        stream.bells[1].take();
        let room = poll(&stream.bells[1], |cx| respond.poll_room(cx));
        stream.writes = room.is_none() && !stream.ends;
        assert_eq!(room, stream.room(self.taken), "seed {seed}: {id}");
        let Some(respond) = &mut stream.respond else { return };
        // A little more than there is room for, now and then.
        let most = room.flatten().unwrap_or(0) + if self.chance.one_in(4) { 1_000 } else { 0 };
        let length = self.chance.part(most as i64);
        respond.send_data(Bytes::from(vec![7; length as usize]));
        if !stream.closed && !stream.ends {
            stream.queued += length;
        }
        if self.chance.one_in(5) {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            respond.send_end(self.chance.one_in(2).then_some(trailers));
            stream.ends = !stream.closed || stream.ends;
            stream.writes = false;
        }
    }

    async fn handler(&mut self) {
        let held: Vec<u32> =
            self.streams.iter().filter(|(_, stream)| stream.refs() > 0).map(|(id, _)| *id).collect();
        if held.is_empty() {
            return;
        }
        let id = held[self.chance.below(held.len() as u64) as usize];
        match self.chance.below(20) {
            0..8 => self.read(id).await,
            8 | 9 => {
                let bytes = self.chance.part(30_000);
                self.give_back(id, bytes);
            }
            10..16 => self.send(id).await,
            16 => self.drop_body(id),
            17 => self.drop_respond(id),
            18 => {
                let stream = self.streams.get_mut(&id).unwrap();
                if let Some(respond) = stream.respond.as_mut().filter(|_| self.chance.one_in(4)) {
                    respond.reset(CANCEL.into());
                    if !stream.closed {
                        self.fail(id, Some(CANCEL));
                    }
                }
            }
            _ => {
                let stream = self.streams.get_mut(&id).unwrap();
                if let Some(respond) = &mut stream.respond {
                    let reset = poll(&stream.bells[1], |cx| respond.poll_reset(cx));
                    assert_eq!(reset.is_some(), stream.failed, "seed {}: {id}", self.seed);
                }
            }
        }
    }

    fn change_windows(&mut self) {
        if self.chance.one_in(2) {
            let size = 1 + self.chance.part(100_000);
            let goes = self.announced.is_empty();
            assert_eq!(self.pair.server.set_stream_window(size as u32), goes);
            if goes && size != self.stream_window {
                self.announced.push_back(size);
                self.settings += 1;
            }
        } else {
            self.given.target = 65_535 + self.chance.part(200_000);
            self.pair.server.set_connection_window(self.given.target as u32);
            self.update_connection();
        }
    }

    /// Everybody lets go, and nothing is left.
    async fn end(mut self) {
        let seed = self.seed;
        for id in self.streams.keys().copied().collect::<Vec<_>>() {
            if self.chance.one_in(2) {
                self.drop_body(id);
                self.settle().await;
                self.drop_respond(id);
            } else {
                self.drop_respond(id);
                self.settle().await;
                self.drop_body(id);
            }
            self.settle().await;
            if !self.streams[&id].closed {
                // What waits for a window is there still, of an answer that has ended.
                assert!(self.streams[&id].queued > 0, "seed {seed}: {id}");
                self.reset_by_client(id).await;
                self.settle().await;
            }
        }
        // Twice what it was is given at once, and shows by what it is given whether anything is missing or too much.
        self.given.target = 2 * self.given.target.max(self.given.left);
        self.pair.server.set_connection_window(self.given.target as u32);
        self.update_connection();
        self.settle().await;
        assert_eq!(self.given.left, self.given.target, "seed {seed}");
        let streams: Vec<u32> = (0..self.most_streams as u32).map(|at| self.next + 2 * at).collect();
        self.pair.send(streams.iter().copied().flat_map(request).collect::<Vec<_>>()).await;
        assert_eq!(self.pair.accepted.len(), streams.len(), "seed {seed}: there is not room for all");
        for (_, mut respond) in self.pair.accepted.drain(..) {
            respond.send_head(StatusCode::OK, &HeaderMap::new(), true);
        }
        let frames = self.pair.frames().await;
        assert_eq!(frames.iter().filter(|frame| frame.kind == HEADERS).count(), streams.len());
        self.pair.server.graceful_shutdown();
        let ping = self.pair.frames().await.pop().unwrap();
        self.pair.send(frame(PING, ACK, 0, ping.payload)).await;
        self.pair.turn().await;
        // A stream that is not over would keep it from that.
        assert!(matches!(self.pair.ended, Some(None)), "seed {seed}: {:?}", self.pair.ended);
    }
}

#[tokio::test]
async fn sessions_of_chance_are_what_the_model_says() {
    for seed in 0..200 {
        let mut world = World::new(seed).await;
        for _ in 0..300 {
            match world.chance.below(40) {
                0 => world.change_windows(),
                1..20 => world.client().await,
                _ => world.handler().await,
            }
            world.settle().await;
        }
        world.end().await;
    }
}
