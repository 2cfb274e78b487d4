//! A stream's answers in JSON: a line each (newline-delimited JSON), or an event each (server-sent events, WHATWG HTML
//! section 9.2). The response's status is sent before the first; what goes wrong later is the last line.

use super::{encode, undecodable};
use crate::dispatch::outcome::{self, Subject};
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use prism_filters::{
    Body, Code, Rejection,
    body::{BodyError, Duplex},
    error_json,
};
use prism_platform::time::{Instant, Sleep, sleep_until};
use prism_plugin_envelope::Deframer;
use prism_plugin_host::Types;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// A comment is sent after so much silence (contracts): proxies on the way close connections that are silent, most of them
/// after 30 or 60 s.
const SILENCE: Duration = Duration::from_secs(15);

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Lines,
    Events,
}

impl Form {
    /// The one that the client asks for; lines, where it does not.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let events = headers.get_all(header::ACCEPT).iter().any(|accept| {
            let mut types = accept.as_bytes().split(|byte| *byte == b',');
            types.any(|one| {
                let essence = one.split(|byte| *byte == b';').next().unwrap_or_default();
                essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
            })
        });
        if events { Self::Events } else { Self::Lines }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    fn result(self, text: &[u8]) -> Bytes {
        self.written(b"", b"result", text)
    }

    fn error(self, text: &[u8]) -> Bytes {
        self.written(b"event: error\n", b"error", text)
    }

    fn written(self, event: &[u8], name: &[u8], text: &[u8]) -> Bytes {
        let mut line = BytesMut::with_capacity(text.len() + 40);
        if self == Self::Events {
            line.put_slice(event);
            line.put_slice(b"data: ");
        }
        // The JSON that is written here has no line ends.
        line.put_slice(b"{\"");
        line.put_slice(name);
        line.put_slice(b"\":");
        line.put_slice(text);
        line.put_slice(match self {
            Self::Lines => b"}\n",
            Self::Events => b"}\n\n",
        });
        line.freeze()
    }
}

