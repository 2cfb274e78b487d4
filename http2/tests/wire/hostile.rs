//! Sessions of chance with clients that keep to no rule that ends the connection no sooner: whatever they do, nothing spins, and
//! in the end the connection's window is whole and no stream is left.

use crate::{chance::Chance, peer::*};
use bytes::Bytes;
use http::HeaderMap;
use prism_http2::{RecvStream, Respond, Settings};
use std::sync::Arc;

struct Session {
    chance: Chance,
    pair: Pair,
    bodies: Vec<RecvStream>,
    responds: Vec<Respond>,
    next: u32,
    /// What the client may send on the whole connection.
    left: i64,
    leaving: bool,
}

impl Session {
    async fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let changed = Settings {
            max_concurrent_streams: 1 + chance.below(20) as u32,
            stream_window: [100, 16_384, 65_535, 1 << 20][chance.below(4) as usize],
            connection_window: [65_535, 200_000][chance.below(2) as usize],
            most_output: 30_000,
            most_turn: 10_000,
            ..settings()
        };
        let mut pair = Pair::silent(changed, 1 << 20).await;
        pair.send(frame(SETTINGS, 0, 0, [])).await;
        Self { chance, pair, bodies: Vec::new(), responds: Vec::new(), next: 1, left: 65_535, leaving: false }
    }

    /// A stream that is open, or over, or behind the end.
    fn stream(&mut self) -> u32 {
        let count = u64::from(self.next / 2).max(1);
        let back = if self.chance.below(2) == 0 {
            self.chance.below(count)
        } else {
            self.chance.below(count.min(6))
        };
        (self.next.max(3) - 2).saturating_sub(2 * back as u32)
    }

    fn client(&mut self) -> Vec<u8> {
        let stream = self.stream();
        let kind = if self.next == 1 { 0 } else { self.chance.below(20) };
        match kind {
            0..5 => {
                let stream = self.next;
                self.next += 2;
                let mut head = get();
                match self.chance.below(6) {
                    0 => head.extend(field("content-length", "1000")),
                    // Too large, and malformed.
                    1 => (0..3).for_each(|_| head.extend(field("x", &"y".repeat(6_000)))),
                    2 => head.extend(field("connection", "close")),
                    _ => {}
                }
                let flags = END_HEADERS | if self.chance.below(4) == 0 { END_STREAM } else { 0 };
                if head.len() < 16_384 {
                    return frame(HEADERS, flags, stream, head);
                }
                let (first, second) = head.split_at(16_000);
                [
                    frame(HEADERS, flags & END_STREAM, stream, first),
                    frame(CONTINUATION, END_HEADERS, stream, second),
                ]
                .concat()
            }
            5..13 => {
                let most = self.left.clamp(0, 16_384) as u64;
                let size = [most, self.chance.below(most + 1), self.chance.below(most.min(300) + 1)];
                let size = size[self.chance.below(3) as usize];
                let flags = if self.chance.below(6) == 0 { END_STREAM } else { 0 };
                self.left -= size as i64;
                let padding = self.chance.below(256).min(size.saturating_sub(1));
                match size {
                    1.. if self.chance.below(3) == 0 => {
                        let payload = [vec![padding as u8], vec![0; size as usize - 1]].concat();
                        frame(DATA, flags | PADDED, stream, payload)
                    }
                    _ => frame(DATA, flags, stream, vec![0; size as usize]),
                }
            }
            13 => frame(RST_STREAM, 0, stream, [0, 0, 0, 8]),
            14 => window_update(stream, self.chance.below(3) as u32 * 10_000),
            15 => window_update(0, 1 + self.chance.below(20_000) as u32),
            16 => frame(SETTINGS, 0, 0, setting(4, self.chance.below(100_000) as u32)),
            17 => frame(SETTINGS, ACK, 0, []),
            18 if self.chance.below(8) == 0 => {
                // Of what has ended it ends the connection.
                frame(HEADERS, END_HEADERS | self.chance.below(2) as u8, stream, fields(&[("sum", "1")]))
            }
            _ => frame(PRIORITY, 0, stream, [0, 0, 0, 0, 1]),
        }
    }

    fn handlers(&mut self) {
        for (request, respond) in self.pair.accepted.drain(..) {
            self.bodies.push(request.into_body());
            self.responds.push(respond);
        }
        let bell = Arc::default();
        let (body, respond) = (self.bodies.len() as u64, self.responds.len() as u64);
        if body > 0 && self.chance.below(2) == 0 {
            let at = self.chance.below(body) as usize;
            match self.chance.below(8) {
                0 => drop(self.bodies.swap_remove(at)),
                1 => self.bodies[at].release(self.chance.below(100_000) as usize),
                _ => {
                    while let Some(Some(Ok(piece))) = poll(&bell, |cx| self.bodies[at].poll_data(cx)) {
                        self.bodies[at]
                            .release(piece.len() - self.chance.below(2) as usize * piece.len() / 2);
                    }
                }
            }
        }
        if respond > 0 && self.chance.below(2) == 0 {
            let at = self.chance.below(respond) as usize;
            let answer = &mut self.responds[at];
            match self.chance.below(9) {
                0 => drop(self.responds.swap_remove(at)),
                1 => answer.reset(8.into()),
                2 => answer.send_end((self.chance.below(2) == 0).then(HeaderMap::new)),
                3 | 4 => drop(ok(answer, self.chance.below(3) == 0)),
                _ => {
                    if let Some(Some(room)) = poll(&bell, |cx| answer.poll_room(cx)) {
                        answer.send_data(Bytes::from(vec![0; room]));
                    }
                }
            }
        }
    }

    /// Reads what there is.
    async fn read(&mut self) {
        self.pair.rest().await;
        for frame in self.pair.frames().await {
            if (frame.kind, frame.stream) == (WINDOW_UPDATE, 0) {
                self.left += i64::from(code_of(&frame.payload));
            }
            if frame.kind == PING && frame.flags == 0 {
                self.pair.send(self::frame(PING, ACK, 0, frame.payload)).await;
            }
        }
    }

    /// Whether it came to its end, and not to an earlier one.
    async fn run(mut self, seed: u64) -> bool {
        for _ in 0..400 {
            if self.pair.ended.is_some() {
                return false;
            }
            let bytes: Vec<u8> = (0..=self.chance.below(3)).flat_map(|_| self.client()).collect();
            self.pair.send(bytes).await;
            self.handlers();
            if self.chance.below(4) > 0 {
                self.read().await;
            }
            if self.chance.below(1_000) == 0 && !self.leaving {
                self.leaving = true;
                self.pair.server.graceful_shutdown();
            }
        }
        // All windows are open: whatever waits is written.
        self.pair.send(frame(SETTINGS, 0, 0, setting(4, 1 << 20))).await;
        self.pair.send(window_update(0, 1 << 28)).await;
        self.bodies.clear();
        self.pair.accepted.clear();
        self.responds.clear();
        self.read().await;
        for stream in (1..self.next).step_by(2) {
            self.pair.send(frame(RST_STREAM, 0, stream, [0, 0, 0, 8])).await;
            self.read().await;
        }
        if self.pair.ended.is_some() {
            return false;
        }
        self.pair.server.set_connection_window(1 << 30);
        self.read().await;
        assert_eq!(self.left, 1 << 30, "seed {seed}: the connection's window");
        if !self.leaving {
            self.pair.server.graceful_shutdown();
        }
        self.read().await;
        self.read().await;
        assert!(matches!(self.pair.ended, Some(None)), "seed {seed}: {:?}", self.pair.ended);
        true
    }
}

#[tokio::test]
async fn whatever_clients_do_no_window_is_lost_and_nothing_spins() {
    let mut whole = 0;
    for seed in 0..60 {
        whole += usize::from(Session::new(seed).await.run(seed).await);
    }
    assert!(whole > 20, "{whole} sessions came to their end");
}
