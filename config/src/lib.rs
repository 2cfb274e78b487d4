//! Configuration: schema, parse, validate, and every problem reported at once.
//!
//! A text goes through [`parse`]: it is read into a tree that keeps positions, walked along the JSON schema
//! that the types here and the filters of the [`Registry`] give, validated, and resolved into a [`Config`].
//! This crate knows no filter and no plugin, opens no file and starts nothing.

mod access;
mod admin;
mod client_auth;
mod config;
mod diff;
mod document;
mod host_port;
mod json_schema;
mod limits;
mod listener;
mod load;
mod namespace;
mod places;
mod plugin;
mod problem;
mod redact;
mod reference;
mod registry;
mod route;
mod schema;
mod secret;
mod secrets;
mod template;
mod tree;
mod units;
mod validate;
mod walk;

pub use access::{AccessRule, AccessRules, Claims, Pattern, PatternError, Permission, RuleOperations};
pub use admin::{Admin, AdminClient, AdminHost, AdminRole, AdminTls, AdminToken, Drain, Ready, TokenDigest};
pub use client_auth::{ClientAuth, ClientAuthError};
pub use config::Config;
pub use diff::{Change, ChangeKind, diff};
pub use host_port::HostPort;
pub use limits::{ConnectionLimits, Http1, Http2};
pub use listener::{FilterEntry, Listener};
pub use load::{Source, check_schema_only, parse, read_as};
pub use namespace::{Credentials, Namespace, NamespaceLimits};
pub use places::Places;
pub use plugin::{
    ClientIdentity, OperationKind, Plugin, PluginSource, PluginTls, TlsFault, Transport, UpstreamTls,
};
pub use problem::{Problem, ProblemKind, Problems, closest};
pub use reference::reference;
pub use registry::{
    CheckSettings, FilterSchema, FilterSchemas, KNOWN_FILTERS, Phase, Registry, SettingProblem,
};
pub use route::{
    FilterOverride, FilterOverrides, ForwardTarget, GrpcMatch, HttpProtocol, Match, PathMatch, Route,
    TargetAddress,
};
pub use secret::{Secret, SecretValue};
pub use secrets::{DirectorySecrets, EnvironmentSecrets, NotLookedUp, SecretProviders, Secrets};
pub use units::{ByteSize, Duration, UnitError};