/// Writes the answers of a typed stream.
///
/// # Errors
/// It was refused before it opened.
pub(crate) fn stream(
    answer: Response<Body>,
    form: Form,
    types: &Types,
    subject: Subject,
    request_id: ByteString,
) -> Result<Response<Body>, Rejection> {
    let (head, inner) = answer.into_parts();
    if head.headers.contains_key("grpc-status") && outcome::code(&head.headers) != Code::Ok {
        return Err(subject.refused(&head.headers));
    }
    let timer = (form == Form::Events).then(|| Box::pin(sleep_until(Instant::now() + SILENCE)));
    let written = Written {
        inner,
        // What comes is a message that was checked already.
        deframer: Deframer::default(),
        form,
        types: types.clone(),
        subject,
        request_id,
        timer,
        over: false,
        told: None,
    };
    let mut response = Response::new(Body::from_duplex(Box::new(written)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    // Whoever keeps a part of a stream back, or for somebody else, breaks it.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Written {
    inner: Body,
    deframer: Deframer,
    form: Form,
    types: Types,
    subject: Subject,
    request_id: ByteString,
    timer: Option<Pin<Box<Sleep>>>,
    over: bool,
    /// Why, where that was the last line: whoever watches the call is told.
    told: Option<Rejection>,
}

impl Written {
    fn last(&mut self, rejection: Rejection) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.over = true;
        // Dropping it cancels the call.
        self.inner = Body::empty();
        let text = error_json(&rejection, &self.request_id);
        self.told = Some(rejection);
        Poll::Ready(Some(Ok(Frame::data(self.form.error(&text)))))
    }
}

impl Duplex for Written {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if self.over {
                return Poll::Ready(self.told.take().map(|rejection| Err(BodyError::Told(rejection))));
            }
            let message = match self.deframer.next_message() {
                Ok(message) => message,
                Err(error) => return self.last(undecodable(&error.to_string(), &self.subject)),
            };
            if let Some(message) = message {
                if let Some(timer) = &mut self.timer {
                    timer.as_mut().reset(Instant::now() + SILENCE);
                }
                return match encode(message, &self.types.result) {
                    Ok(text) => Poll::Ready(Some(Ok(Frame::data(self.form.result(&text))))),
                    Err(why) => self.last(undecodable(&why, &self.subject)),
                };
            }
            match self.inner.poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.deframer.push(data),
                    Err(frame) => {
                        let status = frame.into_trailers().unwrap_or_default();
                        if outcome::code(&status) != Code::Ok {
                            return self.last(self.subject.refused(&status));
                        }
                        self.over = true;
                    }
                },
                Poll::Ready(Some(Err(BodyError::Rejected(rejection)))) => return self.last(rejection),
                Poll::Ready(Some(Err(error))) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => self.over = true,
                Poll::Pending => {
                    let Some(timer) = &mut self.timer else { return Poll::Pending };
                    if timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    timer.as_mut().reset(Instant::now() + SILENCE);
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b":\n\n")))));
                }
            }
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What goes wrong meanwhile is a line like the others, and comes when the client takes it.
        let _ = self.inner.poll_progress(cx);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_filters::Reason;
    use prost::Message;
    use prost_reflect::DescriptorPool;
    use std::future::poll_fn;

    fn types() -> Types {
        let pool = DescriptorPool::decode(prism_proto::FILE_DESCRIPTOR_SET).unwrap();
        let find = |name| pool.get_message_by_name(name).unwrap();
        Types { params: find("prism.kv.v1.WatchRequest"), result: find("prism.kv.v1.WatchEvent") }
    }

    fn written(inner: Body, form: Form) -> Body {
        let subject = Subject { plugin: "p".into(), namespace: "n".into(), limit: 100, idempotent: true };
        stream(Response::new(inner), form, &types(), subject, "id".into()).unwrap().into_body()
    }

    async fn next(body: &mut Body) -> Option<String> {
        let frame = poll_fn(|cx| body.poll_next(cx)).await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    /// One event, and then nothing for ever.
    struct Quiet(Option<Bytes>);

    impl Duplex for Quiet {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            self.0.take().map_or(Poll::Pending, |event| Poll::Ready(Some(Ok(Frame::data(event)))))
        }

        fn poll_progress(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    fn event() -> Bytes {
        let message =
            prism_proto::kv::v1::WatchEvent { key: "k".into(), ..Default::default() }.encode_to_vec();
        [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()][..], &message].concat().into()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_by_comments_in_events_and_by_nothing_in_lines() {
        let mut events = written(Body::from_duplex(Box::new(Quiet(Some(event())))), Form::Events);
        assert!(next(&mut events).await.unwrap().starts_with("data: {\"result\":{"));
        for _ in 0..3 {
            let before = Instant::now();
            assert_eq!(next(&mut events).await.unwrap(), ":\n\n");
            assert_eq!(before.elapsed().as_secs(), SILENCE.as_secs());
        }
        let mut lines = written(Body::from_duplex(Box::new(Quiet(Some(event())))), Form::Lines);
        assert!(next(&mut lines).await.unwrap().ends_with("}}\n"));
        let silent = prism_platform::time::timeout(SILENCE * 4, next(&mut lines)).await;
        assert!(silent.is_err());
    }

    #[tokio::test]
    async fn what_is_no_such_message_ends_the_stream_in_words() {
        let wrong = Bytes::from_static(&[0, 0, 0, 0, 1, 0xff]);
        let mut lines = written(Body::from_duplex(Box::new(Quiet(Some(wrong)))), Form::Lines);
        let last = next(&mut lines).await.unwrap();
        assert!(last.starts_with("{\"error\":{\"code\":\"INTERNAL\"") && last.ends_with("}}\n"), "{last}");
        let ended = poll_fn(|cx| lines.poll_next(cx)).await.unwrap().unwrap_err();
        assert!(matches!(ended, BodyError::Told(rejection) if rejection.reason() == Reason::PluginProtocol));
        assert_eq!(next(&mut lines).await, None);
    }
}
