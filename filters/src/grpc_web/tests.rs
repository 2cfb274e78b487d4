//! The filter as the stack uses it: a request arrives, something answers, and the answer leaves.

use super::*;
use crate::{
    Protocol, Reason, Rejection, RequestStart,
    body::{BodyError, Duplex, MessageLimits},
    respond,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Response, Version};
use http_body::Frame;
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
    time::Duration,
};

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";

type Piece = Result<Frame<Bytes>, BodyError>;

/// A body that says what it is told to.
struct Script {
    pieces: VecDeque<Piece>,
    breaks: bool,
}

impl Duplex for Script {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Piece>> {
        Poll::Ready(self.pieces.pop_front())
    }

    fn poll_progress(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.breaks { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn body(pieces: impl IntoIterator<Item = Piece>) -> Body {
    Body::from_duplex(Box::new(Script { pieces: pieces.into_iter().collect(), breaks: false }))
}

fn data(bytes: &[u8]) -> Piece {
    Ok(Frame::data(Bytes::copy_from_slice(bytes)))
}

fn trailers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn end(status: &'static str) -> Piece {
    Ok(Frame::trailers(trailers(&[("grpc-status", status)])))
}

fn refused() -> Piece {
    Err(Rejection::new(Reason::DeadlineExceeded, "too late").into())
}

fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), bytes].concat()
}

/// Everything that a body says, piece by piece, and how it ends.
fn read(mut body: Body) -> (Vec<Bytes>, Result<(), BodyError>) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut pieces = Vec::new();
    loop {
        match body.poll_next(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => pieces.push(frame.into_data().expect("gRPC-Web has no trailers")),
            Poll::Ready(Some(Err(error))) => return (pieces, Err(error)),
            Poll::Ready(None) => return (pieces, Ok(())),
            Poll::Pending => panic!("nobody is waited for here"),
        }
    }
}

fn call(content_type: &str, body: Body) -> Request<Body> {
    let request = Request::post("/prism.data.v1.DataService/Execute").header("content-type", content_type);
    request.version(Version::HTTP_11).body(body).unwrap()
}

/// The answer, as the client of such a call gets it.
fn answered(content_type: &str, mut response: Response<Body>) -> Response<Body> {
    let mut request = call(content_type, Body::empty());
    let mut decorators = Decorators::default();
    GrpcWeb.arrive(&mut request, &mut decorators);
    decorators.apply(&mut response);
    response
}

fn grpc(body: Body) -> Response<Body> {
    Response::builder()
        .header("content-type", "application/grpc")
        .header("content-length", "7")
        .body(body)
        .unwrap()
}

/// The messages and the trailers of a whole answer.
fn parse(mut bytes: &[u8]) -> (Vec<Vec<u8>>, String) {
    let mut messages = Vec::new();
    loop {
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        let (flag, message) = (bytes[0], &bytes[5..5 + length]);
        bytes = &bytes[5 + length..];
        if flag == 0x80 {
            assert!(bytes.is_empty(), "trailers are the last");
            return (messages, String::from_utf8(message.to_vec()).unwrap());
        }
        messages.push(message.to_vec());
    }
}

