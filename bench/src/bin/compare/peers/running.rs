//! A peer that runs: started, checked, and gone when dropped.

use super::{Peer, Programs, Setup, Site};
use crate::{
    call::Call,
    child::{LOAD_CORE, Owned, PROXY_CORE, unless_interrupted},
    client::{Client, answer, initialize},
    error::{Error, io},
    proof::{Receipt, refusals},
};
use prism_platform::{Address, time::sleep};
use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tokio::runtime::Runtime;

/// How long a peer may take to start: Envoy, the slowest, needs a second on an idle machine.
const START: Duration = Duration::from_secs(20);
/// Between two attempts to reach it.
const RETRY: Duration = Duration::from_millis(25);

/// A peer with its plugin.
pub(crate) struct Running {
    pub(crate) name: &'static str,
    /// What it was started as.
    pub(crate) peer: Peer,
    pub(crate) folder: PathBuf,
    pub(crate) address: Address,
    pub(crate) call: Call,
    pub(crate) proxy: Option<Owned>,
    pub(crate) plugin: Option<Owned>,
    /// Of a secured one: how it shows that it did its work.
    pub(crate) receipt: Option<Receipt>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.proxy = None;
        if let Some(receipt) = &self.receipt {
            receipt.remove();
        }
    }
}

impl Running {
    /// Starts a peer in a folder of its own under `base`, and waits until it answers rightly.
    pub(crate) fn start(
        peer: &Peer,
        programs: &Programs,
        base: &Path,
        runtime: &Runtime,
    ) -> Result<Self, Error> {
        let folder = base.join(peer.name);
        let _ = fs::remove_dir_all(&folder);
        io(format!("create {}", folder.display()), fs::create_dir_all(&folder))?;
        let [port, spare] = free_ports()?;
        let plugin = folder.join("plugin.sock");
        let site = Site { programs, folder: &folder, plugin: plugin.clone(), port, spare };
        let Setup { proxy, plugin: beside, address, call, receipt } = (peer.setup)(&site)?;
        let (name, peer) = (peer.name, *peer);
        let mut running = Self { name, peer, folder, address, call, proxy: None, plugin: None, receipt };
        if beside {
            let mut command = Command::new(&programs.echo_plugin);
            command.arg(&plugin);
            let log = running.folder.join("plugin.log");
            running.plugin = Some(Owned::start(&mut command, LOAD_CORE, log)?);
            running.wait(runtime, async || initialize(&plugin).await)?;
        }
        if let Some(mut command) = proxy {
            command.current_dir(&running.folder);
            let log = running.folder.join("proxy.log");
            running.proxy = Some(Owned::start(&mut command, PROXY_CORE, log)?);
        }
        let (address, call) = (running.address.clone(), running.call.clone());
        running.wait(runtime, async || Client::open(&address).await?.check(&call, 128).await)?;
        if running.receipt.is_some() {
            refusals(name, runtime, &address, &call)?;
        }
        Ok(running)
    }

    /// One call with the payload that will be measured, looked at to the last byte.
    pub(crate) fn check(&self, runtime: &Runtime, payload: usize) -> Result<(), Error> {
        let checked =
            runtime.block_on(async { Client::open(&self.address).await?.check(&self.call, payload).await });
        answer(self.name, checked)
    }

    /// Empties the access log: at 100,000 lines a second a run would fill a disk, and writing it back would
    /// disturb the visits that follow. The proxy appends, so it goes on at the new end.
    pub(crate) fn shorten_logs(&self) {
        // Most peers write none.
        if let Ok(log) = fs::OpenOptions::new().write(true).open(self.folder.join("access.log")) {
            let _ = log.set_len(0);
        }
    }

    fn wait(
        &mut self,
        runtime: &Runtime,
        attempt: impl AsyncFn() -> Result<(), String>,
    ) -> Result<(), Error> {
        let mut problem = String::new();
        for _ in 0..START.as_millis() / RETRY.as_millis() {
            match runtime.block_on(attempt()) {
                Ok(()) => return Ok(()),
                Err(error) => problem = error,
            }
            unless_interrupted()?;
            for process in [&mut self.proxy, &mut self.plugin].into_iter().flatten() {
                if let Some(status) = process.ended()? {
                    let problem = format!("it ended with {status}: {}", process.said());
                    return Err(Error::Answer { peer: self.name.to_owned(), problem });
                }
            }
            runtime.block_on(async { sleep(RETRY).await });
        }
        let log = self.proxy.as_ref().or(self.plugin.as_ref()).map(Owned::said).unwrap_or_default();
        Err(Error::NotReady { peer: self.name.to_owned(), waited: START, problem, log })
    }
}

/// Two ports that were free a moment ago.
fn free_ports() -> Result<[u16; 2], Error> {
    let bind = || io("find a free port", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let held = [bind()?, bind()?];
    let port = |listener: &TcpListener| io("find a free port", listener.local_addr()).map(|a| a.port());
    Ok([port(&held[0])?, port(&held[1])?])
}
