//! What is sent.

use std::time::Duration;

/// Unary calls with a payload each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unary {
    /// Connections.
    pub(crate) connections: u32,
    /// Calls that are open at once on each.
    pub(crate) streams: u32,
    /// Bytes there and back.
    pub(crate) payload: usize,
}

impl Unary {
    /// Whether there are so many calls a second that to log each of them shows.
    pub(crate) fn is_small(&self) -> bool {
        self.payload < 64 << 10
    }

    /// The least length of a phase: time for a score of calls, at the 20 calls of 16 MiB a second that peers do.
    pub(crate) fn least(&self) -> Duration {
        Duration::from_millis(self.payload as u64 >> 14)
    }
}

/// One thing that every peer is put through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// h2load.
    Unary(Unary),
    /// One bidirectional stream on one connection.
    Stream {
        /// Bytes of a message there and back.
        payload: usize,
        /// Messages under way at once. 1: ping-pong.
        depth: usize,
    },
    /// Connections that make one call each and then stay.
    Idle {
        /// How many.
        connections: u32,
    },
}

/// A workload by its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// What `--shapes` and the tables call it.
    pub(crate) name: &'static str,
    /// What it is, for the report.
    pub(crate) about: &'static str,
    /// What it does.
    pub(crate) kind: Kind,
}

/// All of them, in the order of the tables.
pub(crate) fn all() -> Vec<Workload> {
    let unary = |name, about, connections, streams, payload| Workload {
        name,
        about,
        kind: Kind::Unary(Unary { connections, streams, payload }),
    };
    vec![
        unary("4x32", "unary, 128 B, 4 connections with 32 calls at once on each", 4, 32, 128),
        unary("4x8", "unary, 128 B, 4 connections with 8 calls at once on each", 4, 8, 128),
        unary("16x4", "unary, 128 B, 16 connections with 4 calls at once on each", 16, 4, 128),
        unary("64x1", "unary, 128 B, 64 connections with 1 call at once on each", 64, 1, 128),
        unary("1x1", "unary, 128 B, one call at a time", 1, 1, 128),
        unary("1MiB", "unary, 1 MiB each way, 1 connection with 4 calls at once", 1, 4, 1 << 20),
        unary("16MiB", "unary, 16 MiB each way, 1 connection with 2 calls at once", 1, 2, 16 << 20),
        Workload {
            name: "ping-pong",
            about: "one bidirectional stream, messages of 128 B, one at a time",
            kind: Kind::Stream { payload: 128, depth: 1 },
        },
        Workload {
            name: "stream",
            about: "one bidirectional stream, messages of 64 KiB, 16 under way",
            kind: Kind::Stream { payload: 64 << 10, depth: 16 },
        },
        Workload {
            name: "idle",
            about: "1,000 connections that made one call each and then stay; peers started anew for it",
            kind: Kind::Idle { connections: 1000 },
        },
    ]
}

impl Workload {
    /// Whether it is one of the shapes of small unary calls.
    pub(crate) fn is_small(&self) -> bool {
        matches!(self.kind, Kind::Unary(Unary { payload: 128, .. }))
    }
}
