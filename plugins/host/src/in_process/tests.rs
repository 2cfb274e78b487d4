//! A plugin in this process, as a request meets it.

use super::*;
use crate::testing::{Echo, Feed, all, local, message, next_frame, worker};
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use prism_plugin_abi::ByteString;

fn forward(rpc: Rpc, body: WireBody) -> Forwarding {
    let channel = InProcessChannel::new(Arc::new(Echo::default()).into());
    channel.forward(&worker(), rpc, CallContext::default(), body)
}

async fn unary(operation: &'static str) -> Result<Result<Data, Error>, ForwardError> {
    let mut reply = forward(Rpc::Execute, WireBody::Whole(message(operation, "x"))).await?;
    assert_eq!(reply.take_headers()[CONTENT_TYPE], "application/grpc");
    let (messages, trailers) = all(reply).await?;
    assert_eq!(trailers[status::GRPC_STATUS], "0");
    Ok(envelope::decode_reply(messages)?)
}

fn is_raw(data: &Data, expected: &[u8]) -> bool {
    matches!(data, Data::Raw(payload) if payload.clone().into_bytes() == expected)
}

#[test]
fn a_call_answers_at_its_first_poll() {
    let mut call = forward(Rpc::Execute, WireBody::Whole(message("echo", "x")));
    let reply = (&mut call).now_or_never().expect("no waiting").unwrap();
    let ReplyBody::Succeeded(messages) = reply.body else { panic!("not whole") };
    assert!(is_raw(&envelope::decode_reply(messages).unwrap().unwrap(), b"x"));
}

#[test]
fn an_operation_s_error_is_an_answer_and_a_channel_s_is_a_refusal() {
    local(async {
        assert_eq!(
            unary("fail").await.unwrap().unwrap_err(),
            Error::operation(Code::NotFound, "no such key")
        );
        let refused = unary("refuse").await.unwrap_err();
        assert!(matches!(refused, ForwardError::Refused(error) if error.code == Code::FailedPrecondition));
    });
}

#[test]
fn a_panic_fails_one_call() {
    local(async {
        let refused = unary("anything else").await.unwrap_err();
        assert!(matches!(refused, ForwardError::Refused(error) if error.code == Code::Internal));
        assert!(is_raw(&unary("echo").await.unwrap().unwrap(), b"x"));

        let reply = forward(Rpc::ExecuteStream, WireBody::Whole(message("panic", ""))).await.unwrap();
        let (messages, trailers) = all(reply).await.unwrap();
        assert!(messages.is_empty());
        assert_eq!(trailers[status::GRPC_STATUS], "13");
    });
}

#[test]
fn a_message_that_arrives_in_pieces_is_put_together_without_a_copy() {
    local(async {
        let payload = Bytes::from(vec![1; 50_000]);
        let (feed, body) = Feed::new();
        let mut whole = message("echo", payload.clone());
        while let Some(mut piece) = whole.pop() {
            while !piece.is_empty() {
                feed.send(piece.split_to(piece.len().min(16_384)));
            }
        }
        drop(feed);
        let (messages, _) = all(forward(Rpc::Execute, body).await.unwrap()).await.unwrap();
        assert!(messages.pieces().skip(1).all(|piece| payload.as_ptr_range().contains(&piece.as_ptr())));
        assert!(is_raw(&envelope::decode_reply(messages).unwrap().unwrap(), &payload));
    });
}

#[test]
fn what_is_no_message_is_refused() {
    local(async {
        for body in [&b""[..], b"\0\0\0\0\x09\x0a", b"\x01\0\0\0\0", b"\0\0\0\0\x01\x0a"] {
            for rpc in [Rpc::Execute, Rpc::ExecuteStream] {
                let body = WireBody::Whole(Bytes::copy_from_slice(body).into());
                let Err(ForwardError::Refused(error)) = forward(rpc, body).await else { panic!("accepted") };
                assert_eq!(error.code, Code::InvalidArgument);
            }
        }
    });
}

