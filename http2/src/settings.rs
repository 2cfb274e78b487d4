//! What a connection is served with.

/// What a connection is served with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many streams the peer may have open.
    pub max_concurrent_streams: u32,
    /// How large a request's header fields may be, as RFC 9113 section 6.5.2 counts them. A larger one is answered with 431.
    pub max_header_list: u32,
    /// The largest frame that is taken: 16,384 to 16,777,215 bytes.
    pub max_frame: u32,
    /// What a stream may send ahead of its reader, in bytes.
    pub stream_window: u32,
    /// What all streams together may, in bytes.
    pub connection_window: u32,
    /// How much of one body is put into the output at a time, in bytes.
    pub most_turn: usize,
    /// How much may wait for the socket, of all bodies, in bytes.
    pub most_output: usize,
}
