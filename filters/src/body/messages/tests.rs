//! What passes and what does not, whatever way it is cut.

use super::*;
use prism_proto::{
    google::protobuf::Any,
    plugin::{ExecuteRequest, execute_request::Params},
};
use proptest::prelude::*;
use prost::Message;
use std::future::poll_fn;

fn limits(unary: bool) -> MessageLimits {
    MessageLimits { max_message_bytes: 100_000, unary, gzip: false, stall_timeout: Duration::from_secs(30) }
}

fn message(operation: &str, payload: usize) -> Vec<u8> {
    ExecuteRequest {
        operation: operation.to_owned(),
        params: Some(Params::RawParams(vec![7; payload].into())),
        ..Default::default()
    }
    .encode_to_vec()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat()
}

fn cut(bytes: &[u8], size: usize) -> Body {
    Body::whole(bytes.chunks(size.max(1)).map(Bytes::copy_from_slice).collect(), None)
}

/// The operation, and what a plugin would get; or why not, and what it would have got by then.
async fn pass(body: Body, limits: MessageLimits) -> (Result<ByteString, Reason>, Vec<u8>, Option<Reason>) {
    let mut messages = Messages::new(body, limits);
    let operation = match poll_fn(|cx| messages.poll_operation(cx)).await {
        Ok(operation) => operation,
        Err(error) => return (Err(Rejection::from(error).reason()), Vec::new(), None),
    };
    let mut body = messages.into_body();
    let mut passed = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.poll_next(cx)).await {
        match frame {
            Ok(frame) => passed.extend_from_slice(&frame.into_data().unwrap()),
            Err(error) => return (Ok(operation), passed, Some(Rejection::from(error).reason())),
        }
    }
    (Ok(operation), passed, None)
}

#[tokio::test]
async fn what_is_right_passes_untouched_however_it_is_cut() {
    let one = framed(&message("get", 300));
    let three = [framed(&message("echo", 9)), framed(&message("", 0)), framed(&message("echo", 70))].concat();
    for size in 1..=one.len() {
        assert_eq!(
            pass(cut(&one, size), limits(true)).await,
            (Ok("get".into()), one.clone(), None),
            "{size}"
        );
    }
    for size in 1..=three.len() {
        assert_eq!(
            pass(cut(&three, size), limits(false)).await,
            (Ok("echo".into()), three.clone(), None),
            "{size}"
        );
    }
    // What follows the first message need not name the operation, however large it is.
    let large = [framed(&message("echo", 9)), framed(&message("", 70_000))].concat();
    for size in [1_000, large.len()] {
        assert_eq!(
            pass(cut(&large, size), limits(false)).await,
            (Ok("echo".into()), large.clone(), None),
            "{size}"
        );
    }
}

