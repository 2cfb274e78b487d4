//! A plugin's answer on its way back: its messages' lengths are checked as they pass, and what breaks in the
//! middle becomes a status in the trailers.

use super::refusal;
use bytes::Bytes;
use bytestring::ByteString;
use http_body::Frame;
use prism_filters::{
    Reason, Rejection, Rpc,
    body::{BodyError, Duplex, Framing},
};
use prism_plugin_abi::Payload;
use prism_plugin_host::{InFlight, ReplySource};
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

type Cut = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An answer that is still arriving.
pub(super) struct Reply {
    source: Option<Box<dyn ReplySource>>,
    lengths: Lengths,
    /// Held until the answer is over: an instance is retired only when its calls are done.
    _backend: InFlight,
    /// Resolves when a replaced instance waits no longer for its streams. Unary calls have no need of it: they
    /// end by themselves.
    cut: Option<Cut>,
    plugin: ByteString,
}

impl Reply {
    pub(super) fn new(
        source: Box<dyn ReplySource>,
        backend: InFlight,
        rpc: Rpc,
        limit: usize,
        plugin: ByteString,
    ) -> Self {
        let cut = (rpc == Rpc::Streaming).then(|| {
            let backend = Arc::clone(&*backend);
            Box::pin(async move { backend.cut().await }) as Cut
        });
        Self {
            source: Some(source),
            lengths: Lengths::new(limit, rpc == Rpc::Unary),
            _backend: backend,
            cut,
            plugin,
        }
    }

    fn fail(&mut self, rejection: Rejection) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // Dropping the source cancels the call.
        self.source = None;
        Poll::Ready(Some(Err(rejection.into())))
    }
}

impl Duplex for Reply {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let Poll::Ready(frame) = source.poll_frame(cx) else {
            let Some(cut) = &mut self.cut else { return Poll::Pending };
            ready!(cut.as_mut().poll(cx));
            return self.fail(
                Rejection::new(Reason::Reloaded, "the plugin instance was replaced: open the stream again")
                    .about_plugin(&self.plugin.clone()),
            );
        };
        match frame {
            Some(Ok(frame)) => {
                let checked = match frame.data_ref() {
                    Some(data) => self.lengths.check(data, &self.plugin),
                    None if succeeded(&frame) => self.lengths.check_end(&self.plugin),
                    None => Ok(()),
                };
                if let Err(rejection) = checked {
                    return self.fail(rejection);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let rejection = refusal(error, &self.plugin);
                self.fail(rejection)
            }
            None => {
                self.source = None;
                Poll::Ready(None)
            }
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(source) = &mut self.source {
            source.poll_progress(cx);
        }
        Poll::Pending
    }
}

fn succeeded(frame: &Frame<Bytes>) -> bool {
    frame.trailers_ref().and_then(|trailers| trailers.get("grpc-status")).is_some_and(|status| status == "0")
}

/// Checks an answer that is all at hand.
pub(super) fn check_whole(
    messages: &Payload,
    unary: bool,
    limit: usize,
    plugin: &str,
) -> Result<(), Rejection> {
    let mut lengths = Lengths::new(limit, unary);
    messages.pieces().try_for_each(|piece| lengths.check(piece, plugin))?;
    lengths.check_end(plugin)
}

/// Checks the messages of an answer by their length prefixes.
pub(super) struct Lengths {
    limit: usize,
    unary: bool,
    messages: usize,
    framing: Framing,
}

impl Lengths {
    /// `unary`: exactly one message may come, or none where the status says why.
    pub(super) fn new(limit: usize, unary: bool) -> Self {
        Self { limit, unary, messages: 0, framing: Framing::default() }
    }

    /// The answer ends here. A success that ends inside a message is none.
    pub(super) fn check_end(&self, plugin: &str) -> Result<(), Rejection> {
        if self.framing.is_between() {
            return Ok(());
        }
        Err(Rejection::new(
            Reason::PluginProtocol,
            format!("plugin `{plugin}` ended its answer inside a message"),
        )
        .about_plugin(plugin))
    }

    pub(super) fn check(&mut self, piece: &Bytes, plugin: &str) -> Result<(), Rejection> {
        let Self { limit, unary, messages, framing } = self;
        framing.follow(piece, |flag, length| {
            *messages += 1;
            announced(flag, length, *unary && *messages > 1, *limit, plugin)
        })
    }
}

fn announced(
    flag: u8,
    length: usize,
    one_too_many: bool,
    limit: usize,
    plugin: &str,
) -> Result<(), Rejection> {
    if one_too_many {
        let message = format!("plugin `{plugin}` answered a unary call with more than one message");
        return Err(Rejection::new(Reason::PluginProtocol, message).about_plugin(plugin));
    }
    if flag != 0 {
        return Err(Rejection::new(
            Reason::PluginProtocol,
            format!("plugin `{plugin}` compressed its answer, which it must not"),
        )
        .about_plugin(plugin));
    }
    if length > limit {
        return Err(Rejection::new(
            Reason::MessageTooLarge,
            format!(
                "the answer is a message of {length} bytes, above the namespace's limits.max_message_bytes of {limit}"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_followed_through_any_cut() {
        let stream = [&[0, 0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 4], b"defg"].concat();
        for size in 1..=stream.len() {
            let mut lengths = Lengths::new(4, false);
            for piece in stream.chunks(size) {
                lengths.check(&Bytes::copy_from_slice(piece), "p").unwrap();
            }
            let mut strict = Lengths::new(3, false);
            let refused =
                stream.chunks(size).find_map(|piece| strict.check(&Bytes::copy_from_slice(piece), "p").err());
            assert_eq!(refused.unwrap().reason(), Reason::MessageTooLarge);
        }
        let mut unary = Lengths::new(4, true);
        let refused = unary.check(&Bytes::from(stream.clone()), "p").unwrap_err();
        assert_eq!(refused.reason(), Reason::PluginProtocol);
        let mut cut = Lengths::new(4, true);
        cut.check(&Bytes::copy_from_slice(&stream[..7]), "p").unwrap();
        assert_eq!(cut.check_end("p").unwrap_err().reason(), Reason::PluginProtocol);
        let compressed = Bytes::from_static(&[1, 0, 0, 0, 0]);
        assert_eq!(
            Lengths::new(9, false).check(&compressed, "p").unwrap_err().reason(),
            Reason::PluginProtocol
        );
    }
}
