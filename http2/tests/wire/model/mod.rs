//! Sessions of chance against a model: every step is one thing that a client or a handler does, and after each one the server has
//! written what the model says and nothing else. In the end nothing is left of any stream.

mod client;
mod handler;

use crate::{chance::Chance, peer::*};
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