#[tokio::test]
async fn one_byte_too_many_and_the_one_message_is_not_handed_on() {
    let message = framed(&message("get", 20));
    for extra in 1..=7 {
        let bytes = [&message[..], &[0; 7][..extra]].concat();
        for size in 1..=bytes.len() {
            let (operation, passed, refused) = pass(cut(&bytes, size), limits(true)).await;
            let refused = refused.or(operation.err());
            assert_eq!(refused, Some(Reason::MalformedMessage), "{extra} more, pieces of {size}");
            assert!(passed.len() < message.len(), "{extra} more, pieces of {size}: all of it");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_is_never_complete_for_the_plugin() {
    use Reason::*;
    let field =
        |number: u8, bytes: &[u8]| [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let good = framed(&message("get", 200));
    let twice = framed(&[message("get", 200), field(1, b"delete")].concat());
    let lying_long = [&good[..good.len() - 1]].concat();
    let cases: Vec<(&str, bool, Vec<u8>, Reason)> = vec![
        ("nothing", true, vec![], MalformedMessage),
        ("half a prefix", true, vec![0, 0, 0], MalformedMessage),
        ("ends early", true, lying_long, MalformedMessage),
        ("more than it said", true, [&good[..], b"x"].concat(), MalformedMessage),
        ("two messages", true, [&good[..], &good[..]].concat(), MalformedMessage),
        ("two operations", true, twice.clone(), MalformedMessage),
        ("two operations in a stream", false, twice, MalformedMessage),
        ("no operation", true, framed(&field(3, b"abc")), MissingOperation),
        ("an empty message", true, framed(&[]), MissingOperation),
        ("a flag that is none", true, [&[2, 0, 0, 0, 0][..]].concat(), MalformedMessage),
        ("compressed", true, [&[1][..], &good[1..]].concat(), CompressedMessage),
        ("too large", true, vec![0, 0, 1, 134, 161], MessageTooLarge),
        (
            "another operation",
            false,
            [framed(&message("a", 1)), framed(&message("b", 1))].concat(),
            OperationChanged,
        ),
        (
            "another operation behind a large payload",
            false,
            [framed(&message("a", 1)), framed(&[field(5, &[0; 100]).repeat(700), field(1, b"b")].concat())]
                .concat(),
            OperationChanged,
        ),
        ("a stream of nothing", false, vec![], MissingOperation),
        (
            "hidden",
            true,
            framed(&[field(5, &[0; 100]).repeat(700), field(1, b"get")].concat()),
            MalformedMessage,
        ),
        ("not utf-8", true, framed(&field(1, b"\xff")), MalformedMessage),
        ("field number 0", true, framed(&[0, 0]), MalformedMessage),
    ];
    for (name, unary, bytes, expected) in cases {
        for size in [1, 3, 17, bytes.len()] {
            let (operation, passed, late) = pass(cut(&bytes, size), limits(unary)).await;
            let reason = operation.err().or(late);
            assert_eq!(reason, Some(expected), "{name}, cut at {size}");
            if unary {
                assert!(
                    passed.is_empty() || passed.len() < bytes.len(),
                    "{name}, cut at {size}: all of it passed"
                );
            }
        }
    }
}

struct Silent(Option<Bytes>);

impl crate::body::Duplex for Silent {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
    }

    fn poll_progress(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_stops_is_cut_and_silence_between_messages_is_not() {
    let whole = framed(&message("get", 50));
    let silent = |bytes: &[u8]| Body::from_duplex(Box::new(Silent(Some(Bytes::copy_from_slice(bytes)))));
    let (operation, passed, late) = pass(silent(&whole[..whole.len() - 1]), limits(true)).await;
    assert_eq!((operation, late), (Ok("get".into()), Some(Reason::ClientStalled)));
    assert!(passed.len() < whole.len());

    // Complete, but its end is not: the client owes the end of its stream.
    let (_, passed, late) = pass(silent(&whole), limits(true)).await;
    assert_eq!((passed.len(), late), (0, Some(Reason::ClientStalled)));

    let idle = pass(silent(&whole), limits(false));
    assert!(tokio::time::timeout(Duration::from_secs(86_400), idle).await.is_err());
}

proptest! {
    #[test]
    fn nothing_panics_and_what_passes_decodes(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1usize..40) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let bytes = framed(&bytes);
        let (operation, passed, late) = runtime.block_on(pass(cut(&bytes, size), limits(true)));
        if let (Ok(operation), None) = (operation, late) {
            let decoded = ExecuteRequest::decode(&passed[5..]).unwrap();
            prop_assert_eq!(decoded.operation, &*operation);
        }
    }
}

/// What a plugin gets of parameters, message by message.
async fn wrapped(body: Body, limits: MessageLimits) -> Result<Vec<ExecuteRequest>, Reason> {
    let request = Arc::new(TypedRequest::new("get", "type.googleapis.com/a.Get"));
    let mut body = Some(body);
    let taken = poll_fn(|cx| {
        Poll::Ready(Messages::parameters(body.take().unwrap_or_default(), limits, &request, cx))
    });
    let mut body = match taken.await.map_err(|error| Rejection::from(error).reason())? {
        Parameters::Requests(body) => body,
        Parameters::Whole(message) => {
            assert!(limits.unary, "a stream is never whole");
            return Ok(vec![ExecuteRequest {
                operation: "get".to_owned(),
                params: Some(Params::TypedParams(Any {
                    type_url: "type.googleapis.com/a.Get".to_owned(),
                    value: message.into_bytes(),
                })),
                ..Default::default()
            }]);
        }
    };
    let mut passed = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.poll_next(cx)).await {
        passed
            .extend_from_slice(&frame.map_err(|error| Rejection::from(error).reason())?.into_data().unwrap());
    }
    let mut rest = &passed[..];
    let mut requests = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
        requests.push(ExecuteRequest::decode(&rest[5..5 + length]).unwrap());
        rest = &rest[5 + length..];
    }
    Ok(requests)
}

fn parameters(request: &ExecuteRequest) -> &[u8] {
    let Some(Params::TypedParams(any)) = &request.params else { panic!("no typed parameters") };
    assert_eq!(any.type_url, "type.googleapis.com/a.Get");
    &any.value
}

#[tokio::test]
async fn parameters_become_requests_however_they_are_cut() {
    for length in [0, 1, 1024, 1025, 3000] {
        let value = vec![7; length];
        for size in [1, 3, 4, 5, 6, 100, 10_000] {
            let requests = wrapped(cut(&framed(&value), size), limits(true)).await.unwrap();
            assert_eq!(requests.len(), 1);
            assert_eq!(requests[0].operation, "get");
            assert_eq!(parameters(&requests[0]), value);
        }
    }
    let stream = [framed(&[1; 9]), framed(&[]), framed(&[2; 2000])].concat();
    for size in [1, 2, 7, 10_000] {
        let requests = wrapped(cut(&stream, size), limits(false)).await.unwrap();
        let shown: Vec<_> = requests.iter().map(|one| (&*one.operation, parameters(one).len())).collect();
        assert_eq!(shown, [("get", 9), ("", 0), ("", 2000)]);
    }
}

#[tokio::test]
async fn only_the_one_message_that_is_here_at_once_is_whole() {
    let request = Arc::new(TypedRequest::new("get", "type.googleapis.com/a.Get"));
    let taken = |body: Body, limits| {
        let mut body = Some(body);
        let request = Arc::clone(&request);
        async move {
            poll_fn(|cx| {
                let body = body.take().unwrap_or_default();
                Poll::Ready(Messages::parameters(body, limits, &request, cx))
            })
            .await
            .unwrap()
        }
    };
    for length in [0, 1, 5000] {
        let bytes = Bytes::from(framed(&vec![7; length]));
        let Parameters::Whole(message) = taken(bytes.clone().into(), limits(true)).await else {
            panic!("it is whole");
        };
        let message = message.into_bytes();
        assert_eq!(message, vec![7; length]);
        assert!(length == 0 || message.as_ptr() == bytes[5..].as_ptr(), "it was copied");
        assert!(matches!(taken(bytes.clone().into(), limits(false)).await, Parameters::Requests(_)));
        assert!(matches!(taken(cut(&bytes, 4), limits(true)).await, Parameters::Requests(_)));
        // Its end is not here yet, or says more.
        let trailers = Some(Box::<http::HeaderMap>::default());
        let unended = Body::whole(bytes.into(), trailers);
        assert!(matches!(taken(unended, limits(true)).await, Parameters::Requests(_)));
    }
}

#[tokio::test]
async fn parameters_that_break_a_rule_are_no_request() {
    let one = framed(&[7; 2000]);
    for (bytes, unary, reason) in [
        (vec![], true, Reason::MalformedMessage),
        (vec![], false, Reason::MalformedMessage),
        ([one.clone(), one.clone()].concat(), true, Reason::MalformedMessage),
        ([one.clone(), vec![0]].concat(), true, Reason::MalformedMessage),
        ([one.clone(), vec![0]].concat(), false, Reason::MalformedMessage),
        (one[..1999].to_vec(), true, Reason::MalformedMessage),
        (vec![2, 0, 0, 0, 0], true, Reason::MalformedMessage),
        (vec![1, 0, 0, 0, 0], true, Reason::CompressedMessage),
        (framed(&vec![0; 100_001]), true, Reason::MessageTooLarge),
    ] {
        for size in [1, 3, 100_100] {
            assert_eq!(wrapped(cut(&bytes, size), limits(unary)).await, Err(reason), "{size}");
        }
    }
}

fn compressed(message: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(message).unwrap();
    let mut framed = framed(&encoder.finish().unwrap());
    framed[0] = 1;
    framed
}

#[tokio::test]
async fn what_is_compressed_is_handed_on_as_it_was_before() {
    let gzip = |unary| MessageLimits { gzip: true, ..limits(unary) };
    let named = message("echo", 5000);
    let plain = [framed(&named), framed(&message("", 50)), framed(&message("", 60))].concat();
    let mixed = [compressed(&named), framed(&message("", 50)), compressed(&message("", 60))].concat();
    for size in [1, 2, 5, 6, 19, 100, 10_000] {
        let passed = pass(cut(&mixed, size), gzip(false)).await;
        assert_eq!(passed, (Ok("echo".into()), plain.clone(), None), "{size}");
        let passed = pass(cut(&compressed(&named), size), gzip(true)).await;
        assert_eq!(passed, (Ok("echo".into()), framed(&named), None), "{size}");
        for length in [0, 1, 1024, 5000] {
            let requests = wrapped(cut(&compressed(&vec![7; length]), size), gzip(true)).await.unwrap();
            assert_eq!(parameters(&requests[0]), vec![7; length]);
        }
    }
    // What is inside is checked like anything else, and held to the limit.
    let (refused, ..) = pass(cut(&compressed(&message("", 9)), 1000), gzip(true)).await;
    assert_eq!(refused, Err(Reason::MissingOperation));
    let (refused, ..) = pass(cut(&compressed(&message("get", 100_000)), 1000), gzip(true)).await;
    assert_eq!(refused, Err(Reason::MessageTooLarge));
    assert_eq!(
        wrapped(cut(&compressed(&vec![0; 100_001]), 9), gzip(true)).await,
        Err(Reason::MessageTooLarge)
    );
    for broken in [vec![1, 0, 0, 0, 0], [&[1, 0, 0, 0, 4][..], b"gzip"].concat()] {
        assert_eq!(wrapped(cut(&broken, 9), gzip(true)).await, Err(Reason::MalformedMessage));
    }
}
