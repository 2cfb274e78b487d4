//! HAProxy, HTTP/2 on both sides, no filter, no log.

use super::{Peer, programs::needed};
use std::process::Command;

pub(super) const PEER: Peer = Peer {
    name: "haproxy",
    about: "HAProxy, h2 on both sides, one thread, no filter, no log",
    only_at: None,
    setup: |site| {
        let config = site.write("haproxy.cfg", &config(site.port, &site.plugin.display().to_string()))?;
        let mut command = Command::new(needed(&site.programs.haproxy, "haproxy")?);
        command.arg("-db").arg("-f").arg(config);
        Ok(site.pass_through(command))
    },
};

/// The window is raised from 64 KiB to what prism-edge's plugins grant, so that large bodies do not wait for it.
fn config(port: u16, plugin: &str) -> String {
    format!(
        "global
  nbthread 1
  maxconn 4000
  tune.h2.initial-window-size 1048576

defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always

frontend edge
  bind 127.0.0.1:{port} proto h2
  default_backend plugin

backend plugin
  server plugin unix@{plugin} proto h2
"
    )
}
