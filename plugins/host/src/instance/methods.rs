//! The typed methods of a plugin's services: which operation each is, and of which types its messages are. Made from what
//! the plugin says of itself, so its own services work as those of the project's interfaces do.

use super::{OperationTable, schema::Schema};
use bytestring::ByteString;
use foldhash::HashMap;
use prism_plugin_abi::{Data, Description, OperationInfo, Payload, Request};
use prism_proto::envelope::TypedRequest;
use prost_reflect::MethodDescriptor;
use std::{collections::BTreeSet, ops::Deref, sync::Arc};

/// A method of a typed service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedMethod {
    /// The operation that it is.
    pub operation: ByteString,
    /// URL of the type of its parameters.
    pub params_url: ByteString,
    /// What goes in front of parameters that become a request on the wire.
    pub heads: Arc<TypedRequest>,
    /// URL of the type of its results.
    pub result_url: ByteString,
    /// It takes many messages.
    pub client_streaming: bool,
    /// It answers with many messages.
    pub server_streaming: bool,
}

impl TypedMethod {
    /// Called through `ExecuteStream`; all others through `Execute`.
    #[must_use]
    pub fn streaming(&self) -> bool {
        self.client_streaming || self.server_streaming
    }

    /// The request with these parameters.
    #[must_use]
    pub fn request(&self, params: Payload) -> Request {
        Request {
            operation: self.operation.clone(),
            params: Data::Typed { type_url: self.params_url.clone(), value: params },
            metadata: Vec::new(),
        }
    }
}

/// A typed method, and the table that it was found in.
#[derive(Clone, Debug)]
pub struct DeclaredMethod {
    method: Arc<TypedMethod>,
    table: Arc<OperationTable>,
}

impl DeclaredMethod {
    pub(crate) fn find(table: &Arc<OperationTable>, path: &str) -> Option<Self> {
        Some(Self { method: Arc::clone(table.method(path)?), table: Arc::clone(table) })
    }

    /// What `table` has at this path, where it was found, is this method still, to the last of its types.
    #[must_use]
    pub fn is_in(&self, table: &Arc<OperationTable>, path: &str) -> bool {
        // Nearly always nothing was described anew since it was found, and then there is nothing to look up.
        Arc::ptr_eq(table, &self.table) || table.method(path).is_some_and(|other| *other == self.method)
    }
}

impl Deref for DeclaredMethod {
    type Target = TypedMethod;

    fn deref(&self) -> &TypedMethod {
        &self.method
    }
}

/// Methods by their path, `/prism.kv.v1.KeyValueService/Get`.
#[derive(Clone, Debug, Default)]
pub(crate) struct MethodTable(HashMap<Box<str>, Arc<TypedMethod>>);

impl MethodTable {
    pub(crate) fn get(&self, path: &str) -> Option<&Arc<TypedMethod>> {
        self.0.get(path)
    }

    /// The first method, by its path, that is this operation: `package.Service/Method`.
    pub(crate) fn method_of(&self, operation: &str) -> Option<&str> {
        let found = self.0.iter().filter(|(_, method)| *method.operation == *operation).map(|(path, _)| path);
        // Behind the slash that every path begins with.
        found.min().map(|path| &path[1..])
    }

    pub(crate) fn services(&self) -> BTreeSet<&str> {
        // Behind the slash that every path begins with.
        self.0.keys().filter_map(|path| path.rsplit_once('/')).map(|(service, _)| &service[1..]).collect()
    }

    /// The methods that a plugin declares, and those of the services in its descriptors that its operations are by name and
    /// by types: whoever writes a service into a `.proto` file beside the operations need not say so again.
    ///
    /// # Errors
    /// One that it may not declare, or not so; for the plugin's author.
    pub(crate) fn of(description: &Description, schema: &Schema) -> Result<Self, String> {
        let mut methods: HashMap<Box<str>, Arc<TypedMethod>> = HashMap::default();
        for operation in
            description.operations.iter().filter(|operation| !operation.service_method.is_empty())
        {
            let name = &operation.service_method;
            let method = method(operation).map_err(|problem| {
                format!("its operation `{}` is declared as `{name}`, {problem}", operation.name)
            })?;
            if let Some(other) = methods.insert(format!("/{name}").into(), Arc::new(method)) {
                return Err(format!(
                    "its operations `{}` and `{}` are both declared as `{name}`",
                    other.operation, operation.name
                ));
            }
        }
        for described in schema.pool().services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            let service = described.parent_service().full_name().to_owned();
            // The project's own interfaces say what their methods may do: they are declared, and checked.
            if service.starts_with("prism.") || prism_proto::reserved(&service).is_some() {
                continue;
            }
            let path = format!("/{service}/{}", described.name()).into_boxed_str();
            let operation = description.operations.iter().find(|operation| is(operation, &described));
            if let (Some(operation), false) = (operation, methods.contains_key(&path)) {
                let named = OperationInfo { service_method: path[1..].to_owned(), ..operation.clone() };
                methods.insert(path, Arc::new(method(&named)?));
            }
        }
        Ok(Self(methods))
    }
}

