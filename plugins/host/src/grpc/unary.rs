//! Calls of one message each way: the answer as it arrives, and a call to a service that is no plugin.

use super::{head::timeout, reply};
use crate::{
    channel::{ForwardError, WireBody},
    http::{Cluster, Outgoing, ReplyBody, Service},
    status::{self, GRPC_STATUS},
    worker::WorkerLocal,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use prism_platform::time::{self, Instant};
use prism_plugin_abi::{Code, Error, Payload};
use prism_plugin_envelope::Deframer;
use prism_proto::envelope::Prefix;
use std::{future::poll_fn, sync::Arc, time::Duration};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Why there is no message.
pub(super) enum Fault {
    /// The call failed, says whoever answered it.
    Status(Error),
    /// What came is no answer of one message.
    Protocol(String),
}

/// An answer of one message, arriving.
#[derive(Default)]
pub(super) struct OneMessage {
    messages: Deframer,
    length: usize,
}

impl OneMessage {
    /// # Errors
    /// It is above the limit.
    pub(super) fn push(&mut self, piece: Bytes, limit: usize) -> Result<(), Fault> {
        self.length += piece.len();
        if self.length > limit {
            return Err(Fault::Protocol(format!("its answer is above {limit} bytes")));
        }
        self.messages.push(piece);
        Ok(())
    }

    /// The message, if that is what came before `trailers`: of a trailers-only answer, its headers.
    ///
    /// # Errors
    /// The call failed, or broke the protocol.
    pub(super) fn finish(mut self, trailers: &HeaderMap) -> Result<Bytes, Fault> {
        if trailers.get_all(GRPC_STATUS).iter().nth(1).is_some() {
            return Err(Fault::Protocol("its answer has two statuses".to_owned()));
        }
        match status::read(trailers) {
            None => return Err(Fault::Protocol(NO_STATUS.to_owned())),
            Some(Err(error)) => return Err(Fault::Status(error)),
            Some(Ok(())) => {}
        }
        match self.messages.next_message() {
            Ok(Some(message)) if self.messages.is_between_messages() => Ok(message.into_bytes()),
            Ok(_) => Err(Fault::Protocol("its answer is not exactly one message".to_owned())),
            Err(error) => Err(Fault::Protocol(error.to_string())),
        }
    }
}

const NO_STATUS: &str = "its answer ended without a grpc-status";

/// A call of one message to a service that is no plugin. Asking twice must do no harm: it is sent once more where the service
/// says that it has not begun with it.
#[derive(Clone, Copy, Debug)]
pub struct UnaryCall {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// How long it may take, connecting included.
    pub timeout: Duration,
    /// The largest answer, in bytes with its frame.
    pub most: usize,
}

impl UnaryCall {
    /// Calls one of `services` with a message. Dropping the future cancels the call.
    ///
    /// # Errors
    /// What happened to the call, or what the service has against it ([`ForwardError::Refused`]). There was no time for it:
    /// that, with [`Code::DeadlineExceeded`].
    pub async fn send(
        &self,
        services: &Arc<Cluster>,
        worker: &WorkerLocal,
        message: Bytes,
    ) -> Result<Bytes, ForwardError> {
        let length = u32::try_from(message.len())
            .map_err(|_| ForwardError::Protocol("the question is above 4 GiB".to_owned()))?;
        let mut framed = Payload::new();
        framed.push(Bytes::copy_from_slice(&Prefix { compressed: false, length }.encode()));
        framed.push(message);
        let until = Instant::now() + self.timeout;
        let asked = self.exchange(services, worker, framed, until);
        time::timeout(self.timeout, asked).await.unwrap_or_else(|_| Err(late(self.timeout)))
    }

    async fn exchange(
        &self,
        services: &Arc<Cluster>,
        worker: &WorkerLocal,
        framed: Payload,
        until: Instant,
    ) -> Result<Bytes, ForwardError> {
        let outgoing = Head { call: self, until };
        let reply = services.send(worker, &outgoing, WireBody::Whole(framed)).await?;
        reply::check(reply.head.status, &reply.head.headers)?;
        let mut message = OneMessage::default();
        match reply.body {
            // What stands in front of a message is not how it ended.
            ReplyBody::Whole { pieces, trailers: None } if !pieces.is_empty() => {
                Err(Fault::Protocol(NO_STATUS.to_owned()).into())
            }
            ReplyBody::Whole { mut pieces, trailers } => {
                while let Some(piece) = pieces.pop() {
                    message.push(piece, self.most)?;
                }
                Ok(message.finish(trailers.as_deref().unwrap_or(&reply.head.headers))?)
            }
            ReplyBody::Stream(mut source) => loop {
                match poll_fn(|cx| source.poll_frame(cx)).await {
                    Some(Err(error)) => return Err(error),
                    None => return Err(Fault::Protocol(NO_STATUS.to_owned()).into()),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(piece) => message.push(piece, self.most)?,
                        Err(frame) => {
                            let trailers = frame.into_trailers().unwrap_or_default();
                            return Ok(message.finish(&trailers)?);
                        }
                    },
                }
            },
        }
    }
}

