//! What an answer says of its own length, before anybody believes it.

use crate::channel::ForwardError;
use http::{HeaderValue, Method, StatusCode, Version, header, response::Parts};

/// Whether something follows the head of an answer. RFC 9112 section 6.3: "Any response to a HEAD request and any response
/// with a 1xx (Informational), 204 (No Content), or 304 (Not Modified) status code is always terminated by the first empty
/// line after the header fields, regardless of the header fields present in the message".
pub(super) fn has_content(method: &Method, status: StatusCode) -> bool {
    *method != Method::HEAD && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Makes what the head says of the body's length one field, or none.
///
/// # Errors
/// It says two things, or what nobody here can undo.
pub(super) fn settle(head: &mut Parts) -> Result<(), ForwardError> {
    let faulty = |what| Err(ForwardError::Protocol(format!("its answer's framing is faulty: {what}")));
    let fields = &mut head.headers;
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        // A coding below `chunked` would be lost with the field, which belongs to the hop.
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => {
            // RFC 9112 section 6.1: "Transfer-Encoding was added in HTTP/1.1".
            if head.version < Version::HTTP_11 {
                return faulty("Transfer-Encoding in HTTP/1.0");
            }
            // RFC 9112 section 6.3: "Such a message might indicate an attempt to perform request smuggling (Section 11.2) or
            // response splitting (Section 11.1) and ought to be handled as an error."
            if fields.contains_key(header::CONTENT_LENGTH) {
                return faulty("both Transfer-Encoding and Content-Length");
            }
        }
        _ => return faulty("a Transfer-Encoding other than `chunked`, which it was not asked for"),
    }
    // RFC 9110 section 8.6: "A server MUST NOT send a Content-Length header field in any response with a status code of ...
    // 204 (No Content)."
    if head.status == StatusCode::NO_CONTENT {
        fields.remove(header::CONTENT_LENGTH);
        return Ok(());
    }
    // RFC 9110 section 8.6: one number that is repeated may be taken for one; anything else is an error.
    let mut length = None;
    for value in fields.get_all(header::CONTENT_LENGTH) {
        for number in value.as_bytes().split(|byte| *byte == b',') {
            let number = match std::str::from_utf8(number.trim_ascii()) {
                Ok(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse::<u64>().ok(),
                _ => None,
            };
            match (number, length) {
                (Some(number), None) => length = Some(number),
                (Some(number), Some(before)) if number == before => {}
                _ => return faulty("a Content-Length that is not one number"),
            }
        }
    }
    if let Some(length) = length {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn settled(version: Version, status: u16, fields: &[(&str, &str)]) -> Result<Vec<String>, ForwardError> {
        let mut answer = Response::builder().version(version).status(status);
        for (name, value) in fields {
            answer = answer.header(*name, *value);
        }
        let (mut head, ()) = answer.body(()).unwrap().into_parts();
        settle(&mut head)?;
        let lengths = head.headers.get_all(header::CONTENT_LENGTH);
        Ok(lengths.iter().map(|length| length.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn a_length_is_one_number_or_none() {
        let h2 = |fields| settled(Version::HTTP_2, 200, fields).unwrap();
        assert!(h2(&[]).is_empty());
        assert_eq!(h2(&[("content-length", "5")]), ["5"]);
        assert_eq!(h2(&[("content-length", "5, 5")]), ["5"]);
        assert_eq!(h2(&[("content-length", "5"), ("content-length", "5")]), ["5"]);
        assert!(settled(Version::HTTP_11, 200, &[("transfer-encoding", "Chunked")]).unwrap().is_empty());
        assert!(settled(Version::HTTP_11, 204, &[("content-length", "0")]).unwrap().is_empty());
        assert_eq!(settled(Version::HTTP_11, 304, &[("content-length", "7")]).unwrap(), ["7"]);
    }

    #[test]
    fn two_lengths_are_an_error() {
        for (version, fields) in [
            (Version::HTTP_11, &[("transfer-encoding", "chunked"), ("content-length", "5")][..]),
            (Version::HTTP_11, &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
            (Version::HTTP_11, &[("transfer-encoding", "gzip, chunked")]),
            (Version::HTTP_11, &[("transfer-encoding", "gzip")]),
            (Version::HTTP_11, &[("transfer-encoding", "identity")]),
            (Version::HTTP_11, &[("transfer-encoding", "")]),
            (Version::HTTP_10, &[("transfer-encoding", "chunked")]),
            (Version::HTTP_2, &[("content-length", "5"), ("content-length", "6")]),
            (Version::HTTP_2, &[("content-length", "5, 6")]),
            (Version::HTTP_2, &[("content-length", "5,")]),
            (Version::HTTP_2, &[("content-length", "")]),
            (Version::HTTP_2, &[("content-length", "+5")]),
            (Version::HTTP_2, &[("content-length", "-5")]),
            (Version::HTTP_2, &[("content-length", "0x5")]),
            (Version::HTTP_2, &[("content-length", "5 5")]),
            (Version::HTTP_2, &[("content-length", "18446744073709551616")]),
        ] {
            let settled = settled(version, 200, fields);
            assert!(matches!(settled, Err(ForwardError::Protocol(_))), "{fields:?}: {settled:?}");
        }
    }

    #[test]
    fn some_answers_have_no_content_whatever_they_say() {
        assert!(has_content(&Method::GET, StatusCode::OK));
        assert!(has_content(&Method::POST, StatusCode::RESET_CONTENT));
        assert!(!has_content(&Method::HEAD, StatusCode::OK));
        assert!(!has_content(&Method::GET, StatusCode::NO_CONTENT));
        assert!(!has_content(&Method::GET, StatusCode::NOT_MODIFIED));
    }
}
