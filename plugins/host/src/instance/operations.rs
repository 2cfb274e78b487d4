//! What an instance can do.

use super::{
    methods::{MethodTable, TypedMethod},
    schema::{Schema, Schemas},
};
use foldhash::HashMap;
use prism_plugin_abi::{Description, Kind, OperationInfo};
use prism_proto::Method;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// Operations by name.
#[derive(Clone, Default)]
pub struct OperationTable {
    // Not std's hasher: callers look up what they like, but only the plugin puts anything in.
    by_name: HashMap<Box<str>, OperationInfo>,
    methods: MethodTable,
    schema: Option<Arc<Schema>>,
    described: bool,
}

impl OperationTable {
    /// The operation of this name. Allocates nothing.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OperationInfo> {
        self.by_name.get(name)
    }

    /// The typed method of this path, `/prism.kv.v1.KeyValueService/Get`. Allocates nothing.
    #[must_use]
    pub fn method(&self, path: &str) -> Option<&Arc<TypedMethod>> {
        self.methods.get(path)
    }

    /// The services of its typed methods, by their full names.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&str> {
        self.methods.services()
    }

    /// What their messages are; `None` of a plugin that cannot say what it is.
    #[must_use]
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.schema.as_ref()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &OperationInfo> {
        self.by_name.values()
    }

    /// The plugin itself said which of them stream. Where it cannot say (it knows no `Describe`), either
    /// method may be called.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.described
    }

    /// From what the plugin says of itself; `kinds` overrides what it says.
    ///
    /// # Errors
    /// It contradicts an interface, or declares a method that it may not have; for the plugin's author.
    pub(crate) fn described(
        description: &Description,
        kinds: &BTreeMap<String, Kind>,
        schemas: &Schemas,
    ) -> Result<Self, String> {
        check_interfaces(description)?;
        let schema = schemas.of(description)?;
        let methods = MethodTable::of(description, &schema)?;
        let by_name = description.operations.iter().map(|operation| {
            let mut operation = operation.clone();
            if let Some(kind) = kinds.get(&operation.name) {
                operation.kind = *kind;
            }
            if let (true, Some(method)) =
                (operation.service_method.is_empty(), methods.method_of(&operation.name))
            {
                method.clone_into(&mut operation.service_method);
            }
            (operation.name.as_str().into(), operation)
        });
        Ok(Self { by_name: by_name.collect(), methods, schema: Some(schema), described: true })
    }

    /// For a plugin without `Describe`: names from `Initialize`, kinds from the configuration. What neither
    /// names is for administrators, and not idempotent (architecture section 5).
    pub(crate) fn supported(
        names: &[String],
        plugin: &BTreeMap<String, Kind>,
        namespace: &BTreeMap<String, Kind>,
    ) -> Self {
        let by_name = names.iter().map(|name| {
            let kind = namespace.get(name).or_else(|| plugin.get(name)).copied().unwrap_or(Kind::Admin);
            (
                name.as_str().into(),
                OperationInfo { name: name.clone(), kind, raw: true, ..Default::default() },
            )
        });
        Self { by_name: by_name.collect(), methods: MethodTable::default(), schema: None, described: false }
    }
}

impl fmt::Debug for OperationTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.by_name.iter().map(|(name, info)| (name, info.kind))).finish()
    }
}

/// Checks a plugin against the interfaces that it claims: their kinds and idempotence come from our contracts,
/// and a plugin that contradicts them is refused (contracts, "Kinds").
///
/// # Errors
/// The first contradiction, for the plugin's author.
fn check_interfaces(description: &Description) -> Result<(), String> {
    for claimed in &description.interfaces {
        let Some(interface) = prism_proto::interface(claimed) else { continue };
        for method in interface.methods {
            if !description.operations.iter().any(|operation| operation.name == method.operation) {
                return Err(format!(
                    "it claims interface `{claimed}` but lacks operation `{}`",
                    method.operation
                ));
            }
        }
    }
    for operation in &description.operations {
        let Some(method) = prism_proto::method(&operation.service_method) else { continue };
        if let Some(difference) = difference(operation, method) {
            return Err(format!(
                "its operation `{}` is declared as `{}` but differs from it in {difference}",
                operation.name, operation.service_method
            ));
        }
    }
    Ok(())
}

fn difference(operation: &OperationInfo, method: &Method) -> Option<&'static str> {
    let kind = match method.kind {
        prism_proto::Kind::Read => Kind::Read,
        prism_proto::Kind::Write => Kind::Write,
        prism_proto::Kind::Admin => Kind::Admin,
    };
    let differences = [
        (operation.name != method.operation, "its name"),
        (operation.kind != kind, "its kind"),
        (operation.idempotent != method.idempotent, "being idempotent"),
        (operation.server_streaming != method.server_streaming, "the answer being a stream"),
        (operation.client_streaming != method.client_streaming, "the request being a stream"),
    ];
    differences.into_iter().find_map(|(differs, what)| differs.then_some(what))
}
