//! gRPC's prefix (gRPC over HTTP/2, "Length-Prefixed-Message") in front of a result that was taken out of its envelope.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prism_plugin_abi::Payload;
use prism_plugin_envelope::behind;
use prism_proto::envelope::{PREFIX_LEN, Prefix, SMALL};
use std::ops::Range;

/// The prefix of a result of this length, with room behind it for one that is small.
pub(super) fn with_room(length: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(PREFIX_LEN + if length <= SMALL { length } else { 0 });
    bytes.put_slice(&encoded(length));
    bytes
}

fn encoded(length: usize) -> [u8; PREFIX_LEN] {
    // It is at most what the plugin's own prefix said, or the namespace's limit, which have 32 bits.
    Prefix { compressed: false, length: u32::try_from(length).unwrap_or(u32::MAX) }.encode()
}

/// A result that is in no envelope, behind its prefix.
pub(super) fn before(result: Payload) -> Payload {
    behind(with_room(result.len()), result)
}

/// The result that is this part of an answer, behind its prefix.
pub(super) fn within(answer: Bytes, result: Range<usize>) -> Payload {
    let length = result.len();
    // The envelope in front of a result has more bytes than a prefix: where nobody else has the answer, the prefix is
    // written over the last of them.
    let answer = match (answer.try_into_mut(), result.start.checked_sub(PREFIX_LEN)) {
        (Ok(mut answer), Some(start)) => {
            answer.truncate(result.end);
            answer.advance(start);
            answer[..PREFIX_LEN].copy_from_slice(&encoded(length));
            return answer.freeze().into();
        }
        (Ok(answer), None) => answer.freeze(),
        (Err(answer), _) => answer,
    };
    let mut bytes = with_room(length);
    if length <= SMALL {
        bytes.put_slice(&answer[result]);
        return bytes.freeze().into();
    }
    [bytes.freeze(), answer.slice(result)].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(result: &[u8]) -> Vec<u8> {
        [&encoded(result.len()), result].concat()
    }

    #[test]
    fn a_result_is_behind_its_prefix_whoever_else_has_the_answer() {
        for length in [0, 1, SMALL, SMALL + 1, 5000] {
            for (before_it, after_it) in [(40, 0), (5, 0), (4, 0), (0, 0), (40, 7)] {
                let result: Vec<u8> = (0..length).map(|at| (at % 251).to_le_bytes()[0]).collect();
                let answer = [vec![0xee; before_it], result.clone(), vec![0xdd; after_it]].concat();
                let range = before_it..before_it + length;
                let shared = Bytes::from(answer.clone());
                let other = shared.clone();
                assert_eq!(within(shared, range.clone()).into_bytes(), framed(&result));
                assert_eq!(other, answer, "what others have stays as it is");
                assert_eq!(within(Bytes::from(answer.clone()), range.clone()).into_bytes(), framed(&result));
                let part = Bytes::from([vec![1; 9], answer].concat()).slice(9..);
                assert_eq!(within(part, range).into_bytes(), framed(&result));
                assert_eq!(before(Bytes::from(result.clone()).into()).into_bytes(), framed(&result));
            }
        }
    }

    #[test]
    fn an_answer_that_nobody_else_has_is_not_copied() {
        for length in [10, 5000] {
            let answer = Bytes::from(vec![7; 50 + length]);
            let result = answer[50..].as_ptr();
            let framed = within(answer, 50..50 + length);
            assert!(framed.is_single());
            assert_eq!(framed.into_bytes()[PREFIX_LEN..].as_ptr(), result);
        }
    }
}
