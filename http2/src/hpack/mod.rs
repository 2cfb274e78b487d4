//! HPACK (RFC 7541): what a connection's header blocks say, and how its answers are written.
//!
//! [`Decoder`] reads the blocks of requests, which anybody may have written: whatever they hold, it costs time in
//! proportion to their length and memory in proportion to the table that we allow. [`Encoder`] writes the blocks of answers.

mod arena;
mod decoder;
mod encoder;
mod entry;
mod huffman;
mod integer;
mod known;
mod memo;
mod name;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;
use http::{
    HeaderName, HeaderValue, Method,
    uri::{Authority, PathAndQuery, Scheme},
};

/// The size of a dynamic table until a peer says otherwise, octets as RFC 7541 section 4.1 counts them.
///
/// RFC 9113 section 6.5.2, SETTINGS_HEADER_TABLE_SIZE: "The initial value is 4,096 octets."
pub(crate) const INITIAL_TABLE: usize = 4096;

/// What RFC 7541 section 4.1 adds to a field's name and value: "The size of an entry is the sum of its name's
/// length in octets (as defined in Section 5.2), its value's length in octets, and 32."
const OVERHEAD: usize = 32;

/// One field of a request's header block, checked as RFC 9113 sections 8.2.1 and 8.3.1 want it. What only the whole block
/// tells (order and number of the pseudo-headers, fields that HTTP/2 forbids) is left to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// `:method`.
    Method(Method),
    /// `:scheme`.
    Scheme(Scheme),
    /// `:authority`, a host and perhaps a port.
    Authority(Authority),
    /// `:path`, which is `*` or starts with a slash and has no fragment.
    Path(PathAndQuery),
    /// `:protocol` of RFC 8441.
    Protocol(HeaderValue),
    /// `:status`, which no request has.
    Status,
    /// Any other field; the value is marked sensitive where the peer said "never indexed".
    Header(HeaderName, HeaderValue),
}

/// Why a field that HPACK could read is none that HTTP/2 allows: the request is malformed (RFC 9113 section 8.1.1), the
/// connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// RFC 9113 section 8.2.1: "A field name MUST NOT contain characters in the ranges 0x00-0x20, 0x41-0x5a, or 0x7f-0xff
    /// (all ranges inclusive)"; beyond that it has to be a token (RFC 9110 section 5.6.2).
    #[error("a field's name is no token in lower case")]
    Name,
    /// RFC 9113 section 8.2.1: "A field value MUST NOT contain the zero value (ASCII NUL, 0x00), line feed (ASCII LF, 0x0a),
    /// or carriage return (ASCII CR, 0x0d) at any position" and "MUST NOT start or end with an ASCII whitespace character".
    #[error("a field's value has a control character, or whitespace at an end")]
    Value,
    /// RFC 9113 section 8.3: "Endpoints MUST NOT generate pseudo-header fields other than those defined in this document."
    #[error("a pseudo-header is none that HTTP/2 knows")]
    PseudoName,
    /// A pseudo-header whose value is none of its kind.
    #[error("a pseudo-header's value is none of its kind")]
    PseudoValue,
}

/// A block that is no HPACK. The tables of the two sides are no longer the same, so the connection has to end: RFC 9113
/// section 4.3: "A decoding error in a field block MUST be treated as a connection error (Section 5.4.1) of type COMPRESSION_ERROR."
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HpackError {
    /// The block ends inside a field.
    #[error("the header block ends inside a field")]
    Truncated,
    /// An integer of more octets than any that means something here.
    #[error("an integer of the header block is too large")]
    Integer,
    /// An index of zero or beyond the tables.
    #[error("the header block names an entry that no table has")]
    Index,
    /// Huffman code with an EOS symbol or wrong padding.
    #[error("a string of the header block is no Huffman code")]
    Huffman,
    /// A table size beyond what our settings allow.
    #[error("the header block asks for a larger table than the settings allow")]
    TableSize,
    /// A table size after the first field.
    #[error("the header block changes the table's size after its first field")]
    LateTableSize,
}
