//! The floor: bytes from one socket to the other.

use super::Peer;
use std::process::Command;

pub(super) const PEER: Peer = Peer {
    name: "relay",
    about: "a byte relay that parses nothing: the floor",
    only_at: None,
    setup: |site| {
        let mut command = Command::new(&site.programs.relay);
        command.arg(site.port.to_string()).arg(&site.plugin);
        Ok(site.pass_through(command))
    },
};