/// The operation is that method: its name is the method's in snake_case, and its types and directions are the method's.
fn is(operation: &OperationInfo, method: &MethodDescriptor) -> bool {
    operation.service_method.is_empty()
        && operation.name == snake_case(method.name())
        && operation.params_type == method.input().full_name()
        && operation.result_type == method.output().full_name()
        && operation.client_streaming == method.is_client_streaming()
        && operation.server_streaming == method.is_server_streaming()
}

/// `MultiGet`: `multi_get` (contracts, "Interfaces").
fn snake_case(name: &str) -> String {
    name.char_indices().fold(String::new(), |mut snake, (at, letter)| {
        if letter.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        snake
    })
}

fn method(operation: &OperationInfo) -> Result<TypedMethod, String> {
    let name = &operation.service_method;
    let (service, method) = name.split_once('/').unwrap_or((name, ""));
    if !service.split('.').all(is_identifier) || !is_identifier(method) {
        return Err("which is no method: write it as `package.Service/Method`".to_owned());
    }
    if let Some(reserved) = prism_proto::reserved(service) {
        return Err(format!("but services under `{reserved}` are the proxy's own"));
    }
    // What the project's own interfaces say needs not be repeated.
    let known = prism_proto::method(name);
    let url = |said: &str, known: Option<&'static str>, what: &str| match (said, known) {
        ("", None) => Err(format!("but its {what} is not: a typed method has one")),
        ("", Some(name)) => Ok(prism_proto::type_url(name).into()),
        (said, Some(known)) if said != known => Err(format!("whose {what} is `{known}`, and not `{said}`")),
        (said, _) => Ok(prism_proto::type_url(said).into()),
    };
    let params_url: ByteString =
        url(&operation.params_type, known.map(|known| known.params_type), "params_type")?;
    Ok(TypedMethod {
        operation: operation.name.as_str().into(),
        heads: Arc::new(TypedRequest::new(&operation.name, &params_url)),
        params_url,
        result_url: url(&operation.result_type, known.map(|known| known.result_type), "result_type")?,
        client_streaming: operation.client_streaming,
        server_streaming: operation.server_streaming,
    })
}

