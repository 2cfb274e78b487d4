//! The ways in which the two may differ, each with the sentence of RFC 9113 by which ours is right, or free to be so.

use crate::{
    expected, malformed,
    reader::{CONTINUATION, DATA, HEADERS, PRIORITY, PUSH_PROMISE, SETTINGS, Step, WINDOW_UPDATE},
    reference::Raw,
    servers::{End, MOST_HEADER_LIST, Outcome, Said, Seen},
};
use std::collections::BTreeSet;

pub(crate) enum Answer {
    /// It makes no difference to what follows.
    Same,
    /// It does, and this is why.
    Known(&'static str),
    Unknown,
}

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// What came before.
#[derive(Default)]
pub(crate) struct History {
    /// Streams that ours has reset.
    reset: BTreeSet<u32>,
    /// Streams that the client has ended.
    ended: BTreeSet<u32>,
    opened: BTreeSet<u32>,
    last: u32,
}

impl History {
    pub(crate) fn add(&mut self, step: &Step, ours: &Outcome) {
        self.reset.extend(ours.said.iter().filter_map(|said| match said {
            Said::Reset(stream, _) => Some(*stream),
            _ => None,
        }));
        if step.block.as_ref().is_some_and(|block| block.is_first) {
            self.last = self.last.max(step.stream);
            self.opened.insert(step.stream);
        }
        if step.ends_stream() {
            self.ended.insert(step.stream);
        }
    }
}

pub(crate) fn explain(step: &Step, history: &History, ours: &Outcome, theirs: &Outcome) -> Answer {
    if step.is_first_frame && !step.is_settings() && ours.said == [Said::End(PROTOCOL_ERROR)] {
        return Answer::Known("3.4: \"MUST be followed by a SETTINGS frame\", which h2 does not miss");
    }
    if let ([Said::End(our)], true) = (&ours.said[..], theirs.is_over()) {
        return code(step, *our);
    }
    if step.is_within && !step.interrupts && ours.said.is_empty() {
        return Answer::Known("4.3: a block is judged when it is whole; h2 decodes it as it comes");
    }
    let is_head = matches!(step.kind, HEADERS | CONTINUATION);
    if step.interrupts && ours.said == [Said::End(PROTOCOL_ERROR)] {
        return Answer::Known(
            "6.10: nothing comes within a block, even of a stream that h2 has given up by then",
        );
    }
    if is_head && !history.can_open(step.stream) && ours.said == [Said::End(PROTOCOL_ERROR)] {
        return Answer::Known(
            "5.1.1: a stream's number is odd, and above those before; h2 looks at its fields first",
        );
    }
    if is_head { block(step, history, ours, theirs) } else { other(step, history, ours, theirs) }
}

/// Both have ended the connection, for reasons that they name differently.
fn code(step: &Step, our: u32) -> Answer {
    let is_right = match our {
        // Section 4.2, and those of the frames.
        FRAME_SIZE_ERROR => step.has_wrong_size(),
        // Section 4.3.
        COMPRESSION_ERROR => step.block.as_ref().is_some_and(|block| block.fields.is_none()),
        // Section 5.1.
        STREAM_CLOSED => step.block.is_some(),
        // Section 8.4; h2 looks at what is in it.
        PROTOCOL_ERROR => step.kind == PUSH_PROMISE,
        // Section 6.5.2.
        FLOW_CONTROL_ERROR => step.kind == SETTINGS,
        _ => false,
    };
    if is_right { Answer::Same } else { Answer::Unknown }
}

/// A header block has ended.
fn block(step: &Step, history: &History, ours: &Outcome, theirs: &Outcome) -> Answer {
    let Some(block) = &step.block else { return Answer::Unknown };
    let Some(fields) = &block.fields else {
        return match ours.said[..] {
            [Said::End(COMPRESSION_ERROR)] => {
                Answer::Known("4.3: a block that is none is an error of the connection, malformed or not")
            }
            _ => Answer::Unknown,
        };
    };
    let size: usize = fields.iter().map(|(name, value, _)| name.len() + value.len() + 32).sum();
    match ours.said[..] {
        [] if history.reset.contains(&step.stream) => {
            Answer::Known("5.1: what comes for a stream that was reset is ignored, malformed or not")
        }
        [Said::End(STREAM_CLOSED)] if history.ended.contains(&step.stream) => {
            Answer::Known("5.1: HEADERS of a stream that is closed end the connection")
        }
        // It was given to the application, which may have answered.
        [] | [Said::Answer(_)] if block.is_first && size == MOST_HEADER_LIST && is_as_sent(fields, ours) => {
            Answer::Known("6.5.2: SETTINGS_MAX_HEADER_LIST_SIZE is what may be; h2 takes less")
        }
        [] | [Said::Answer(_)]
            if block.is_first && is_as_sent(fields, ours) && !theirs.said.iter().any(is_refusal) =>
        {
            Answer::Known(
                "4.3: the plain decoder reads what ours does; h2 loses its place at an empty name in a block of several frames",
            )
        }
        [] | [Said::Answer(_)] if block.is_first && fields.iter().any(has_many_digits) => {
            Answer::Known("RFC 9110, 8.6: a length of many zeros is a length; h2 takes 19 digits")
        }
        [Said::Reset(stream, STREAM_CLOSED)] if stream == step.stream && history.ended.contains(&stream) => {
            Answer::Known(
                "5.1: HEADERS of a stream that the client has ended are a stream error STREAM_CLOSED",
            )
        }
        [Said::Answer(stream)] if stream == step.stream && block.is_first && size > MOST_HEADER_LIST => {
            Answer::Known("10.5.1: fields that are too large are answered with 431, and the body is read")
        }
        [Said::Reset(stream, PROTOCOL_ERROR)] if stream == step.stream => {
            match malformed::why(fields, block.is_first, block.end) {
                Some(why) => Answer::Known(why),
                None if !block.is_first && size > MOST_HEADER_LIST => {
                    Answer::Known("10.5.1: trailers that are too large have no other answer")
                }
                None => Answer::Unknown,
            }
        }
        _ => Answer::Unknown,
    }
}

/// The last request is what its fields say, by the plain decoder and the plain reading of section 8.
fn is_as_sent(fields: &[Raw], ours: &Outcome) -> bool {
    let given = ours.seen.last().map(|seen| Seen { end: End::Not, ..seen.clone() });
    given.is_some_and(|given| given == expected::request(fields))
}

fn is_refusal(said: &Said) -> bool {
    matches!(said, Said::Reset(..) | Said::End(_))
}

fn has_many_digits((name, value, _): &Raw) -> bool {
    name == b"content-length" && value.len() > 19
}

fn other(step: &Step, history: &History, ours: &Outcome, theirs: &Outcome) -> Answer {
    match (step.kind, &ours.said[..]) {
        (WINDOW_UPDATE, [Said::Reset(_, PROTOCOL_ERROR)]) if step.number() == Some(0) && theirs.is_over() => {
            Answer::Known("6.9: an increment of 0 is a stream error")
        }
        (WINDOW_UPDATE, [])
            if step.number() == Some(0) && history.is_closed(step.stream) && theirs.is_over() =>
        {
            Answer::Known("5.1: WINDOW_UPDATE of a closed stream is ignored, whatever it says")
        }
        (PRIORITY, [Said::End(PROTOCOL_ERROR)]) if step.depends_on_itself() => {
            Answer::Known("6.4: what is idle is not reset")
        }
        (PRIORITY, [Said::Reset(_, FRAME_SIZE_ERROR)]) if step.payload.len() != 5 && theirs.is_over() => {
            Answer::Known("6.3: PRIORITY of another length is a stream error")
        }
        (DATA, [Said::Reset(_, STREAM_CLOSED)]) if history.is_closed(step.stream) && theirs.is_over() => {
            Answer::Known("5.1: DATA of a stream that the client has ended is a stream error")
        }
        (SETTINGS, [Said::Acknowledged]) if step.payload.starts_with(&[0, 8]) && theirs.is_over() => {
            Answer::Known("6.5.2: a setting that is not known is ignored; h2 knows ENABLE_CONNECT_PROTOCOL")
        }
        (PUSH_PROMISE, [Said::End(PROTOCOL_ERROR)]) => {
            Answer::Known("8.4: PUSH_PROMISE ends the connection; h2 waits for the end of its block")
        }
        (PRIORITY, []) if history.reset.contains(&step.stream) && theirs.is_over() => {
            Answer::Known("5.4.2: what was reset is not reset again")
        }
        _ => Answer::Unknown,
    }
}

impl History {
    fn can_open(&self, stream: u32) -> bool {
        stream % 2 == 1 && stream > self.last
    }

    fn is_closed(&self, stream: u32) -> bool {
        let is_passed_over = !self.opened.contains(&stream) && stream % 2 == 1 && stream < self.last;
        self.reset.contains(&stream) || self.ended.contains(&stream) || is_passed_over
    }
}
