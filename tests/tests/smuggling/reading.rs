//! What servers may take a stream of bytes for: several lenient readings of HTTP/1.1, as real servers differ.

/// One way to read a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Where a message has both, `Content-Length` is believed and not `Transfer-Encoding`.
    length_first: bool,
    /// Of several fields of one name, the last counts.
    last: bool,
    /// A line ends at a bare LF too.
    bare_lf: bool,
}

/// A request, as somebody read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The request line's first two words; all of the line where it has no three.
    pub(crate) method: String,
    pub(crate) target: String,
    /// Name and value, as they were written, without the space around them.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Its end was there.
    pub(crate) complete: bool,
}

impl Message {
    /// The values of a field; `_` counts as `-`, and space around a name does not count.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = |(key, _): &&(String, String)| key.replace('_', "-").eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }
}

/// Every reading.
pub(crate) fn all() -> Vec<Reading> {
    let both = [false, true];
    both.into_iter()
        .flat_map(|length_first| both.map(|last| (length_first, last)))
        .flat_map(|(length_first, last)| both.map(|bare_lf| Reading { length_first, last, bare_lf }))
        .collect()
}

/// How a body ends.
enum Framing {
    Length(usize),
    Chunked,
}

impl Reading {
    /// The requests in a stream. What begins as none is one of a strange method.
    pub(crate) fn requests(self, mut stream: &[u8]) -> Vec<Message> {
        let mut found = Vec::new();
        loop {
            // RFC 9112 section 2.2: a server "SHOULD ignore at least one empty line (CRLF) received prior to the
            // request-line".
            while let [b'\r' | b'\n', rest @ ..] = stream {
                stream = rest;
            }
            if stream.is_empty() {
                return found;
            }
            let message = self.request(&mut stream);
            let complete = message.complete;
            found.push(message);
            if !complete {
                return found;
            }
        }
    }

    /// The first line, without its end, which is taken off.
    fn line(self, stream: &mut &[u8]) -> Option<String> {
        let end = (0..stream.len()).find_map(|at| match &stream[at..] {
            [b'\r', b'\n', ..] => Some((at, at + 2)),
            [b'\n', ..] if self.bare_lf => Some((at, at + 1)),
            _ => None,
        });
        let (end, next) = end?;
        let line = String::from_utf8_lossy(&stream[..end]).into_owned();
        *stream = &stream[next..];
        Some(line)
    }

    fn request(self, stream: &mut &[u8]) -> Message {
        let cut = String::from_utf8_lossy(stream).into_owned();
        let mut message = Message {
            method: String::new(),
            target: cut,
            fields: Vec::new(),
            body: Vec::new(),
            complete: false,
        };
        let Some(line) = self.line(stream) else { return message };
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(method), Some(target), Some(_)) => {
                message.method = method.to_owned();
                message.target = target.to_owned();
            }
            _ => message.target = line,
        }
        loop {
            let Some(line) = self.line(stream) else { return message };
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            message.fields.push((trimmed(name).to_owned(), trimmed(value).to_owned()));
        }
        message.complete = match self.framing(&message) {
            Framing::Chunked => self.chunks(stream, &mut message.body),
            Framing::Length(length) => {
                let (body, rest) = stream.split_at(length.min(stream.len()));
                message.body = body.to_vec();
                *stream = rest;
                body.len() == length
            }
        };
        message
    }

    fn framing(self, message: &Message) -> Framing {
        let pick = |values: &[&str]| match self.last {
            true => values.last().copied().map(str::to_owned),
            false => values.first().copied().map(str::to_owned),
        };
        let length = pick(&message.all("content-length")).map(|value| lenient(&value, 10));
        let chunked = pick(&message.all("transfer-encoding"))
            .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
        match length {
            Some(length) if self.length_first || !chunked => Framing::Length(length),
            _ if chunked => Framing::Chunked,
            _ => Framing::Length(0),
        }
    }

    /// Whether the last chunk and the trailers were there.
    fn chunks(self, stream: &mut &[u8], body: &mut Vec<u8>) -> bool {
        loop {
            let Some(line) = self.line(stream) else { return false };
            let length = lenient(&line, 16);
            if length == 0 {
                break;
            }
            if stream.len() < length {
                return false;
            }
            let (chunk, rest) = stream.split_at(length);
            body.extend_from_slice(chunk);
            *stream = rest;
            // The end of a chunk's data is not insisted on.
            for end in [b'\r', b'\n'] {
                if stream.first() == Some(&end) {
                    *stream = &stream[1..];
                }
            }
        }
        loop {
            match self.line(stream) {
                None => return false,
                Some(line) if line.is_empty() => return true,
                Some(_) => {}
            }
        }
    }
}

/// Without the space, and what some take for space, around it.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii_whitespace() || c.is_control() || c == '"')
}

/// A number, as a parser reads it that stops at the first thing that is no digit, forgives a sign and a `0x`, and
/// overflows at 64 bits without noticing.
fn lenient(text: &str, radix: u32) -> usize {
    let text = trimmed(text);
    let text = text.strip_prefix('+').unwrap_or(text);
    let text = text.strip_prefix("0x").filter(|_| radix == 16).unwrap_or(text);
    let digits = text.chars().map_while(|c| c.to_digit(radix));
    let number = digits.fold(0_u64, |sum, digit| sum.wrapping_mul(radix.into()).wrapping_add(digit.into()));
    usize::try_from(number).unwrap_or(usize::MAX)
}
