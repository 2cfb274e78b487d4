//! What a client does, and what the server is to do then.

use super::*;

impl World {
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

    pub(super) async fn reset_by_client(&mut self, id: u32) {
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

    pub(super) async fn client(&mut self) {
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
}
