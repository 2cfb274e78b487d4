//! What a log says of a call, as JSON or as text.
//!
//! Written field by field and not through a derived serializer: the log is a tenth of what a small call costs, and
//! the names of the fields, the second and the peer are the same from line to line.

use std::{
    cell::RefCell,
    io::Write,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Room for nearly every line.
const USUAL_LENGTH: usize = 512;

/// What a line says.
pub(crate) struct Line<'a> {
    pub(crate) time: SystemTime,
    pub(crate) request_id: &'a str,
    pub(crate) listener: &'a str,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) protocol: &'static str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) operation: Option<&'a str>,
    pub(crate) plugin: Option<&'a str>,
    pub(crate) principal: Option<&'a str>,
    /// `None`: it is not over.
    pub(crate) code: Option<&'static str>,
    pub(crate) http_status: Option<u16>,
    pub(crate) reason: Option<&'a str>,
    pub(crate) detail: Option<&'a str>,
    pub(crate) bytes_sent: u64,
    pub(crate) duration_us: u64,
    pub(crate) config_version: u64,
}

impl Line<'_> {
    /// Appends it as the inside of a JSON object, with the id of a trace, which only the access log has: a text, as bytes.
    pub(crate) fn write_json<'a>(&self, out: &'a mut Vec<u8>, trace_id: Option<&[u8]>) -> Json<'a> {
        out.reserve(USUAL_LENGTH);
        let begin = out.len();
        out.extend_from_slice(b"\"time\":\"");
        RECENT.with_borrow_mut(|recent| recent.write_time(self.time, out));
        // Each field of text begins with the quotation mark that ends the one before it.
        text(out, b"\",\"request_id\":\"", self.request_id);
        let id_end = out.len();
        if let Some(trace_id) = trace_id {
            bytes(out, TRACE_ID, trace_id);
        }
        text(out, b"\",\"listener\":\"", self.listener);
        if let Some(peer) = self.peer {
            out.extend_from_slice(b"\",\"peer\":\"");
            RECENT.with_borrow_mut(|recent| recent.write_peer(peer, out));
        }
        plain(out, b"\",\"protocol\":\"", self.protocol);
        text(out, b"\",\"method\":\"", self.method);
        text(out, b"\",\"path\":\"", self.path);
        text(out, b"\",\"namespace\":\"", self.namespace);
        if let Some(operation) = self.operation {
            text(out, b"\",\"operation\":\"", operation);
        }
        if let Some(plugin) = self.plugin {
            text(out, b"\",\"plugin\":\"", plugin);
        }
        if let Some(principal) = self.principal {
            text(out, b"\",\"principal\":\"", principal);
        }
        if let Some(code) = self.code {
            plain(out, b"\",\"code\":\"", code);
        }
        out.push(b'"');
        if let Some(status) = self.http_status {
            number(out, b",\"http_status\":", status.into());
        }
        if let Some(reason) = self.reason {
            text(out, b",\"reason\":\"", reason);
            out.push(b'"');
        }
        if let Some(detail) = self.detail {
            text(out, b",\"detail\":\"", detail);
            out.push(b'"');
        }
        number(out, b",\"bytes_sent\":", self.bytes_sent);
        number(out, b",\"duration_us\":", self.duration_us);
        number(out, b",\"config_version\":", self.config_version);
        Json { text: out.get(begin..).unwrap_or_default(), id_end: id_end - begin }
    }

    /// Appends it as text, without an end.
    pub(crate) fn write_text(&self, out: &mut Vec<u8>) {
        let dash = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
        RECENT.with_borrow_mut(|recent| recent.write_time(self.time, out));
        // A Vec takes every byte.
        let _ = write!(
            out,
            " {} {} {} {:?} namespace={:?} operation={:?} code={} reason={} detail={:?} bytes={} us={} id={}",
            self.listener,
            self.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string()),
            self.method,
            self.path,
            dash(Some(self.namespace)),
            dash(self.operation),
            dash(self.code),
            dash(self.reason),
            dash(self.detail),
            self.bytes_sent,
            self.duration_us,
            self.request_id,
        );
    }
}

const TRACE_ID: &[u8; 14] = b"\",\"trace_id\":\"";

/// A line without the id of a trace, as the inside of a JSON object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Json<'a> {
    text: &'a [u8],
    /// Where the request's id ends, in front of its quotation mark.
    id_end: usize,
}

impl Json<'_> {
    /// Appends a copy of it, with the id of a trace.
    pub(crate) fn copy(self, out: &mut Vec<u8>, trace_id: &[u8]) {
        let (head, rest) = self.text.split_at_checked(self.id_end).unwrap_or_default();
        out.reserve(USUAL_LENGTH);
        out.extend_from_slice(head);
        bytes(out, TRACE_ID, trace_id);
        out.extend_from_slice(rest);
    }
}

/// As [`text`], of a word of ours, in which nothing wants an escape.
fn plain<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: &'static str) {
    out.extend_from_slice(name);
    out.extend_from_slice(value.as_bytes());
}