#[test]
fn only_what_is_grpc_web_becomes_grpc() {
    for (content_type, form, becomes) in [
        ("application/grpc-web", Form::Binary, "application/grpc"),
        ("application/grpc-web+proto", Form::Binary, "application/grpc+proto"),
        ("application/grpc-web+json", Form::Binary, "application/grpc+json"),
        ("application/grpc-web; charset=utf-8", Form::Binary, "application/grpc; charset=utf-8"),
        ("application/grpc-web-text", Form::Text, "application/grpc"),
        ("application/grpc-web-text+proto;charset=UTF-8", Form::Text, "application/grpc+proto;charset=UTF-8"),
    ] {
        let mut request = call(content_type, Body::empty());
        for (name, value) in [("content-length", "8"), ("x-grpc-web", "1"), ("x-other", "stays")] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        assert_eq!(translate(&mut request), Some(form), "{content_type}");
        assert!(is_translated(&request));
        let expected = [("content-type", becomes), ("te", "trailers"), ("x-other", "stays")];
        let found = request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        let mut found: Vec<_> = found.collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-webx",
        "application/grpc-web-",
        "application/grpc-web-texts",
        "application/grpc-web-text-base64",
        "application/grpc-web/proto",
        "xapplication/grpc-web",
        " application/grpc-web",
        "text/plain, application/grpc-web",
        "application/json",
        "text/plain",
        "",
    ] {
        let mut request = call(content_type, Body::empty());
        let before = request.headers().clone();
        assert_eq!(translate(&mut request), None, "{content_type}");
        assert!(!is_translated(&request) && *request.headers() == before);
    }
    let mut get = call(BINARY, Body::empty());
    *get.method_mut() = Method::GET;
    assert_eq!(translate(&mut get), None, "calls are made with POST");
    assert_eq!(translate(&mut Request::new(Body::empty())), None);
}

#[test]
fn the_answer_has_the_form_that_is_accepted_by_name() {
    for (sent, accept, form) in [
        (BINARY, &[][..], Form::Binary),
        (TEXT, &[], Form::Text),
        (TEXT, &["*/*"], Form::Text),
        (BINARY, &["application/grpc-web-text"], Form::Text),
        (TEXT, &["application/grpc-web+proto"], Form::Binary),
        (BINARY, &["text/html, application/grpc-web-text+proto;q=0.5, */*"], Form::Text),
        (BINARY, &["application/grpc-web-textual", "application/json"], Form::Binary),
        (BINARY, &["*/*", "application/grpc-web-text"], Form::Text),
    ] {
        let mut request = call(sent, Body::empty());
        for value in accept {
            request.headers_mut().append("accept", HeaderValue::from_static(value));
        }
        assert_eq!(translate(&mut request), Some(form), "{sent} {accept:?}");
    }
}

#[test]
fn bytes_pass_as_they_are() {
    let large = Bytes::from(message(&[7; 100_000]));
    let mut request = call(BINARY, Body::from(large.clone()));
    translate(&mut request);
    let (pieces, ended) = read(std::mem::take(request.body_mut()));
    assert!(ended.is_ok() && pieces.len() == 1 && pieces[0].as_ptr() == large.as_ptr(), "nothing is copied");

    let (pieces, _) =
        read(answered(BINARY, grpc(body([Ok(Frame::data(large.clone())), end("0")]))).into_body());
    assert!(pieces.len() == 2 && pieces[0].as_ptr() == large.as_ptr());
}

#[test]
fn a_refusal_has_its_status_in_the_headers() {
    let cx = RequestContext::new(RequestStart::new(Protocol::Grpc, "demo"));
    for form in [BINARY, TEXT] {
        let refusal = Rejection::new(Reason::UnknownNamespace, "there is none");
        let response = answered(form, respond(&cx, &refusal));
        assert_eq!(response.headers()["content-type"], form);
        assert_eq!(response.headers()["grpc-status"], "5");
        assert!(response.headers().contains_key("grpc-status-details-bin"));
        assert!(response.body().is_end());
    }
}

#[test]
fn trailers_are_lines_of_lower_case() {
    let given = trailers(&[("grpc-status", "5"), ("grpc-message", "a%20b"), ("x-key", "v: w")]);
    let response = answered(BINARY, grpc(body([data(&message(b"m")), Ok(Frame::trailers(given))])));
    assert_eq!(response.headers()["content-type"], BINARY);
    assert!(!response.headers().contains_key("content-length"), "it is longer now");
    let (pieces, ended) = read(response.into_body());
    assert!(ended.is_ok());
    let expected = "grpc-status: 5\r\ngrpc-message: a%20b\r\nx-key: v: w\r\n".to_owned();
    assert_eq!(parse(&pieces.concat()), (vec![b"m".to_vec()], expected));
}

