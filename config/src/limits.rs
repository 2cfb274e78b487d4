//! What a listener allows its connections. Every default is meant to be safe on the open internet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Duration};

/// HTTP/2 settings and limits of a listener's connections (RFC 9113).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http2 {
    /// Streams a client may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS). 100 is the least that
    /// RFC 9113, section 6.5.2, recommends; more lets one connection hold more memory.
    #[schemars(extend("minimum" = 1, "maximum" = 2_147_483_647))]
    pub max_concurrent_streams: u32,
    /// Size of a request's header list, uncompressed, as RFC 9113, section 6.5.2, counts it. Answered
    /// 431 beyond. 16 KiB holds large tokens; a header list costs memory before anybody is
    /// authenticated.
    #[schemars(extend("minimum" = 1024, "maximum" = 16_777_216))]
    pub max_header_list_bytes: ByteSize,
    /// Header fields of a request. References into the compression table make thousands of fields out
    /// of a few bytes, so their number is bounded, not only their size.
    #[schemars(extend("minimum" = 1, "maximum" = 10_000))]
    pub max_header_fields: usize,
    /// What a client may send on one stream before it is read. 64 KiB keeps a link of 10 ms busy at
    /// 50 Mbit/s and bounds what a stalled stream holds.
    #[schemars(extend("minimum" = 1, "maximum" = 2_147_483_647))]
    pub initial_stream_window_bytes: ByteSize,
    /// What a client may send on all streams of a connection before it is read. Well above the
    /// stream's window, or one stalled body stalls its siblings. Never below 65,535, where every
    /// connection begins (RFC 9113, section 6.9.2).
    #[schemars(extend("minimum" = 65_535, "maximum" = 2_147_483_647))]
    pub initial_connection_window_bytes: ByteSize,
    /// What the stream's window may grow to while bodies use a whole one within a round trip. 1 MiB keeps
    /// 1 Gbit/s over 8 ms busy.
    #[schemars(extend("minimum" = 1, "maximum" = 2_147_483_647))]
    pub max_stream_window_bytes: ByteSize,
    /// What the connection's window may then grow to, as far as `window_budget_bytes` allows. Four streams'
    /// windows. Not above the initial size: no growth.
    #[schemars(extend("minimum" = 65_535, "maximum" = 2_147_483_647))]
    pub max_connection_window_bytes: ByteSize,
    /// How much of one answer is handed on to be written at a time. Twice that is kept of all answers of a connection
    /// whose client does not read. One stream window: more only moves the waiting into our memory.
    #[schemars(extend("minimum" = 1024, "maximum" = 1_073_741_824))]
    pub max_send_buffer_bytes: ByteSize,
    /// Largest frame accepted (SETTINGS_MAX_FRAME_SIZE, RFC 9113, section 6.5.2). The protocol's own
    /// least: larger frames let one stream hold the connection for longer.
    #[schemars(extend("minimum" = 16_384, "maximum" = 16_777_215))]
    pub max_frame_bytes: ByteSize,
    /// A connection that was silent for this long is sent a PING. 30 s is below the idle time-outs of
    /// common NATs and load balancers.
    pub keepalive_interval: Duration,
    /// A PING that is not answered for this long closes the connection. 10 s outlasts a few lost
    /// packets.
    pub keepalive_timeout: Duration,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            max_header_list_bytes: ByteSize::kib(16),
            max_header_fields: 100,
            initial_stream_window_bytes: ByteSize::kib(64),
            initial_connection_window_bytes: ByteSize::mib(1),
            max_stream_window_bytes: ByteSize::mib(1),
            max_connection_window_bytes: ByteSize::mib(4),
            max_send_buffer_bytes: ByteSize::kib(64),
            max_frame_bytes: ByteSize::kib(16),
            keepalive_interval: Duration::seconds(30),
            keepalive_timeout: Duration::seconds(10),
        }
    }
}

/// HTTP/1.1 limits of a listener's connections (RFC 9112).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http1 {
    /// How long a connection may wait for a request's head to be complete. It also bounds the idle time
    /// between requests, because waiting for a head begins when the answer before it has ended. 10 s is
    /// ample for a head over a slow link and stops clients that send one byte by byte; clients of HTTP/1
    /// reconnect cheaply.
    pub header_timeout: Duration,
    /// Header fields of a request; the same number as for HTTP/2.
    #[schemars(extend("minimum" = 1, "maximum" = 10_000))]
    pub max_headers: usize,
    /// Size of a request's head, which is also the connection's read buffer. Twice HTTP/2's header list,
    /// because it holds the separators and the request line too. The HTTP/1 library refuses less than
    /// 8,192.
    #[schemars(extend("minimum" = 8_192, "maximum" = 16_777_216))]
    pub max_header_bytes: ByteSize,
}

impl Default for Http1 {
    fn default() -> Self {
        Self { header_timeout: Duration::seconds(10), max_headers: 100, max_header_bytes: ByteSize::kib(32) }
    }
}

/// Limits of a listener's connections that do not depend on the protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionLimits {
    /// Connections this listener has open at once; one beyond is closed as soon as it is accepted. 10,000
    /// stays below the descriptors that a service is commonly allowed.
    #[schemars(extend("minimum" = 1, "maximum" = 10_000_000))]
    pub max_connections: usize,
    /// From accepting a connection until its protocol is known and its preface read, the TLS handshake
    /// included. Bounds what a client holds that never says anything.
    pub handshake_timeout: Duration,
    /// How long a stream or body that has something pending may make no progress before it is cut: bytes
    /// without window, or an unfinished message. Silence between messages is no stall.
    pub stall_timeout: Duration,
    /// How long an HTTP/2 connection without any request may stay; for HTTP/1.1, `http1.header_timeout`
    /// says. Pings prove that the peer lives, not that it still needs us: one hour leaves pooled
    /// connections alone through quiet spells and gives back the descriptors of forgotten ones.
    pub idle_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            handshake_timeout: Duration::seconds(10),
            stall_timeout: Duration::seconds(30),
            idle_timeout: Duration::seconds(3_600),
        }
    }
}
