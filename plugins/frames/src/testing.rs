//! What tests share: a pipe in memory that can be as awkward as a socket, and arbitrary frames.

use crate::{CancelReason, End, Frame, GoAway, MAX_CREDIT, MIN_FRAME, Method, OpenHead, Reason, Settings};
use bytes::Bytes;
use prism_plugin_abi::{CallContext, Code, InstanceId};
use proptest::prelude::*;
use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One direction.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) bytes: VecDeque<u8>,
    /// What it holds before a writer has to wait.
    pub(crate) capacity: usize,
    /// The most that one read or write moves.
    pub(crate) step: usize,
    pub(crate) closed: bool,
    /// `write` and `writev` calls so far.
    pub(crate) writes: usize,
}

/// One end of a pipe. Nobody is woken: tests give turns.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) incoming: Rc<RefCell<Channel>>,
    pub(crate) outgoing: Rc<RefCell<Channel>>,
}

pub(crate) fn pipe(capacity: usize, step: usize) -> (Side, Side) {
    let channel = || {
        let bytes = VecDeque::new();
        Rc::new(RefCell::new(Channel { bytes, capacity, step, closed: false, writes: 0 }))
    };
    let (one, other) = (channel(), channel());
    (Side { incoming: Rc::clone(&one), outgoing: Rc::clone(&other) }, Side { incoming: other, outgoing: one })
}

impl AsyncRead for Side {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut channel = self.incoming.borrow_mut();
        let count = channel.bytes.len().min(channel.step).min(buffer.remaining());
        if count == 0 {
            return if channel.closed { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let bytes: Vec<u8> = channel.bytes.drain(..count).collect();
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Side {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut channel = self.outgoing.borrow_mut();
        if channel.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = channel.capacity.saturating_sub(channel.bytes.len()).min(channel.step);
        if room == 0 {
            return Poll::Pending;
        }
        channel.writes += 1;
        let mut written = 0;
        for slice in slices {
            let count = slice.len().min(room - written);
            channel.bytes.extend(&slice[..count]);
            written += count;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Byte `at` of the body that test call `seed` carries.
pub(crate) fn pattern(seed: u64, at: usize) -> u8 {
    (seed.wrapping_mul(31).wrapping_add(at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

pub(crate) fn context() -> CallContext {
    CallContext {
        instance: InstanceId(7),
        namespace: "demo".into(),
        principal: Some("somebody".into()),
        request_id: "0123456789abcdef".into(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        deadline: None,
    }
}

fn data(max: usize) -> impl Strategy<Value = Bytes> {
    (any::<u64>(), 0..max).prop_map(|(seed, length)| (0..length).map(|at| pattern(seed, at)).collect())
}

fn texts(max: usize) -> impl Strategy<Value = [String; 4]> {
    let text = move || proptest::string::string_regex(&format!("[a-zäß€ -]{{0,{max}}}")).unwrap();
    [text(), text(), text(), text()]
}

prop_compose! {
    fn head()(
        method in any::<u8>(),
        micros in proptest::option::of(1..u64::MAX),
        instance in any::<u64>(),
        [namespace, principal, request_id, traceparent] in texts(60),
        authenticated in any::<bool>(),
    ) -> OpenHead {
        let context = CallContext {
            instance: InstanceId(instance),
            namespace: namespace.into(),
            principal: authenticated.then(|| principal.into()),
            request_id: request_id.into(),
            traceparent: traceparent.into(),
            deadline: None,
        };
        OpenHead { method: Method::from_number(method), timeout: micros.map(Duration::from_micros), context }
    }
}

prop_compose! {
    fn end()(code in 0..17_i32, message in "[ -~ä€]{0,80}", details in data(200)) -> End {
        End { code: (code != 0).then(|| Code::from_number(code)), message: message.into(), details }
    }
}

/// Any frame, with up to `max` bytes of data.
pub(crate) fn frame(max: usize) -> impl Strategy<Value = Frame> {
    prop_oneof![
        1 => (any::<[u32; 2]>(), any::<u16>(), 0..=MAX_CREDIT, MIN_FRAME..).prop_map(
            |([max_calls, _], minor, initial_credit, max_frame)| {
                Frame::Settings(Settings { minor, max_calls, initial_credit, max_frame })
            }
        ),
        4 => (any::<u32>(), head(), data(max), any::<bool>())
            .prop_map(|(call, head, data, last)| Frame::Open { call, head, data, last }),
        4 => (any::<u32>(), data(max), any::<bool>())
            .prop_map(|(call, data, last)| Frame::Data { call, data, last }),
        4 => (any::<u32>(), end(), data(max)).prop_map(|(call, end, data)| Frame::End { call, end, data }),
        1 => any::<[u32; 2]>().prop_map(|[call, bytes]| Frame::Credit { call, bytes }),
        1 => (any::<u32>(), any::<u8>())
            .prop_map(|(call, reason)| Frame::Cancel { call, reason: CancelReason::from_number(reason) }),
        1 => (any::<u64>(), any::<u8>(), "[ -~ä€]{0,80}").prop_map(|(accepted, reason, text)| {
            Frame::GoAway(GoAway { accepted, reason: Reason::from_number(reason), text: text.into() })
        }),
        1 => any::<[u8; 8]>().prop_map(Frame::Ping),
        1 => any::<[u8; 8]>().prop_map(Frame::Pong),
    ]
}
