//! gRPC status as HTTP trailers, written and read.

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};
use prism_plugin_abi::{Code, Error};

/// `grpc-status`
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A message takes part in every peer's header list limit; 1 KiB says what happened to a person.
const MESSAGE_LIMIT: usize = 1024;

/// gRPC over HTTP/2, "Status-Message": what is not space to `~`, and `%` itself, is percent-encoded.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The headers of an answer that has messages.
#[must_use]
pub fn ok_headers() -> HeaderMap {
    // Room for what the proxy adds (`x-request-id`): growing costs more than asking for it now.
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers
}

/// The trailers of a call that went well.
#[must_use]
pub fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

/// The trailers of a call that failed: `grpc-status`, and `grpc-message` percent-encoded and at most 1 KiB.
#[must_use]
pub fn error_trailers(code: Code, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(GRPC_STATUS, HeaderValue::from(code.number()));
    let mut encoded = String::with_capacity(message.len().min(MESSAGE_LIMIT));
    let mut bytes = [0; 4];
    for letter in message.chars() {
        // By character, so that the cut leaves valid UTF-8 behind.
        let escaped = percent_encode(letter.encode_utf8(&mut bytes).as_bytes(), ESCAPED);
        let before = encoded.len();
        encoded.extend(escaped);
        if encoded.len() > MESSAGE_LIMIT {
            encoded.truncate(before);
            break;
        }
    }
    if let Ok(value) = HeaderValue::try_from(encoded) {
        trailers.insert(GRPC_MESSAGE, value);
    }
    trailers
}

/// What trailers (or the headers of a trailers-only answer) say.
pub(crate) fn read(trailers: &HeaderMap) -> Option<Result<(), Error>> {
    let status = trailers.get(GRPC_STATUS)?;
    if status == "0" {
        return Some(Ok(()));
    }
    let number = status.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let message = trailers.get(GRPC_MESSAGE).map_or_else(String::new, |message| {
        percent_decode(message.as_bytes()).decode_utf8_lossy().into_owned()
    });
    Some(Err(Error::channel(Code::from_number(number), message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_trip() {
        for message in ["", "plain", "100 % sure", "naïve\nline\0", "ключ"] {
            let trailers = error_trailers(Code::NotFound, message);
            assert_eq!(read(&trailers), Some(Err(Error::channel(Code::NotFound, message.to_owned()))));
            assert!(trailers[GRPC_MESSAGE].to_str().is_ok(), "visible ASCII only");
        }
        assert_eq!(read(&ok_trailers()), Some(Ok(())));
        assert_eq!(read(&HeaderMap::new()), None);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let trailers = error_trailers(Code::Internal, &"é".repeat(2000));
        assert!(trailers[GRPC_MESSAGE].len() <= MESSAGE_LIMIT);
        let Some(Err(error)) = read(&trailers) else { panic!("no error") };
        assert!(error.message.chars().all(|letter| letter == 'é') && error.message.len() > 300);
    }

    #[test]
    fn a_status_that_is_no_number_is_a_failure() {
        let mut trailers = HeaderMap::new();
        for status in ["", "zero", "00", "-1", "999", "0 "] {
            trailers.insert(GRPC_STATUS, HeaderValue::from_str(status).unwrap());
            let Some(Err(error)) = read(&trailers) else { panic!("{status:?} read as success") };
            assert_eq!(error.code, Code::Unknown);
        }
    }
}
