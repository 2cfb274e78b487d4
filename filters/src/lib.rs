//! The filter chain: what flows through it, what a filter is, and how a refusal leaves it.
//!
//! To write a filter: a module of its own with a settings type, a type that implements [`Filter`] and
//! [`FilterType`], its tests, and one line in [`registry::builtin`].

pub mod audit;
pub mod auth;
pub mod authz;
pub mod body;
mod call;
mod caller;
mod clock;
mod context;
pub mod cors;
mod decorate;
pub mod fields;
mod filter;
pub mod grpc_web;
pub mod metrics;
mod recheck;
pub mod registry;
mod reject;
mod service;
mod text;
pub mod tls;
pub mod trace;
mod watched;

pub use body::Body;
pub use caller::{ANONYMOUS, Backing, Caller, Credential, Judge, Method, PrincipalError};
pub use context::{Protocol, RequestContext, RequestStart, Rpc};
pub use decorate::Decorators;
pub use filter::{
    BuildContext, BuildError, Filter, FilterFuture, FilterType, Next, Run, Terminal, arrive, run,
};
pub use recheck::{Changes, Held};
pub use registry::Registry;
pub use reject::{Code, Reason, Rejection, error_json, respond, trailers_of};
pub use service::{AskError, AskFuture, GrpcService, GrpcServices, NoServices, ServicePlace};
pub use text::{shared_text, strip_media_type};
pub use watched::{FileError, read as read_file};
