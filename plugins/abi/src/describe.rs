//! What a plugin says of itself before it is given any configuration.

use bytes::Bytes;
use std::fmt;

/// What an operation does, for authorization and retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Not said: treated as [`Kind::Admin`].
    #[default]
    Unspecified,
    /// Changes nothing.
    Read,
    /// Changes data.
    Write,
    /// Changes more than data.
    Admin,
}

/// In one word, as configurations write it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unspecified => "unspecified",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// One operation.
#[derive(Clone, Debug, Default)]
pub struct OperationInfo {
    /// Its name, as in `ExecuteRequest.operation`.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Doing it twice leaves what doing it once leaves.
    pub idempotent: bool,
    /// It answers with many messages.
    pub server_streaming: bool,
    /// It takes many messages.
    pub client_streaming: bool,
    /// Full name of its parameter message.
    pub params_type: String,
    /// Full name of its result message.
    pub result_type: String,
    /// It takes raw bytes too.
    pub raw: bool,
    /// The typed method it is, `prism.kv.v1.KeyValueService/Get`.
    pub service_method: String,
}

impl OperationInfo {
    /// Called through `ExecuteStream`; all others through `Execute`.
    #[must_use]
    pub fn streaming(&self) -> bool {
        self.server_streaming || self.client_streaming
    }
}

/// What a plugin is.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it can do.
    pub operations: Vec<OperationInfo>,
    /// The interfaces it implements whole, `prism.kv.v1`.
    pub interfaces: Vec<String>,
    /// An encoded `google.protobuf.FileDescriptorSet` with the types that `operations` name.
    pub file_descriptor_set: Bytes,
    /// Full name of its configuration message; empty: a `google.protobuf.Struct`.
    pub config_type: String,
}
