//! What is sent.

use crate::client::{echo, frame, pattern};
use bytes::Bytes;

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
    /// The bytes of a request's body.
    pub(crate) fn body(&self) -> Bytes {
        frame(&echo("echo", pattern(self.payload)))
    }
}

/// One thing that every peer is put through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// h2load.
    Unary(Unary),
}

/// A workload by its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// What `--shapes` and the tables call it.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) kind: Kind,
}

/// All of them, in the order of the tables.
pub(crate) fn all() -> Vec<Workload> {
    let small = |name, connections, streams| Workload {
        name,
        kind: Kind::Unary(Unary { connections, streams, payload: 128 }),
    };
    let large = |name, payload, streams| Workload {
        name,
        kind: Kind::Unary(Unary { connections: 1, streams, payload }),
    };
    vec![
        small("4x32", 4, 32),
        small("4x8", 4, 8),
        small("16x4", 16, 4),
        small("64x1", 64, 1),
        small("1x1", 1, 1),
        large("1MiB", 1 << 20, 4),
        large("16MiB", 16 << 20, 2),
    ]
}
