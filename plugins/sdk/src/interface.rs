//! Describing a plugin that implements one of the project's interfaces.

use bytes::Bytes;
use prism_plugin_abi::{Description, Kind, OperationInfo};
use prism_proto::{Method, interface};

/// A description that implements these interfaces whole, with the descriptors of their messages.
///
/// # Panics
/// For an interface that the project does not have: a mistake in the plugin's source.
#[must_use]
pub fn implements(name: &str, version: &str, interfaces: &[&str]) -> Description {
    Description {
        name: name.into(),
        version: version.into(),
        operations: interfaces.iter().flat_map(|package| operations(package)).collect(),
        interfaces: interfaces.iter().map(|&package| package.into()).collect(),
        file_descriptor_set: Bytes::from_static(prism_proto::FILE_DESCRIPTOR_SET),
        config_type: String::new(),
    }
}

/// The operations of an interface, exactly as the interface states them.
///
/// # Panics
/// For an interface that the project does not have: a mistake in the plugin's source.
#[must_use]
pub fn operations(package: &str) -> Vec<OperationInfo> {
    let Some(interface) = interface(package) else { panic!("there is no interface `{package}`") };
    interface.methods.iter().map(operation).collect()
}

fn operation(method: &Method) -> OperationInfo {
    OperationInfo {
        name: method.operation.into(),
        kind: match method.kind {
            prism_proto::Kind::Read => Kind::Read,
            prism_proto::Kind::Write => Kind::Write,
            prism_proto::Kind::Admin => Kind::Admin,
        },
        idempotent: method.idempotent,
        server_streaming: method.server_streaming,
        client_streaming: method.client_streaming,
        params_type: method.params_type.into(),
        result_type: method.result_type.into(),
        raw: method.raw,
        service_method: method.service_method.into(),
    }
}