impl From<Fault> for ForwardError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Status(error) => error.into(),
            Fault::Protocol(problem) => Self::Protocol(problem),
        }
    }
}

fn late(timeout: Duration) -> ForwardError {
    Error::channel(Code::DeadlineExceeded, format!("no answer within {} ms", timeout.as_millis())).into()
}

struct Head<'a> {
    call: &'a UnaryCall,
    until: Instant,
}

impl Outgoing for Head<'_> {
    fn head(&self, service: &Service) -> Result<Request<()>, ForwardError> {
        let left = self.until.saturating_duration_since(Instant::now());
        let uri = Uri::builder()
            .scheme(if service.is_secured() { "https" } else { "http" })
            .authority(service.authority())
            .path_and_query(self.call.path)
            .build()
            .map_err(|error| ForwardError::Protocol(error.to_string()))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(GRPC_TIMEOUT, timeout(left));
        Ok(request)
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn content_length(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Bytes {
        let length = u32::try_from(message.len()).unwrap();
        [&Prefix { compressed: false, length }.encode()[..], message].concat().into()
    }

    fn answered(pieces: &[Bytes], trailers: &HeaderMap) -> Result<Bytes, ForwardError> {
        let mut message = OneMessage::default();
        pieces.iter().try_for_each(|piece| message.push(piece.clone(), 32))?;
        Ok(message.finish(trailers)?)
    }

    #[test]
    fn exactly_one_message_and_a_status_are_an_answer() {
        let ok = status::ok_trailers();
        assert_eq!(answered(&[framed(b"yes")], &ok).unwrap(), "yes");
        assert_eq!(answered(&[framed(b"")], &ok).unwrap(), "");
        let whole = framed(b"yes");
        assert_eq!(answered(&[whole.slice(..3), whole.slice(3..)], &ok).unwrap(), "yes");
        let mut two = ok.clone();
        two.append(GRPC_STATUS, HeaderValue::from_static("7"));
        let compressed = Bytes::from_static(b"\x01\0\0\0\x01a");
        for (pieces, trailers, why) in [
            (vec![], ok.clone(), "not exactly one"),
            (vec![framed(b"a"), framed(b"b")], ok.clone(), "not exactly one"),
            (vec![framed(b"abc").slice(..6)], ok.clone(), "not exactly one"),
            (vec![compressed], ok.clone(), "compress"),
            (vec![framed(&[b'x'; 40])], ok.clone(), "above"),
            (vec![framed(b"a")], HeaderMap::new(), "without a grpc-status"),
            (vec![framed(b"a")], two, "two statuses"),
            (vec![framed(b"a")], status::error_trailers(Code::Unauthenticated, "no"), "no"),
        ] {
            let error = answered(&pieces, &trailers).unwrap_err();
            assert!(error.to_string().contains(why), "{why}: {error}");
        }
    }
}
