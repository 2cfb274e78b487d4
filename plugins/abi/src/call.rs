//! One call: what is asked, what is answered, and the two streams of a streaming call.

use crate::{Error, Payload};
use bytestring::ByteString;
use futures_core::Stream;
use std::{future::Future, pin::Pin};

/// Parameters or a result.
#[derive(Clone, Debug, Default)]
pub enum Data {
    /// Neither was given.
    #[default]
    Empty,
    /// A protobuf message, still encoded, and the URL that names its type
    /// (`type.googleapis.com/<full name>`).
    Typed {
        /// `google.protobuf.Any.type_url`
        type_url: ByteString,
        /// `google.protobuf.Any.value`
        value: Payload,
    },
    /// Bytes that nobody but the two ends understands.
    Raw(Payload),
}

/// One `ExecuteRequest` or `StreamRequest`.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The operation's name. In a stream the first message fixes it; later ones may leave it empty.
    pub operation: ByteString,
    /// Its parameters.
    pub params: Data,
    /// What the client says besides. Its word and nothing more: trusted facts are in
    /// [`CallContext`](crate::CallContext).
    pub metadata: Vec<(ByteString, ByteString)>,
}

impl Request {
    /// The value of a metadata entry; the last one where a name is repeated, as in a protobuf map.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.iter().rev().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }
}

/// A unary call under way. Whoever holds it polls it; dropping it cancels the call.
pub type Call = Pin<Box<dyn Future<Output = Result<Data, Error>> + Send>>;

/// The client's messages. "Not polled" is back-pressure; "dropped" is cancellation. An error ends it.
pub type RequestStream = Pin<Box<dyn Stream<Item = Result<Request, Error>> + Send>>;

/// The plugin's messages. "Not polled" is back-pressure; "dropped" is cancellation. An error ends it.
pub type ResponseStream = Pin<Box<dyn Stream<Item = Result<Data, Error>> + Send>>;

/// A streaming call until its response headers may be sent: what a plugin promises to report "from
/// here on" (a subscription) is in place when this resolves.
pub type Opening = Pin<Box<dyn Future<Output = Result<ResponseStream, Error>> + Send>>;
