//! The base64 of `application/grpc-web-text`, both ways, in pieces that may be cut anywhere.
//!
//! "Due to in-stream base64 padding when delimiting messages, the entire response body is not necessarily a valid
//! base64-encoded entity" (PROTOCOL-WEB.md): each piece that a sender writes is padded by itself. The same holds for
//! requests. So base64 is read here group by group, and any group may be the padded end of a piece.

use crate::{
    Body, Reason, Rejection,
    body::{BodyError, Duplex},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Buf, Bytes};
use http_body::Frame;
use std::task::{Context, Poll, ready};

/// What a body in base64 says.
pub(super) fn decoded(body: Body) -> Body {
    if body.is_end() {
        body
    } else {
        Body::from_duplex(Box::new(Decoded { body, decoder: Decoder::default() }))
    }
}

struct Decoded {
    body: Body,
    decoder: Decoder,
}

impl Duplex for Decoded {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let frame = ready!(self.body.poll_next(cx)).transpose()?;
            // Requests have no trailers, so what comes behind the data is no more than the end.
            let decoded = match frame.and_then(|frame| frame.into_data().ok()) {
                Some(data) => self.decoder.push(&data),
                None => {
                    self.body = Body::empty();
                    match self.decoder.end() {
                        Ok(()) => return Poll::Ready(None),
                        Err(malformed) => Err(malformed),
                    }
                }
            };
            match decoded {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
                Err(Malformed) => {
                    *self = Self { body: Body::empty(), decoder: Decoder::default() };
                    return Poll::Ready(Some(Err(refusal().into())));
                }
            }
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.body.poll_progress(cx)
    }
}

fn refusal() -> Rejection {
    Rejection::new(
        Reason::MalformedMessage,
        "the body is not base64, which application/grpc-web-text is: encode it with the standard alphabet and padding, or \
         send bytes as application/grpc-web",
    )
    .by("grpc_web")
}

/// It is not base64.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

impl From<base64::DecodeError> for Malformed {
    fn from(_: base64::DecodeError) -> Self {
        Self
    }
}

/// The characters of a group.
const GROUP: usize = 4;

/// Decodes base64 (RFC 4648, section 4) as it comes. Holds less than one group.
#[derive(Default)]
struct Decoder {
    begun: [u8; GROUP],
    have: usize,
}

impl Decoder {
    /// The bytes that end in `text`.
    fn push(&mut self, mut text: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut bytes = Vec::with_capacity((self.have + text.len()) / GROUP * 3);
        if self.have > 0 {
            let take = text.len().min(GROUP - self.have);
            let (rest, after) = text.split_at(take);
            self.begun[self.have..self.have + take].copy_from_slice(rest);
            self.have += take;
            text = after;
            if self.have < GROUP {
                return Ok(bytes);
            }
            self.have = 0;
            STANDARD.decode_vec(self.begun, &mut bytes)?;
        }
        let (mut groups, begun) = text.split_at(text.len() - text.len() % GROUP);
        while !groups.is_empty() {
            // As far as the group that is padded: there a piece ends.
            let padded = groups.iter().position(|byte| *byte == b'=');
            let end = padded.map_or(groups.len(), |at| at / GROUP * GROUP + GROUP);
            let (piece, after) = groups.split_at(end);
            STANDARD.decode_vec(piece, &mut bytes)?;
            groups = after;
        }
        self.begun[..begun.len()].copy_from_slice(begun);
        self.have = begun.len();
        Ok(bytes)
    }

    /// Nothing more comes.
    fn end(&mut self) -> Result<(), Malformed> {
        if std::mem::take(&mut self.have) == 0 { Ok(()) } else { Err(Malformed) }
    }
}

/// The most bytes that are encoded at once: whole groups, so that only the last of a piece is padded. A large value that is
/// all at hand is so never there a second time.
const MOST_AT_ONCE: usize = 48 * 1024;

/// The next part of `data` in base64, padded: a client can decode it as soon as it is there.
pub(super) fn encode_next(data: &mut Bytes) -> Bytes {
    let part = &data[..data.len().min(MOST_AT_ONCE)];
    let encoded = STANDARD.encode(part);
    data.advance(part.len());
    encoded.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes a text that comes in pieces of these lengths, over and over.
    fn decode(text: &[u8], cuts: &[usize]) -> Result<Vec<u8>, Malformed> {
        let mut decoder = Decoder::default();
        let (mut rest, mut bytes) = (text, Vec::new());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            bytes.extend(decoder.push(piece)?);
            rest = after;
        }
        decoder.end().map(|()| bytes)
    }

    proptest! {
        #[test]
        fn pieces_that_are_padded_each_are_read_through_any_cut(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8),
            cuts in prop::collection::vec(1_usize..9, 1..8),
        ) {
            let text: String = pieces.iter().map(|piece| STANDARD.encode(piece)).collect();
            prop_assert_eq!(decode(text.as_bytes(), &cuts), Ok(pieces.concat()));
        }

        #[test]
        fn a_cut_changes_no_verdict(text in "[A-D=+/ -]{0,24}", cuts in prop::collection::vec(1_usize..9, 1..8)) {
            prop_assert_eq!(decode(text.as_bytes(), &cuts), decode(text.as_bytes(), &[text.len().max(1)]));
        }

        #[test]
        fn what_ends_inside_a_group_is_no_base64(
            bytes in prop::collection::vec(any::<u8>(), 1..20),
            cuts in prop::collection::vec(1_usize..9, 1..8),
        ) {
            let text = STANDARD.encode(bytes);
            for end in (0..text.len()).filter(|end| end % GROUP != 0) {
                prop_assert_eq!(decode(&text.as_bytes()[..end], &cuts), Err(Malformed));
            }
        }

        #[test]
        fn what_is_encoded_is_read_again(bytes in prop::collection::vec(any::<u8>(), 0..200), cuts in prop::collection::vec(1_usize..9, 1..8)) {
            let mut data = Bytes::from(bytes.clone());
            let mut text = Vec::new();
            while !data.is_empty() {
                text.extend_from_slice(&encode_next(&mut data));
            }
            prop_assert_eq!(decode(&text, &cuts), Ok(bytes));
        }
    }

    #[test]
    fn what_is_no_base64_is_told() {
        for text in [
            "A", "AA", "AAA", "AAAAA", "=", "====", "A===", "AA=A", "AA=", "A=AA", "=AAA", "AAA=A", "AAAA=",
            "AAAA====", "AA==A", "AAAA\n", "AAAA\r\n", " AAAA", "AA AA", "AA-_", "AA%3", "AAAé", "\0AAA",
            // Bits that nothing carries: two texts of one byte would be one text too many.
            "AB==", "AAB=",
        ] {
            assert_eq!(decode(text.as_bytes(), &[text.len()]), Err(Malformed), "{text:?}");
        }
        for text in ["", "AAAA", "AA==AA==", "AA==AAA=AAAA", "++//"] {
            assert!(decode(text.as_bytes(), &[3]).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_large_piece_is_encoded_part_by_part() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut data = Bytes::from(bytes.clone());
        let (mut text, mut parts) = (Vec::new(), 0);
        while !data.is_empty() {
            let part = encode_next(&mut data);
            assert!(part.len() <= 64 * 1024 && part.len().is_multiple_of(GROUP));
            text.extend_from_slice(&part);
            parts += 1;
        }
        assert_eq!(parts, 5);
        assert_eq!(text, STANDARD.encode(bytes).into_bytes(), "no padding but at the end");
    }
}
