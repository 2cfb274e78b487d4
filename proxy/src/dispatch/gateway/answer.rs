//! A plugin's answer as HTTP. The outcome decides the status, so it is waited for; but where it stands before a raw
//! result, as encoders write it, the result streams on from there and is never held whole.

use crate::dispatch::{refusal, reply};
use bytes::{Buf, Bytes};
use bytestring::ByteString;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use prism_filters::{
    Body, Code, Reason, Rejection, Rpc,
    body::{BodyError, Duplex},
};
use prism_plugin_abi::{Data, Payload};
use prism_plugin_envelope::decode_reply;
use prism_plugin_host::{ForwardError, InFlight, ReplyBody, WireReply};
use prism_proto::plugin::ExecuteResponse;
use prost::Message;
use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

/// The most that may follow a raw result: the plugin's metrics, some hundred bytes.
const MOST_AFTER_RESULT: usize = 64 * 1024;

/// The longest head that [`result_head`] needs: prefix, two fields' tags, a flag and a length.
const HEAD_BYTES: usize = 5 + 2 + 1 + 5;

pub(super) async fn answer(
    wire: WireReply,
    counted: InFlight,
    limit: usize,
    plugin: &ByteString,
) -> Result<Response<Body>, Rejection> {
    match wire.body {
        ReplyBody::Succeeded(messages) => {
            reply::check_whole(&messages, true, limit, plugin)?;
            result(messages, plugin)
        }
        ReplyBody::Whole { messages, trailers } => {
            reply::check_whole(&messages, true, limit, plugin)?;
            decided(messages, wire.headers.as_deref(), trailers.as_deref(), plugin)
        }
        ReplyBody::Stream(source) => {
            let mut reply = reply::Reply::new(source, counted, Rpc::Unary, limit, plugin.clone());
            let mut messages = Payload::new();
            let mut trailers = HeaderMap::new();
            let mut may_stream = true;
            while let Some(frame) = poll_fn(|cx| reply.poll_frame(cx)).await {
                match frame?.into_data() {
                    Ok(data) => messages.push(data),
                    Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
                }
                if may_stream {
                    match result_head(&messages) {
                        Head::Result { skip, length } => {
                            messages.advance(skip);
                            return Ok(streamed(reply, messages, length, plugin));
                        }
                        Head::Other => may_stream = false,
                        Head::Unclear => {}
                    }
                }
            }
            decided(messages, wire.headers.as_deref(), Some(&trailers), plugin)
        }
    }
}

/// An answer that is all at hand.
fn decided(
    messages: Payload,
    headers: Option<&HeaderMap>,
    trailers: Option<&HeaderMap>,
    plugin: &ByteString,
) -> Result<Response<Body>, Rejection> {
    check_status(trailers, headers, plugin)?;
    result(messages, plugin)
}

/// What a call that went well has to say.
fn result(messages: Payload, plugin: &ByteString) -> Result<Response<Body>, Rejection> {
    let outcome =
        decode_reply(messages).map_err(|error| refusal(ForwardError::Protocol(error.to_string()), plugin))?;
    match outcome {
        Ok(Data::Empty) => Ok(success(Payload::new(), "application/octet-stream")),
        Ok(Data::Raw(payload)) => Ok(success(payload, "application/octet-stream")),
        // An operation that knows no raw result: its message as it is.
        Ok(Data::Typed { value, .. }) => Ok(success(value, "application/x-protobuf")),
        Err(error) => Err(Rejection::new(Reason::OperationFailed, error.message)
            .with_code(Code::from_i32(error.code.number()))
            .about_plugin(plugin)),
    }
}

fn check_status(
    trailers: Option<&HeaderMap>,
    headers: Option<&HeaderMap>,
    plugin: &str,
) -> Result<(), Rejection> {
    let field = |name: &str| [trailers, headers].into_iter().flatten().find_map(|fields| fields.get(name));
    let code = field("grpc-status").map_or(Code::Unknown, |status| Code::from_bytes(status.as_bytes()));
    if code == Code::Ok {
        return Ok(());
    }
    let message = field("grpc-message").map_or_else(String::new, |message| {
        percent_encoding::percent_decode(message.as_bytes()).decode_utf8_lossy().into_owned()
    });
    Err(Rejection::new(Reason::PluginRefused, message).with_code(code).about_plugin(plugin))
}

fn success(payload: Payload, content_type: &'static str) -> Response<Body> {
    let length = payload.len();
    respond(Body::whole(payload, None), length, content_type)
}

fn streamed(reply: reply::Reply, first: Payload, length: usize, plugin: &ByteString) -> Response<Body> {
    let result = RawResult { reply, first, remaining: length, after: Vec::new(), plugin: plugin.clone() };
    respond(Body::from_duplex(Box::new(result)), length, "application/octet-stream")
}

