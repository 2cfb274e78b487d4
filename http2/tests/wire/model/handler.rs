//! What a handler does, and what the server is to do then.

use super::*;

impl World {
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

    pub(super) fn drop_body(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id).unwrap();
        if stream.body.take().is_some() && !stream.whole {
            stream.queue.clear();
            self.release_all(id);
            self.update_connection();
            self.look(id);
        }
    }

    pub(super) fn drop_respond(&mut self, id: u32) {
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

    pub(super) async fn handler(&mut self) {
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

    pub(super) fn change_windows(&mut self) {
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
}
