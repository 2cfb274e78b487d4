//! What an encoder may put into its table.

/// Longer values would take the place of many others. An entry this long is an eighth of the table.
const LONGEST_VALUE: usize = 512;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Name and value, when they repeat.
    Index,
    /// The name alone; the value is another in each answer.
    IndexName,
    /// Nothing, and no intermediary may either. RFC 7541 section 7.1.3: "An encoder might also choose not to index values for
    /// header fields that are considered to be highly valuable or sensitive to recovery, such as the Cookie or
    /// Authorization header fields."
    Never,
}

impl Policy {
    pub(super) fn of(name: &[u8], value: usize, sensitive: bool) -> Self {
        match name {
            _ if sensitive => Self::Never,
            b"set-cookie" | b"cookie" | b"authorization" | b"proxy-authorization" => Self::Never,
            b"content-length" | b"x-request-id" | b"traceparent" | b"tracestate" | b"etag" => Self::IndexName,
            _ if value > LONGEST_VALUE => Self::IndexName,
            _ => Self::Index,
        }
    }
}
