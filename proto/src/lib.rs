//! The contracts: .proto files and the Rust generated from them.
//!
//! Every `bytes` field is a [`bytes::Bytes`], also in [`google::protobuf::Any`], so that a decoded message
//! shares its buffer with whatever it was decoded from.

pub mod envelope;
mod interface;
pub mod scan;

pub use generated::{google, prism::*};
pub use interface::{INTERFACES, Interface, Kind, Method, interface, method, reserved};

/// What prost and tonic generate. Their lints are theirs; the documentation is in the .proto files.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/contracts.rs"));
}

/// An encoded `google.protobuf.FileDescriptorSet` of every contract and what it imports, comments and
/// method options included.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// How `Any` names a type (google/protobuf/any.proto, `type_url`).
#[must_use]
pub fn type_url(full_name: &str) -> String {
    format!("type.googleapis.com/{full_name}")
}

impl std::fmt::Debug for plugin::InitializeRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither credentials nor configuration, where URLs may hold passwords.
        f.debug_struct("InitializeRequest")
            .field("namespace", &self.namespace)
            .field("backend_type", &self.backend_type)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::{google::protobuf::Any, kv, plugin};
    use prost::{Message, Name};

    #[test]
    fn type_urls_are_those_of_the_contract() {
        assert_eq!(kv::v1::GetRequest::type_url(), "type.googleapis.com/prism.kv.v1.GetRequest");
        assert_eq!(Any::full_name(), "google.protobuf.Any");
        assert_eq!(crate::type_url("prism.kv.v1.GetRequest"), kv::v1::GetRequest::type_url());
    }

    #[test]
    fn a_decoded_payload_shares_the_message() {
        let message = plugin::ExecuteRequest {
            params: Some(plugin::execute_request::Params::TypedParams(Any {
                type_url: String::new(),
                value: vec![7; 4096].into(),
            })),
            ..Default::default()
        };
        let encoded = bytes::Bytes::from(message.encode_to_vec());
        let decoded = plugin::ExecuteRequest::decode(encoded.clone()).unwrap();
        let Some(plugin::execute_request::Params::TypedParams(any)) = decoded.params else { panic!() };
        assert!(encoded.as_ptr_range().contains(&any.value.as_ptr()));
    }

    #[test]
    fn credentials_are_not_printed() {
        let request = plugin::InitializeRequest {
            credentials: [("password".to_owned(), "hunter2".to_owned())].into(),
            ..Default::default()
        };
        assert!(!format!("{request:?}").contains("hunter2"));
    }
}
