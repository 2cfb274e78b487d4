//! Where payloads lie in memory: whether one that came is in the very bytes that were read from a socket, and where one
//! that is answered begins.

use bytes::Bytes;
use prism_plugin_abi::{Code, Data, Error, Payload};
use std::sync::{Mutex, PoisonError};

/// What may lie between two DATA frames of one call: their heads (9 bytes), and small frames of the connection (an
/// answered PING has 17 bytes, an answered SETTINGS 9).
const BETWEEN: usize = 64;

/// Payloads that are kept, so that nobody else gets their memory.
#[derive(Debug, Default)]
pub(crate) struct Places {
    held: Mutex<Payload>,
    given: Mutex<Bytes>,
}

/// One read from a socket: into which memory, and which bytes of all that were read.
struct Read {
    address: usize,
    length: usize,
    offset: usize,
}

/// A piece of which this many bytes, its last, lie where they were read; the last of them was read as this one of all.
struct InPlace {
    bytes: usize,
    last: usize,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn raw(text: String) -> Data {
    Data::Raw(Bytes::from(text).into())
}

fn wrong(why: String) -> Error {
    Error::operation(Code::FailedPrecondition, why)
}

impl Places {
    /// Keeps a payload, instead of the one before.
    pub(crate) fn hold(&self, params: Data) -> Result<Data, Error> {
        let Data::Raw(payload) = params else { return Err(wrong("raw bytes are held".into())) };
        *locked(&self.held) = payload;
        Ok(Data::Raw(Payload::new()))
    }

    /// Looks whether the payload that is kept lies where it was read. `params` are all reads of the connection in their
    /// order, a line `ADDRESS LENGTH` each. Answers `PIECES BYTES MOVED`: bytes of a frame that arrived in several reads
    /// may have been moved while it was not all there, those of the last read never.
    pub(crate) fn held(&self, params: Data) -> Result<Data, Error> {
        let reads = reads(params)?;
        let held = locked(&self.held);
        let (mut pieces, mut moved) = (0, 0);
        let mut before: Option<usize> = None;
        for piece in held.pieces() {
            let found = in_place(piece, &reads);
            let found = found.ok_or_else(|| wrong(format!("piece {pieces} lies where nothing was read")))?;
            let first = (found.last + 1).checked_sub(piece.len());
            let between = first.zip(before).map(|(first, before)| first.checked_sub(before + 1));
            if first.is_none() || between.is_some_and(|gap| gap.is_none_or(|gap| gap > BETWEEN)) {
                // The memory of an earlier read, which something else was written to since.
                return Err(wrong(format!("piece {pieces} lies where something else was read")));
            }
            before = Some(found.last);
            pieces += 1;
            moved += piece.len() - found.bytes;
        }
        Ok(raw(format!("{pieces} {} {moved}", held.len())))
    }

    /// Answers so many bytes, and keeps them too. `given` then says where they are.
    pub(crate) fn give(&self, params: Data) -> Result<Data, Error> {
        let count = text(params)?.parse().map_err(|_| wrong("how many bytes?".into()))?;
        let bytes: Vec<u8> = (0_usize..count).map(|at| (at / 7 + at / 4096).to_le_bytes()[0]).collect();
        let bytes = Bytes::from(bytes);
        *locked(&self.given) = bytes.clone();
        Ok(Data::Raw(bytes.into()))
    }

    /// The address of the bytes that were given last.
    pub(crate) fn given(&self) -> Data {
        raw((locked(&self.given).as_ptr() as usize).to_string())
    }
}

fn text(params: Data) -> Result<String, Error> {
    let Data::Raw(payload) = params else { return Err(wrong("raw bytes are read".into())) };
    String::from_utf8(payload.into_bytes().into()).map_err(|_| wrong("not text".into()))
}

fn reads(params: Data) -> Result<Vec<Read>, Error> {
    let mut offset = 0;
    let line = |line: &str| {
        let (address, length) = line.split_once(' ')?;
        let read = Read { address: address.parse().ok()?, length: length.parse().ok()?, offset };
        offset += read.length;
        Some(read)
    };
    text(params)?.lines().map(line).collect::<Option<_>>().ok_or_else(|| wrong("not a list of reads".into()))
}

/// How much of a piece lies where it was read, from its end.
fn in_place(piece: &Bytes, reads: &[Read]) -> Option<InPlace> {
    let begin = piece.as_ptr() as usize;
    let mut end = begin + piece.len();
    let mut last = None;
    let mut before = None;
    while end > begin {
        // The latest, because memory is used again.
        let covers = |read: &&Read| (read.address..read.address + read.length).contains(&(end - 1));
        let Some(read) = reads.iter().rev().find(covers) else { break };
        let offset = read.offset + (end - 1 - read.address);
        if before.is_some_and(|before| offset + 1 != before) {
            break;
        }
        last = last.or(Some(offset));
        let from = read.address.max(begin);
        before = Some(offset + 1 - (end - from));
        end = from;
    }
    last.map(|last| InPlace { bytes: begin + piece.len() - end, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three frames in memory that was read into, each behind a head of nine bytes.
    fn arrived() -> (Bytes, Payload) {
        let memory = Bytes::from(vec![7; 3 * 109]);
        let pieces = (0..3).map(|at| memory.slice(at * 109 + 9..(at + 1) * 109));
        (memory.clone(), pieces.collect())
    }

    fn lines(reads: &[(usize, usize)]) -> Data {
        raw(reads.iter().map(|(address, length)| format!("{address} {length}\n")).collect())
    }

    fn told(payload: Payload, reads: &[(usize, usize)]) -> Result<String, String> {
        let places = Places::default();
        places.hold(Data::Raw(payload)).unwrap();
        match places.held(lines(reads)) {
            Ok(told) => Ok(text(told).unwrap()),
            Err(error) => Err(error.message.to_string()),
        }
    }

    #[test]
    fn what_lies_where_it_was_read_is_known_from_a_copy() {
        let (memory, payload) = arrived();
        let address = memory.as_ptr() as usize;
        // However it was read.
        let all: Vec<_> = (0..109).map(|at| (address + 3 * at, 3)).collect();
        for reads in [&all[..], &[(address, 327)], &[(address, 100), (address + 100, 227)]] {
            assert_eq!(told(payload.clone(), reads).unwrap(), "3 300 0");
        }
        // The first 30 bytes of the second frame were read elsewhere, and moved.
        let moved = [(address, 109), (1, 39), (address + 109 + 39, 327 - 109 - 39)];
        assert_eq!(told(payload.clone(), &moved).unwrap(), "3 300 30");

        let copy: Payload = payload.pieces().map(|piece| Bytes::from(piece.to_vec())).collect();
        assert!(told(copy, &[(address, 327)]).unwrap_err().contains("nothing was read"));
        assert!(told(payload.clone(), &[(address, 326)]).unwrap_err().contains("nothing was read"));
        // In memory of a frame that was read before it, or into which something else was read since.
        let order = [(address + 109, 109), (address, 109), (address + 218, 109)];
        assert!(told(payload.clone(), &order).unwrap_err().contains("something else"));
        let since = [(address, 327), (address + 109, 109)];
        assert!(told(payload, &since).unwrap_err().contains("something else"));
    }
}
