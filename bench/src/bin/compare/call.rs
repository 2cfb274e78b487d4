//! How a peer is called: where a call goes, and what its messages are.

use crate::client::{echo, frame, frame_bytes, pattern};
use bytes::Bytes;
use prism_proto::plugin::{ExecuteResponse, execute_response};
use prost::Message;

/// How a call is addressed.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The path of a unary call.
    pub(crate) unary: String,
    /// The path of a bidirectional stream. None: there is none of this form.
    pub(crate) stream: Option<&'static str>,
    /// Headers besides those of every gRPC call.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The messages of a unary call.
    pub(crate) form: Form,
}

/// What the messages of a unary call are, around the same payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `ExecuteRequest` with raw bytes, and `ExecuteResponse`.
    Execute,
    /// A message of the plugin's own method there and back: the payload itself.
    Typed,
}

impl Form {
    /// A request with so many bytes of payload, framed.
    pub(crate) fn request(self, payload: usize) -> Bytes {
        match self {
            Self::Execute => frame(&echo("echo", pattern(payload))),
            Self::Typed => frame_bytes(&pattern(payload)),
        }
    }

    /// The number of bytes of the right answer to it, framed.
    pub(crate) fn answer_bytes(self, payload: usize) -> u64 {
        let answer = match self {
            Self::Execute => {
                let result = Some(execute_response::Result::RawResult(pattern(payload)));
                frame(&ExecuteResponse { success: true, result, ..Default::default() })
            }
            Self::Typed => frame_bytes(&pattern(payload)),
        };
        answer.len() as u64
    }

    /// Whether `answer`, a message without its frame, is the right answer to so many bytes of payload.
    ///
    /// # Errors
    /// Says what it is instead.
    pub(crate) fn check(self, answer: Bytes, payload: usize) -> Result<(), String> {
        let got = match self {
            Self::Execute => match ExecuteResponse::decode(answer).map_err(|error| error.to_string())? {
                ExecuteResponse {
                    success: true,
                    result: Some(execute_response::Result::RawResult(got)),
                    ..
                } => Some(got),
                ExecuteResponse { success: false, error, .. } => {
                    return Err(format!("the operation failed: {error}"));
                }
                ExecuteResponse { success: true, .. } => None,
            },
            Self::Typed => Some(answer),
        };
        if got == Some(pattern(payload)) {
            Ok(())
        } else {
            Err(format!("the answer to {payload} bytes is not what was sent"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executed(answer: &ExecuteResponse) -> Bytes {
        answer.encode_to_vec().into()
    }

    fn echoed(payload: usize) -> ExecuteResponse {
        let result = Some(execute_response::Result::RawResult(pattern(payload)));
        ExecuteResponse { success: true, result, ..Default::default() }
    }

    #[test]
    fn both_forms_carry_the_same_payload() {
        let (executed, typed) = (Form::Execute.request(128), Form::Typed.request(128));
        assert_eq!(typed.slice(5..), pattern(128));
        assert_eq!(typed[..5], [0, 0, 0, 0, 128]);
        assert!(executed.ends_with(&pattern(128)) && executed.len() > typed.len());
    }

    #[test]
    fn the_right_answer_is_right_and_as_long_as_it_is_said_to_be() {
        let answer = executed(&echoed(128));
        assert_eq!(Form::Execute.answer_bytes(128), 5 + answer.len() as u64);
        assert_eq!(Form::Execute.check(answer, 128), Ok(()));
        assert_eq!(Form::Typed.answer_bytes(128), 5 + 128);
        assert_eq!(Form::Typed.check(pattern(128), 128), Ok(()));
    }

    #[test]
    fn wrong_answers_are_refused() {
        let failed = ExecuteResponse { error: "no such key".to_owned(), ..Default::default() };
        assert!(Form::Execute.check(executed(&failed), 128).unwrap_err().contains("no such key"));
        let empty = ExecuteResponse { success: true, ..Default::default() };
        for answer in [executed(&empty), executed(&echoed(127)), Bytes::from_static(b"\xff")] {
            assert!(Form::Execute.check(answer, 128).is_err());
        }
        // The answer of `Execute` is not the typed one, an empty one is not, nor one that is cut.
        for answer in [executed(&echoed(128)), Bytes::new(), pattern(127)] {
            assert!(Form::Typed.check(answer, 128).is_err());
        }
    }
}