/// A field without its last quotation mark: its name as it is written, with the first one, and its value escaped where
/// JSON wants that. RFC 8259 section 7: "All Unicode characters may be placed within the quotation marks, except for the
/// characters that MUST be escaped: quotation mark, reverse solidus, and the control characters".
fn text<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: &str) {
    // Of a length that the compiler knows, so that no call is made for it.
    out.extend_from_slice(name);
    if is_plain(value.as_bytes()) {
        out.extend_from_slice(value.as_bytes());
    } else {
        out.pop();
        // Cannot fail: a Vec takes every byte.
        let _ = serde_json::to_writer(&mut *out, value);
        out.pop();
    }
}

/// As [`text`], of a text that is at hand as bytes.
fn bytes<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: &[u8]) {
    if is_plain(value) {
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    } else {
        text(out, name, &String::from_utf8_lossy(value));
    }
}

/// Nothing in it wants an escape. Eight bytes at a time: names are too short for vectors. (Zero and small bytes in a word:
/// "Bit Twiddling Hacks", S. E. Anderson.)
fn is_plain(value: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let escaped = |word: u64| {
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        below(word, 0x20) | is(b'"') | is(b'\\')
    };
    let (words, rest) = value.as_chunks::<8>();
    let mut found = 0;
    for word in words {
        found |= escaped(u64::from_ne_bytes(*word));
    }
    match value.last_chunk::<8>() {
        // The last word covers the rest, and once more what is in front of it.
        Some(last) => (found | escaped(u64::from_ne_bytes(*last))) & (ONES << 7) == 0,
        None => rest.iter().all(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\'),
    }
}

fn number<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: u64) {
    out.extend_from_slice(name);
    // As above.
    let _ = serde_json::to_writer(out, &value);
}

thread_local!(static RECENT: RefCell<Recent> = RefCell::default());

/// What the last line of this thread said, as text: a turn of a worker writes many lines for one connection within
/// one second.
#[derive(Default)]
struct Recent {
    second: u64,
    second_text: String,
    peer: Option<SocketAddr>,
    peer_text: String,
}

impl Recent {
    /// RFC 3339 in UTC, with milliseconds.
    fn write_time(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        // A clock before 1970 is wrong by so much that it does not matter what is written.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second || self.second_text.is_empty() {
            self.second = since.as_secs();
            let whole = UNIX_EPOCH + Duration::from_secs(self.second);
            self.second_text = humantime::format_rfc3339_seconds(whole).to_string();
        }
        out.extend_from_slice(self.second_text.trim_end_matches('Z').as_bytes());
        let millis = since.subsec_millis();
        let digit = |value: u32| b'0' + u8::try_from(value % 10).unwrap_or(0);
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
    }

    fn write_peer(&mut self, peer: SocketAddr, out: &mut Vec<u8>) {
        if self.peer != Some(peer) {
            self.peer = Some(peer);
            self.peer_text = peer.to_string();
        }
        out.extend_from_slice(self.peer_text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line<'a>(text: &'a str, time: SystemTime, peer: Option<SocketAddr>) -> Line<'a> {
        Line {
            time,
            request_id: text,
            listener: text,
            peer,
            protocol: "grpc",
            method: text,
            path: text,
            namespace: text,
            operation: Some(text),
            plugin: None,
            principal: Some(text),
            code: Some("OK"),
            http_status: Some(200),
            reason: None,
            detail: None,
            bytes_sent: u64::MAX,
            duration_us: 0,
            config_version: 1,
        }
    }

    proptest! {
        #[test]
        fn what_wants_an_escape_is_found_wherever_it_stands(mut plain in "[ -!#-\\[\\]-~éß]{0,40}", at in 0_usize..40) {
            prop_assert!(is_plain(plain.as_bytes()));
            for special in ['"', '\\', '\0', '\u{1f}', '\n'] {
                let at = plain.char_indices().map(|(at, _)| at).nth(at).unwrap_or(plain.len());
                plain.insert(at, special);
                prop_assert!(!is_plain(plain.as_bytes()), "{plain:?}");
                plain.remove(at);
            }
        }

        #[test]
        fn whatever_is_in_it_a_line_is_one_json_object(
            text in ".{0,40}",
            millis in prop::collection::vec(0_u64..4_000_000_000_000, 1..4),
            port in any::<u16>(),
        ) {
            for millis in millis {
                let time = UNIX_EPOCH + Duration::from_millis(millis);
                let peer: SocketAddr = format!("[2001:db8::1]:{port}").parse().unwrap();
                let mut out = vec![b'{'];
                let (mut copy, mut whole) = (Vec::new(), Vec::new());
                line(&text, time, Some(peer)).write_json(&mut out, None).copy(&mut copy, text.as_bytes());
                line(&text, time, Some(peer)).write_json(&mut whole, Some(text.as_bytes()));
                prop_assert_eq!(copy, whole);
                out.push(b'}');
                prop_assert!(!out.contains(&b'\n'));
                let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
                prop_assert_eq!(read["time"].as_str().unwrap(), humantime::format_rfc3339_millis(time).to_string());
                prop_assert_eq!(read["path"].as_str().unwrap(), text.as_str());
                prop_assert_eq!(read["peer"].as_str().unwrap(), peer.to_string());
                prop_assert_eq!(&read["bytes_sent"], &serde_json::json!(u64::MAX));
                prop_assert!(read.get("plugin").is_none());
            }
        }
    }
}
