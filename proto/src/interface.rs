//! What the interfaces say of their methods: the method options of the .proto files as a table.

/// What a method does, for authorization and retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Changes nothing.
    Read,
    /// Changes data.
    Write,
    /// Changes more than data.
    Admin,
}

/// One method of an interface, and the operation that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The operation's name, `multi_get`.
    pub operation: &'static str,
    /// The method's full name, `prism.kv.v1.KeyValueService/MultiGet`.
    pub service_method: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Doing it twice leaves what doing it once leaves.
    pub idempotent: bool,
    /// It has a raw form.
    pub raw: bool,
    /// It takes many messages.
    pub client_streaming: bool,
    /// It answers with many messages.
    pub server_streaming: bool,
    /// Full name of its parameter message.
    pub params_type: &'static str,
    /// Full name of its result message.
    pub result_type: &'static str,
}

/// One interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its package, `prism.kv.v1`.
    pub package: &'static str,
    /// Its methods, in the order of the .proto file.
    pub methods: &'static [Method],
}

/// Every interface of the project.
pub const INTERFACES: &[Interface] = include!(concat!(env!("OUT_DIR"), "/interfaces.rs"));

/// The interface of this package.
#[must_use]
pub fn interface(package: &str) -> Option<&'static Interface> {
    INTERFACES.iter().find(|interface| interface.package == package)
}

/// Services whose names begin so are the proxy's own, or a plugin's control plane (contracts, "Method → operation"): no
/// plugin may declare one, and no client reaches one that the proxy does not serve itself.
const RESERVED: [&str; 5] = ["grpc.", "prism.data.", "prism.plugin.", "prism.admin.", "prism.config."];

/// What a service's name begins with that nobody but the project may use; `None` of any other.
#[must_use]
pub fn reserved(service: &str) -> Option<&'static str> {
    RESERVED.into_iter().find(|reserved| service.starts_with(reserved))
}

/// The method of this full name, of any interface.
#[must_use]
pub fn method(service_method: &str) -> Option<&'static Method> {
    INTERFACES
        .iter()
        .flat_map(|interface| interface.methods)
        .find(|method| method.service_method == service_method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_the_proto_reach_the_table() {
        let methods = interface("prism.kv.v1").unwrap().methods;
        let shown: Vec<_> = methods.iter().map(|m| (m.operation, m.kind, m.idempotent, m.raw)).collect();
        assert_eq!(
            shown,
            [
                ("get", Kind::Read, true, true),
                ("set", Kind::Write, false, true),
                ("delete", Kind::Write, true, false),
                ("exists", Kind::Read, true, false),
                ("multi_get", Kind::Read, true, false),
                ("scan", Kind::Read, true, false),
                ("watch", Kind::Read, true, false),
            ]
        );
        let watch = methods.last().unwrap();
        assert!(watch.server_streaming && !watch.client_streaming);
        assert_eq!(watch.service_method, "prism.kv.v1.KeyValueService/Watch");
        assert_eq!(
            (watch.params_type, watch.result_type),
            ("prism.kv.v1.WatchRequest", "prism.kv.v1.WatchEvent")
        );
        assert!(interface("prism.nothing.v1").is_none());
    }
}