/// As protobuf's grammar has it.
fn is_identifier(text: &str) -> bool {
    text.bytes()
        .enumerate()
        .all(|(at, byte)| byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()))
        && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Schemas;
    use prost::Message as _;
    use std::collections::BTreeMap;

    fn operation(name: &str, method: &str, params: &str, result: &str) -> OperationInfo {
        OperationInfo {
            name: name.into(),
            service_method: method.into(),
            params_type: params.into(),
            result_type: result.into(),
            ..OperationInfo::default()
        }
    }

    fn table(operations: Vec<OperationInfo>) -> Result<MethodTable, String> {
        let description = Description { operations, ..Description::default() };
        MethodTable::of(&description, &*Schemas::default().of(&description)?)
    }

    #[test]
    fn a_path_leads_to_an_operation_and_its_types() {
        let walk = OperationInfo {
            server_streaming: true,
            ..operation("walk", "acme.graph.v1.Graph/Walk", "acme.graph.v1.WalkRequest", "acme.graph.v1.Node")
        };
        let get = operation("get", "prism.kv.v1.KeyValueService/Get", "", "");
        let raw = operation("raw", "", "", "");
        let table = table(vec![walk, get, raw]).unwrap();
        let walk = table.get("/acme.graph.v1.Graph/Walk").unwrap();
        assert_eq!((&*walk.operation, walk.streaming()), ("walk", true));
        assert_eq!(walk.params_url, "type.googleapis.com/acme.graph.v1.WalkRequest");
        assert_eq!(*walk.heads, TypedRequest::new("walk", "type.googleapis.com/acme.graph.v1.WalkRequest"));
        let get = table.get("/prism.kv.v1.KeyValueService/Get").unwrap();
        assert_eq!((&*get.operation, get.streaming()), ("get", false));
        assert_eq!(get.result_url, "type.googleapis.com/prism.kv.v1.GetResponse");
        for other in ["", "/", "acme.graph.v1.Graph/Walk", "/acme.graph.v1.Graph/walk", "/raw", "//raw"] {
            assert!(table.get(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_method_is_the_one_that_was_found_or_none() {
        let described = |operations: Vec<OperationInfo>| {
            let description = Description { operations, ..Description::default() };
            Arc::new(OperationTable::described(&description, &BTreeMap::new(), &Schemas::default()).unwrap())
        };
        let get = || operation("get", "a.S/Get", "a.B", "a.C");
        let table = described(vec![get()]);
        let found = DeclaredMethod::find(&table, "/a.S/Get").unwrap();
        assert!(DeclaredMethod::find(&table, "/a.S/Set").is_none());
        assert!(found.is_in(&table, "/a.S/Get"));
        // Described anew, as it was or beside others.
        assert!(found.is_in(&described(vec![get()]), "/a.S/Get"));
        assert!(found.is_in(&described(vec![operation("set", "a.S/Set", "a.B", "a.C"), get()]), "/a.S/Get"));
        for other in [
            vec![],
            vec![operation("get", "a.S/Other", "a.B", "a.C")],
            vec![operation("other", "a.S/Get", "a.B", "a.C")],
            vec![operation("get", "a.S/Get", "a.X", "a.C")],
            vec![operation("get", "a.S/Get", "a.B", "a.X")],
            vec![OperationInfo { server_streaming: true, ..get() }],
            vec![OperationInfo { client_streaming: true, ..get() }],
        ] {
            assert!(!found.is_in(&described(other.clone()), "/a.S/Get"), "{other:?}");
        }
    }

    #[test]
    fn what_a_plugin_may_not_declare_is_refused() {
        let own = |method: &str| operation("x", method, "a.B", "a.C");
        for (operations, problem) in [
            (vec![own("grpc.health.v1.Health/Check")], "the proxy's own"),
            (vec![own("prism.data.v1.DataService/Execute")], "the proxy's own"),
            (vec![own("prism.plugin.BackendPlugin/Shutdown")], "the proxy's own"),
            (vec![own("prism.admin.v1.Admin/Drain")], "the proxy's own"),
            (vec![own("prism.config.v1.X/Y")], "the proxy's own"),
            (vec![own("a.B")], "no method"),
            (vec![own("a.B/")], "no method"),
            (vec![own("/a.B/C")], "no method"),
            (vec![own("a..B/C")], "no method"),
            (vec![own("a.B/C/D")], "no method"),
            (vec![own("a.B/1C")], "no method"),
            (vec![own("a.B/C%20")], "no method"),
            (vec![operation("x", "a.B/C", "", "a.C")], "params_type"),
            (vec![operation("x", "a.B/C", "a.B", "")], "result_type"),
            (vec![operation("get", "prism.kv.v1.KeyValueService/Get", "a.B", "")], "prism.kv.v1.GetRequest"),
            (vec![own("a.B/C"), OperationInfo { name: "y".into(), ..own("a.B/C") }], "`x` and `y`"),
        ] {
            let name = operations[0].service_method.clone();
            let found = table(operations).unwrap_err();
            assert!(found.contains(problem), "{name}: {found}");
        }
        assert!(table(vec![own("grpcish.B/C")]).is_ok());
    }

    /// A `FileDescriptorSet` with a service, by hand: field numbers of google/protobuf/descriptor.proto.
    fn described() -> bytes::Bytes {
        #[derive(Clone, PartialEq, prost::Message)]
        struct Named {
            #[prost(string, tag = "1")]
            name: String,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        struct Method {
            #[prost(string, tag = "1")]
            name: String,
            #[prost(string, tag = "2")]
            input: String,
            #[prost(string, tag = "3")]
            output: String,
            #[prost(bool, tag = "6")]
            server_streaming: bool,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        struct Service {
            #[prost(string, tag = "1")]
            name: String,
            #[prost(message, repeated, tag = "2")]
            methods: Vec<Method>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        struct File {
            #[prost(string, tag = "1")]
            name: String,
            #[prost(string, tag = "2")]
            package: String,
            #[prost(message, repeated, tag = "4")]
            messages: Vec<Named>,
            #[prost(message, repeated, tag = "6")]
            services: Vec<Service>,
            #[prost(string, tag = "12")]
            syntax: String,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        struct Files {
            #[prost(message, repeated, tag = "1")]
            files: Vec<File>,
        }
        let method = |name: &str, server_streaming| Method {
            name: name.into(),
            input: ".tally.v1.Ask".into(),
            output: ".tally.v1.Count".into(),
            server_streaming,
        };
        let methods = vec![method("AddAll", false), method("Follow", true), method("Lost", false)];
        let file = File {
            name: "tally.proto".into(),
            package: "tally.v1".into(),
            messages: ["Ask", "Count"].map(|name| Named { name: name.into() }).into(),
            services: vec![Service { name: "TallyService".into(), methods }],
            syntax: "proto3".into(),
        };
        Files { files: vec![file] }.encode_to_vec().into()
    }

    #[test]
    fn a_service_in_the_descriptors_needs_no_declaration() {
        let types = |name: &str| operation(name, "", "tally.v1.Ask", "tally.v1.Count");
        let operations = vec![
            types("add_all"),
            // As a stream it is another method.
            types("follow"),
            operation("lost", "", "tally.v1.Ask", "tally.v1.Ask"),
        ];
        let mut description =
            Description { operations, file_descriptor_set: described(), ..Description::default() };
        let of = |description: &Description| {
            MethodTable::of(description, &Schemas::default().of(description).unwrap()).unwrap()
        };
        let table = of(&description);
        let method = table.get("/tally.v1.TallyService/AddAll").unwrap();
        assert_eq!(
            (&*method.operation, &*method.result_url),
            ("add_all", "type.googleapis.com/tally.v1.Count")
        );
        assert!(table.get("/tally.v1.TallyService/Follow").is_none());
        assert!(table.get("/tally.v1.TallyService/Lost").is_none());
        description.operations[1].server_streaming = true;
        assert!(of(&description).get("/tally.v1.TallyService/Follow").unwrap().streaming());
        assert_eq!(of(&description).services(), BTreeSet::from(["tally.v1.TallyService"]));
    }
}
