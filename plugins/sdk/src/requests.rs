//! The client's messages of a stream in both directions.

use futures_core::Stream;
use prism_plugin_abi::{ByteString, Error, Request, RequestStream};
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// The messages of a `bidi` operation, the first included, each read as `M` when it is asked for. One that
/// is of another type is an error in its place.
pub struct Requests<M> {
    operation: ByteString,
    first: Option<Request>,
    rest: RequestStream,
    read: fn(Request) -> Result<M, Error>,
}

impl<M> Requests<M> {
    pub(crate) fn new(first: Request, rest: RequestStream, read: fn(Request) -> Result<M, Error>) -> Self {
        Self { operation: first.operation.clone(), first: Some(first), rest, read }
    }
}

impl<M> Stream for Requests<M> {
    type Item = Result<M, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = match this.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => this.rest.as_mut().poll_next(context),
        };
        next.map(|item| {
            item.map(|request| {
                // Later messages may leave the name out; errors name it all the same.
                request
                    .and_then(|request| (this.read)(Request { operation: this.operation.clone(), ..request }))
            })
        })
    }
}
