//! The plugin itself: what is left when there is no proxy at all.

use super::{Peer, Setup, plugin_call};
use prism_platform::Address;

pub(super) const PEER: Peer = Peer {
    name: "direct",
    about: "the plugin's gRPC server called on its unix socket, no proxy",
    only_at: None,
    setup: |site| {
        Ok(Setup {
            proxy: None,
            plugin: true,
            address: Address::Unix(site.plugin.clone()),
            call: plugin_call(),
            receipt: None,
        })
    },
};
