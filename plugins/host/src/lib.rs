//! The proxy's side of a plugin: channels, transports, instances and their supervision.
//!
//! A request takes a [`Backend`] out of its namespace's [`NamespaceSlot`] and forwards through the
//! [`PluginChannel`] it finds there. The control plane applies an [`InstanceSpec`] to the slot; a supervisor
//! per backend describes, initializes and watches the plugin, and never stands in a request's way.

mod channel;
mod frames;
mod grpc;
mod http;
mod http2;
mod in_process;
mod instance;
mod status;
mod supervisor;
#[cfg(test)]
mod testing;
mod upstream;
mod worker;

pub use channel::{
    BoxError, ForwardError, Forwarding, PluginChannel, ReplyBody, ReplySource, Rpc, WireBody, WireReply,
    WireSource,
};
pub use grpc::{UnaryCall, timeout as grpc_timeout};
pub use http::{
    Cluster, Outgoing, Reply as HttpReply, ReplyBody as HttpBody, Service, ServicePlace, ServiceSpec, Version,
};
pub use in_process::{InProcessChannel, InProcessPlugin, LongPolls};
pub use instance::{
    Applied, Backend, Counted, DeclaredMethod, EndpointStatus, Held, InFlight, InstanceSpec, NamespaceSlot,
    OperationTable, PluginSpec, Remote, Retired, Schema, Schemas, SeriesBudget, Settings, State, Status,
    SupervisionOptions, Transport, TypedMethod, Types,
};
pub use status::{error_trailers, ok_headers, ok_trailers};
pub use upstream::{Protocol, ProtocolChoice, RemoteEndpoint, RemoteTls};
pub use worker::WorkerLocal;
