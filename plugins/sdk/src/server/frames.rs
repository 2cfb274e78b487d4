//! Calls over Prism frames: one task per connection, and none per call.

mod call;
mod connection;
mod inbox;
#[cfg(test)]
mod tests;
mod timers;
mod wake;

use super::{
    LINGER, ServeOptions,
    phase::{Phase, reached},
};
use connection::{Connection, Ended};
use prism_plugin_abi::Plugin;
use std::{future::poll_fn, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::timeout,
};

/// What all connections of a server have in common.
#[derive(Clone)]
pub(super) struct Server {
    plugin: Arc<dyn Plugin>,
    max_message_bytes: usize,
    phases: watch::Receiver<Phase>,
}

impl Server {
    pub(super) fn new(
        plugin: Arc<dyn Plugin>,
        options: &ServeOptions,
        phases: watch::Receiver<Phase>,
    ) -> Self {
        Self { plugin, max_message_bytes: options.max_message_bytes, phases }
    }

    /// Serves a connection from its preface to its end. Dropped before, it ends the connection's calls where
    /// they are.
    pub(super) async fn serve<Io: AsyncRead + AsyncWrite + Unpin>(self, mut io: Io) {
        let draining = Box::pin(reached(&self.phases, Phase::Draining));
        let cut = Box::pin(reached(&self.phases, Phase::Cut));
        let mut connection = Connection::new(&self, draining, cut);
        let ended = poll_fn(|cx| connection.poll(cx, &mut io)).await;
        if ended == Ended::Lost {
            return;
        }
        let goodbye = async {
            poll_fn(|cx| connection.poll_flush(cx, &mut io)).await;
            io.shutdown().await?;
            // A socket that is closed with bytes unread takes back what it sent last.
            let mut unread = [0; 1024];
            while io.read(&mut unread).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        // Who does not read it in time, or closed already, does not want it.
        let _ = timeout(LINGER, goodbye).await;
    }
}