#[test]
fn what_is_refused_late_is_said_in_the_body_or_not_at_all() {
    for form in [BINARY, TEXT] {
        let decode = |pieces: &[Bytes]| -> Vec<u8> {
            let whole =
                |piece: &Bytes| if form == TEXT { STANDARD.decode(piece).unwrap() } else { piece.to_vec() };
            pieces.iter().flat_map(whole).collect()
        };
        let first = message(b"first");
        let (pieces, ended) = read(answered(form, grpc(body([data(&first), refused()]))).into_body());
        assert!(ended.is_ok());
        let (messages, trailers) = parse(&decode(&pieces));
        assert_eq!(messages, [b"first"]);
        assert!(trailers.starts_with("grpc-status: 4\r\n") && trailers.contains("grpc-status-details-bin: "));

        // Inside a message they would be a part of it.
        for cut in 1..first.len() {
            for last in [refused(), end("0"), end("4"), Err(BodyError::Other("gone".into()))] {
                let (pieces, ended) =
                    read(answered(form, grpc(body([data(&first[..cut]), last]))).into_body());
                assert!(ended.is_err(), "cut at {cut}");
                assert_eq!(decode(&pieces), &first[..cut]);
            }
            let (_, ended) = read(answered(form, grpc(body([data(&first[..cut])]))).into_body());
            assert!(ended.is_err(), "cut at {cut}");
        }
        let broken = Err(BodyError::Other("gone".into()));
        assert!(read(answered(form, grpc(body([data(&first), broken]))).into_body()).1.is_err());
    }
}

#[test]
fn an_answer_without_a_status_is_no_success() {
    for pieces in [vec![], vec![data(&message(b"m"))]] {
        let (pieces, ended) = read(answered(BINARY, grpc(body(pieces))).into_body());
        assert!(ended.is_ok());
        assert!(parse(&pieces.concat()).1.starts_with("grpc-status: 2\r\n"));
    }
    // But for one that had it before.
    let mut response = grpc(body([]));
    response.headers_mut().insert("grpc-status", HeaderValue::from_static("7"));
    let (pieces, ended) = read(answered(BINARY, response).into_body());
    assert!(pieces.is_empty() && ended.is_ok());
}

#[test]
fn what_broke_while_nobody_read_is_not_finished() {
    for form in [BINARY, TEXT] {
        let pieces = [data(&message(&[1; 100_000])), refused()].into_iter().collect();
        let script = Script { pieces, breaks: true };
        let mut body = answered(form, grpc(Body::from_duplex(Box::new(script)))).into_body();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(body.poll_next(&mut cx), Poll::Ready(Some(Ok(_)))));
        assert!(body.poll_progress(&mut cx).is_ready());
        let (pieces, ended) = read(body);
        assert!(pieces.is_empty() && ended.is_err(), "what the client had is not known");
    }
}

#[test]
fn what_is_no_grpc_stays_what_it_is() {
    for content_type in ["text/html", "application/json", "application/grpc-web+proto", "application/grpcs"] {
        let page = Response::builder()
            .status(502)
            .header("content-type", content_type)
            .header("content-length", "4");
        let response = answered(TEXT, page.body(Body::from(Bytes::from_static(b"page"))).unwrap());
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-length"]),
            (502, &"4".parse().unwrap())
        );
        assert_eq!(response.headers()["content-type"], content_type);
        assert_eq!(read(response.into_body()).0.concat(), b"page");
    }
    // And an answer to who did not ask for it.
    let response = answered("application/grpc", grpc(body([end("0")])));
    assert_eq!(response.headers()["content-type"], "application/grpc");
}

fn limits() -> MessageLimits {
    let stall_timeout = Duration::from_secs(1);
    MessageLimits { max_message_bytes: 100, unary: true, gzip: false, stall_timeout }
}

