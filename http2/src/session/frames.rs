//! All frames that are no header blocks (RFC 9113 section 6).

use crate::{
    error::{Reason, Violation},
    frame::{self, Head, Setting, flag, kind},
    state::{LAST_PING, Leaving, OUR_PING, Ping, State},
};
use bytes::{Buf, Bytes};

pub(super) fn data(state: &mut State, head: Head, mut payload: Bytes) -> Result<(), Violation> {
    if head.stream == 0 {
        return Err(Violation::protocol("DATA of no stream"));
    }
    let (front, back) = frame::padding(head, &payload)?;
    // Section 6.9.1: padding counts too. A frame's length fits.
    let counted = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    payload.advance(front);
    payload.truncate(payload.len() - back);
    let end = head.has(flag::END_STREAM);
    if !state.window.receive(counted) {
        return Err(Violation::Connection(Reason::FLOW_CONTROL_ERROR, "DATA beyond the connection's window"));
    }
    let Some(key) = state.streams.find(head.stream) else {
        state.discard(counted);
        if state.is_idle(head.stream) {
            return Err(Violation::protocol("DATA of a stream that was not opened"));
        }
        if state.is_too_late(head.stream) {
            return state.idle_frame();
        }
        if state.was_reset(head.stream) {
            return if payload.is_empty() { state.idle_frame() } else { Ok(()) };
        }
        return Err(Violation::Stream(head.stream, Reason::STREAM_CLOSED));
    };
    let Some(stream) = state.streams.get(key) else { return Ok(()) };
    let refused = if stream.received {
        Some(Reason::STREAM_CLOSED)
    } else if stream.window.receive(counted) {
        None
    } else {
        Some(Reason::FLOW_CONTROL_ERROR)
    };
    if let Some(reason) = refused {
        state.discard(counted);
        return Err(Violation::Stream(head.stream, reason));
    }
    if payload.is_empty() && !end {
        state.idle_frame()?;
    }
    let padding = counted - u32::try_from(payload.len()).unwrap_or(counted);
    state.receive(key, payload, padding, end)
}

pub(super) fn priority(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    if head.stream == 0 {
        return Err(Violation::protocol("PRIORITY of no stream"));
    }
    // RFC 9113 section 6.3: "A PRIORITY frame with a length other than 5 octets MUST be treated as a stream error of type
    // FRAME_SIZE_ERROR." RFC 7540 section 5.3.1: "A stream cannot depend on itself."
    let (reason, why) = if payload.len() != 5 {
        (Reason::FRAME_SIZE_ERROR, "PRIORITY has not five bytes")
    } else if frame::number(payload) == Some(head.stream) {
        (Reason::PROTOCOL_ERROR, "a stream depends on itself")
    } else {
        return state.idle_frame();
    };
    // Section 6.4: "RST_STREAM frames MUST NOT be sent for a stream in the "idle" state." Section 5.4.1: "an endpoint MAY choose
    // to treat a stream error as a connection error."
    if state.is_idle(head.stream) {
        return Err(Violation::Connection(reason, why));
    }
    if state.is_too_late(head.stream) {
        return state.idle_frame();
    }
    Err(Violation::Stream(head.stream, reason))
}

pub(super) fn rst_stream(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    let Some(code) =
        payload.first_chunk().map(|code| u32::from_be_bytes(*code)).filter(|_| payload.len() == 4)
    else {
        return Err(Violation::size("RST_STREAM has not four bytes"));
    };
    if state.is_idle(head.stream) {
        return Err(Violation::protocol("RST_STREAM of a stream that was not opened"));
    }
    state.reset_by_peer(head.stream, code.into());
    state.idle_frame()
}

pub(super) fn settings(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    if head.stream != 0 {
        return Err(Violation::protocol("SETTINGS of a stream"));
    }
    if head.has(flag::ACK) {
        if !payload.is_empty() {
            return Err(Violation::size("an acknowledgement of SETTINGS says something"));
        }
        state.acknowledged();
        return state.idle_frame();
    }
    let mut window = None;
    for setting in frame::settings(payload)? {
        // Thousands fit into a frame, of which one is worth something.
        state.idle_frame()?;
        match setting? {
            Setting::InitialWindowSize(size) => window = Some(size),
            setting => state.apply(setting),
        }
    }
    // Every stream has a window: the last that is said here is what counts.
    if let Some(size) = window {
        state.resize_all(size)?;
    }
    let ack = Head { length: 0, kind: kind::SETTINGS, flags: flag::ACK, stream: 0 };
    state.output.frames().extend(ack.bytes());
    state.idle_frame()
}

pub(super) fn ping(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    let Some(payload) = payload.first_chunk::<8>().filter(|_| payload.len() == 8) else {
        return Err(Violation::size("PING has not eight bytes"));
    };
    if head.stream != 0 {
        return Err(Violation::protocol("PING of a stream"));
    }
    if !head.has(flag::ACK) {
        frame::write_ping(state.output.frames(), flag::ACK, *payload);
        return state.idle_frame();
    }
    match *payload {
        OUR_PING if state.ping == Ping::Sent => {
            state.ping = Ping::Answered;
            if let Some(pinger) = state.pinger.take() {
                pinger.wake();
            }
        }
        LAST_PING if state.leaving == Leaving::Announced => state.go_away(Reason::NO_ERROR, ""),
        _ => {}
    }
    state.idle_frame()
}

pub(super) fn goaway(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    if head.stream != 0 {
        return Err(Violation::protocol("GOAWAY of a stream"));
    }
    if payload.len() < 8 {
        return Err(Violation::size("GOAWAY is too short"));
    }
    state.peer_leaves = true;
    state.idle_frame()
}

pub(super) fn window_update(state: &mut State, head: Head, payload: &[u8]) -> Result<(), Violation> {
    let Some(more) = frame::number(payload).filter(|_| payload.len() == 4) else {
        return Err(Violation::size("WINDOW_UPDATE has not four bytes"));
    };
    state.idle_frame()?;
    if head.stream == 0 {
        // Section 6.9: "errors on the connection flow-control window MUST be treated as a connection error".
        if more == 0 {
            return Err(Violation::protocol("WINDOW_UPDATE by nothing"));
        }
        return state.grow(more);
    }
    if state.is_idle(head.stream) {
        return Err(Violation::protocol("WINDOW_UPDATE of a stream that was not opened"));
    }
    let Some(key) = state.streams.find(head.stream) else { return Ok(()) };
    if more == 0 {
        return Err(Violation::Stream(head.stream, Reason::PROTOCOL_ERROR));
    }
    state.grow_stream(key, more)
}
