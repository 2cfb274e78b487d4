//! The peers: one file each says how it is configured and started.

mod direct;
mod envoy;
mod haproxy;
mod nginx;
mod prism;
mod programs;
mod relay;
mod running;

pub(crate) use programs::Programs;
pub(crate) use running::Running;

use crate::{
    call::{Call, Form},
    client::{INSTANCE, NAMESPACE},
    error::Error,
    proof::Receipt,
    workload::Workload,
};
use prism_platform::Address;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

/// One way from the load to the echo.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    /// What `--only` and the tables call it.
    pub(crate) name: &'static str,
    /// What it is, for the report.
    pub(crate) about: &'static str,
    /// The only workload that visits it. None: all do.
    pub(crate) only_at: Option<&'static str>,
    setup: fn(&Site<'_>) -> Result<Setup, Error>,
}

/// Where a peer is set up.
struct Site<'a> {
    programs: &'a Programs,
    /// A folder of its own.
    folder: &'a Path,
    /// Where its plugin listens.
    plugin: PathBuf,
    /// A free port for it to listen on.
    port: u16,
    /// Another one, for what it wants besides.
    spare: u16,
}

/// What there is to start, and how it is called then.
struct Setup {
    /// The proxy. None: the plugin is called directly.
    proxy: Option<Command>,
    /// Whether there is a plugin process.
    plugin: bool,
    address: Address,
    call: Call,
    /// Of a secured one: how it shows that it did its work.
    receipt: Option<Receipt>,
}

/// All of them, in the order of the tables.
pub(crate) fn all() -> Vec<Peer> {
    let mut peers = vec![direct::PEER, relay::PEER, haproxy::PEER, nginx::PEER];
    peers.extend(envoy::PEERS);
    peers.extend(prism::PEERS);
    peers
}

impl Peer {
    /// Whether `workload` visits it.
    pub(crate) fn takes(&self, workload: &Workload) -> bool {
        self.only_at.is_none_or(|only| only == workload.name)
    }
}

impl Site<'_> {
    fn address(&self) -> Address {
        Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))
    }

    /// Writes a file into its folder.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        crate::error::io(format!("write {}", path.display()), fs::write(&path, text))?;
        Ok(path)
    }

    /// A proxy that passes calls of a plugin on as they are.
    fn pass_through(&self, proxy: Command) -> Setup {
        Setup {
            proxy: Some(proxy),
            plugin: true,
            address: self.address(),
            call: plugin_call(),
            receipt: None,
        }
    }
}

/// Where the secured chains are compared. One shape: what they cost is work per call, which is the same in every shape of small
/// calls.
const SECURED_AT: &str = "4x32";

/// A call as prism-edge makes it to a plugin over gRPC.
fn plugin_call() -> Call {
    Call {
        unary: "/prism.plugin.BackendPlugin/Execute".to_owned(),
        stream: Some("/prism.plugin.BackendPlugin/ExecuteStream"),
        headers: vec![
            ("x-prism-instance", INSTANCE.to_string()),
            ("x-prism-namespace", NAMESPACE.to_owned()),
        ],
        form: Form::Execute,
    }
}