/// The operation of a call whose body comes in these pieces of text, and the whole body behind it.
async fn operation(text: impl IntoIterator<Item = Piece>) -> Result<(String, Vec<u8>), Rejection> {
    let start = RequestStart { messages: Some(limits()), ..RequestStart::new(Protocol::Grpc, "demo") };
    let cx = RequestContext::new(start);
    let mut request = call(TEXT, body(text));
    translate(&mut request);
    let operation = cx.operation(&mut request).await?.to_string();
    let (pieces, ended) = read(std::mem::take(request.body_mut()));
    ended.map_err(Rejection::from)?;
    Ok((operation, pieces.concat()))
}

#[tokio::test]
async fn text_that_is_wrong_is_refused_as_a_message_is() {
    let get = message(b"\x0a\x03get");
    let text = STANDARD.encode(&get);
    let reason = |result: Result<(String, Vec<u8>), Rejection>| result.unwrap_err().reason();
    for end in 0..text.len() {
        let cut = operation([data(&text.as_bytes()[..end])]).await;
        assert_eq!(reason(cut), Reason::MalformedMessage, "cut at {end}");
    }
    for wrong in
        ["!!!!", "%00", "AAAA\n", &format!("{text}A"), &format!("{text}\r\n"), &text.replace('=', ".")]
    {
        assert_eq!(reason(operation([data(wrong.as_bytes())]).await), Reason::MalformedMessage, "{wrong}");
    }
    // Bytes where text was said to be.
    assert_eq!(reason(operation([data(&get)]).await), Reason::MalformedMessage);
    // What the text says is held to the limits, from its first bytes.
    let large = STANDARD.encode([0, 0, 0, 0, 101]);
    assert_eq!(reason(operation([data(large.as_bytes())]).await), Reason::MessageTooLarge);
    let two = STANDARD.encode([get.clone(), get.clone()].concat());
    assert_eq!(reason(operation([data(two.as_bytes())]).await), Reason::MalformedMessage);
    // A message of trailers is none of a request.
    let trailers = STANDARD.encode([&[0x80, 0, 0, 0, 5][..], b"a: b\r"].concat());
    assert_eq!(reason(operation([data(trailers.as_bytes())]).await), Reason::MalformedMessage);
    let gone = operation([data(&text.as_bytes()[..4]), Err(BodyError::Other("gone".into()))]).await;
    assert_eq!(reason(gone), Reason::ClientGone);
}

proptest! {
    #[test]
    fn a_call_in_text_is_the_call_through_any_cut(cuts in prop::collection::vec(1_usize..9, 1..6), at in 0_usize..12) {
        let get = message(b"\x0a\x03get\x1a\x01k");
        // Two pieces, each padded by itself, as clients write them.
        let text = STANDARD.encode(&get[..at]) + &STANDARD.encode(&get[at..]);
        let mut rest = text.as_bytes();
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*cut));
            pieces.push(data(piece));
            rest = after;
        }
        // Trailers of a request say nothing.
        pieces.push(end("0"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (operation, body) = runtime.block_on(operation(pieces)).unwrap();
        prop_assert_eq!((operation.as_str(), body), ("get", get));
    }

    #[test]
    fn an_answer_is_the_same_through_any_cut(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..5),
        cuts in prop::collection::vec(1_usize..20, 1..6),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|bytes| message(bytes)).collect();
        for form in [BINARY, TEXT] {
            let mut rest = &stream[..];
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at(rest.len().min(*cut));
                pieces.push(data(piece));
                rest = after;
            }
            pieces.push(end("0"));
            let (sent, ended) = read(answered(form, grpc(body(pieces))).into_body());
            prop_assert!(ended.is_ok());
            // Each piece of a text is text by itself.
            let decode = |piece: &Bytes| if form == TEXT { STANDARD.decode(piece).unwrap() } else { piece.to_vec() };
            let bytes: Vec<u8> = sent.iter().flat_map(decode).collect();
            prop_assert_eq!(parse(&bytes), (messages.clone(), "grpc-status: 0\r\n".to_owned()));
        }
    }
}