fn respond(body: Body, length: usize, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

enum Head {
    /// More bytes are needed to tell.
    Unclear,
    /// `success = true`, then a raw result of `length` bytes, which begins after `skip` bytes.
    Result { skip: usize, length: usize },
    /// Anything else.
    Other,
}

/// Looks for a message that begins with `success = true` and goes on with `raw_result`.
fn result_head(messages: &Payload) -> Head {
    const SUCCESS_IS_TRUE: [u8; 2] = [1 << 3, 1];
    const RAW_RESULT: u8 = 5 << 3 | 2;
    let mut head = [0; HEAD_BYTES];
    let mut have = 0;
    for piece in messages.pieces() {
        let take = piece.len().min(HEAD_BYTES - have);
        head[have..have + take].copy_from_slice(&piece[..take]);
        have += take;
    }
    let head = &head[..have];
    let expected = [SUCCESS_IS_TRUE[0], SUCCESS_IS_TRUE[1], RAW_RESULT];
    let fields = head.get(5..).unwrap_or_default();
    let compared = fields.len().min(expected.len());
    if fields[..compared] != expected[..compared] {
        return Head::Other;
    }
    let (mut length, mut shift) = (0_usize, 0);
    for (index, byte) in fields.iter().enumerate().skip(expected.len()) {
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            let skip = 5 + index + 1;
            let message = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            // A length that lies is for the decoder to refuse.
            return if skip + length <= 5 + message { Head::Result { skip, length } } else { Head::Other };
        }
    }
    if have < HEAD_BYTES { Head::Unclear } else { Head::Other }
}

/// A raw result on its way to the client, and what follows it on its way to nowhere.
struct RawResult {
    reply: reply::Reply,
    first: Payload,
    remaining: usize,
    after: Vec<u8>,
    plugin: ByteString,
}

impl Duplex for RawResult {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let mut data = match self.first.pop() {
                Some(data) => data,
                None => match ready!(self.reply.poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => data,
                        Err(frame) => {
                            let trailers = frame.into_trailers().unwrap_or_default();
                            return Poll::Ready(self.end(&trailers).err().map(|error| Err(error.into())));
                        }
                    },
                },
            };
            let result = data.split_to(data.len().min(self.remaining));
            self.remaining -= result.len();
            if self.after.len() + data.len() > MOST_AFTER_RESULT {
                return Poll::Ready(Some(Err(self.contradiction("too much follows its result").into())));
            }
            self.after.extend_from_slice(&data);
            if !result.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(result))));
            }
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reply.poll_progress(cx)
    }
}

impl RawResult {
    /// The status was sent long ago: what contradicts it now can only break the answer off.
    fn end(&self, trailers: &HeaderMap) -> Result<(), Rejection> {
        check_status(Some(trailers), None, &self.plugin)?;
        let after = ExecuteResponse::decode(&self.after[..])
            .map_err(|_| self.contradiction("what follows its result cannot be read"))?;
        let agrees =
            !after.success && after.error.is_empty() && after.error_code == 0 && after.result.is_none();
        if self.remaining == 0 && agrees { Ok(()) } else { Err(self.contradiction("it contradicts itself")) }
    }

    fn contradiction(&self, what: &str) -> Rejection {
        refusal(ForwardError::Protocol(what.to_owned()), &self.plugin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_proto::plugin::{PluginMetrics, execute_response::Result as Outcome};

    fn framed(response: &ExecuteResponse) -> Vec<u8> {
        let message = response.encode_to_vec();
        [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat()
    }

    fn raw(length: usize) -> ExecuteResponse {
        ExecuteResponse {
            success: true,
            result: Some(Outcome::RawResult(vec![7; length].into())),
            metrics: Some(PluginMetrics { requests_total: 9, ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn a_raw_result_is_found_however_it_is_cut() {
        for length in [0, 1, 127, 128, 20_000] {
            let bytes = framed(&raw(length));
            for size in [1, 2, 5, bytes.len()] {
                let mut messages = Payload::new();
                let mut found = None;
                for piece in bytes.chunks(size) {
                    messages.push(Bytes::copy_from_slice(piece));
                    match result_head(&messages) {
                        Head::Unclear => {}
                        Head::Other => panic!("a result of {length} in pieces of {size} was not seen"),
                        Head::Result { skip, length } => {
                            found = Some((skip, length));
                            break;
                        }
                    }
                }
                let (skip, found) = found.unwrap();
                assert_eq!(found, length);
                assert_eq!(&bytes[skip..skip + found], vec![7; length]);
            }
        }
    }

    #[test]
    fn anything_else_is_decided_when_it_is_all_there() {
        let failed = ExecuteResponse { error: "no".into(), error_code: 5, ..Default::default() };
        let empty = ExecuteResponse { success: true, ..Default::default() };
        let mut lying = framed(&raw(10));
        lying[4] = 9;
        for bytes in [framed(&failed), lying, vec![0, 0, 0, 0, 9, 1 << 3, 0, 5 << 3 | 2, 1]] {
            assert!(matches!(result_head(&Bytes::from(bytes).into()), Head::Other));
        }
        // A success without a result may still be followed by one.
        assert!(matches!(result_head(&Bytes::from(framed(&empty)).into()), Head::Unclear));
    }
}