#[test]
fn a_client_that_fails_is_told_apart_from_a_plugin_that_does() {
    local(async {
        for rpc in [Rpc::Execute, Rpc::ExecuteStream] {
            let (feed, body) = Feed::new();
            feed.send(&b"\0\0"[..]);
            feed.fail();
            assert!(matches!(forward(rpc, body).await, Err(ForwardError::Source(_))));
        }
        let (feed, body) = Feed::new();
        feed.send(message("echo", "1").into_bytes());
        let reply = forward(Rpc::ExecuteStream, body).await.unwrap();
        let ReplyBody::Stream(mut source) = reply.body else { panic!("not a stream") };
        assert!(next_frame(&mut source).await.unwrap().unwrap().is_data());
        feed.fail();
        assert!(matches!(next_frame(&mut source).await, Some(Err(ForwardError::Source(_)))));
        assert!(next_frame(&mut source).await.is_none());
    });
}

#[test]
fn a_stream_goes_both_ways_and_pulls_only_what_is_asked_for() {
    local(async {
        let (feed, body) = Feed::new();
        let mut sent = 0;
        let mut send = |text: &'static str| {
            let bytes = message("echo", text).into_bytes();
            sent += bytes.len();
            feed.send(bytes);
            sent
        };
        let first = send("one");
        let reply = forward(Rpc::ExecuteStream, body).await.unwrap();
        let ReplyBody::Stream(mut source) = reply.body else { panic!("not a stream") };
        let second = send("two");
        assert_eq!(feed.taken(), first);
        let mut deframer = Deframer::default();
        deframer.push(next_frame(&mut source).await.unwrap().unwrap().into_data().unwrap());
        assert_eq!(feed.taken(), first, "the second is not asked for before somebody wants its answer");
        deframer.push(next_frame(&mut source).await.unwrap().unwrap().into_data().unwrap());
        assert_eq!(feed.taken(), second);
        for text in ["one", "two"] {
            let reply = envelope::decode_stream_reply(deframer.next_message().unwrap().unwrap()).unwrap();
            assert!(is_raw(&reply.outcome.unwrap(), text.as_bytes()) && !reply.is_final);
        }
        drop(feed);
        let trailers = next_frame(&mut source).await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers[status::GRPC_STATUS], "0");
        assert!(next_frame(&mut source).await.is_none());
    });
}

#[test]
fn a_stream_s_error_is_its_last_message_or_its_trailers() {
    local(async {
        for operation in ["fail", "fail_opening"] {
            let reply = forward(Rpc::ExecuteStream, WireBody::Whole(message(operation, ""))).await.unwrap();
            let (mut messages, trailers) = all(reply).await.unwrap();
            assert_eq!(trailers[status::GRPC_STATUS], "0");
            let reply = envelope::decode_stream_reply(without_prefix(&mut messages));
            let reply = reply.unwrap();
            assert!(reply.is_final && reply.outcome.is_err(), "{operation}");
        }
        let reply = forward(Rpc::ExecuteStream, WireBody::Whole(message("break", ""))).await.unwrap();
        let (messages, trailers) = all(reply).await.unwrap();
        assert!(messages.is_empty());
        assert_eq!(trailers[status::GRPC_STATUS], "15");
        assert_eq!(trailers[status::GRPC_MESSAGE], "100 %25 gone%0A");
        let refused = forward(Rpc::ExecuteStream, WireBody::Whole(message("refuse", ""))).await.unwrap_err();
        assert!(matches!(refused, ForwardError::Refused(error) if error.code == Code::Unavailable));
    });
}

fn without_prefix(messages: &mut Payload) -> Payload {
    drop(messages.split_to(5));
    std::mem::take(messages)
}

#[test]
fn a_stream_cut_within_a_message_never_reaches_the_plugin() {
    local(async {
        let (feed, body) = Feed::new();
        let mut half = message("echo", "0123456789");
        feed.send(half.split_to(8).into_bytes());
        drop(feed);
        let refused = forward(Rpc::ExecuteStream, body).await.unwrap_err();
        assert!(matches!(refused, ForwardError::Refused(error) if error.code == Code::InvalidArgument));
    });
}

#[test]
fn the_metadata_arrives() {
    let request = Request {
        operation: ByteString::from_static("echo"),
        metadata: vec![("a".into(), "b".into())],
        ..Default::default()
    };
    let decoded = envelope::decode_request(envelope::encode_request(request).unwrap()).unwrap();
    assert_eq!(decoded.metadata("a"), Some("b"));
}
