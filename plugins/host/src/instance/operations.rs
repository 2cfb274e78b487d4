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
    /// What the plugin says of those whose kind the namespace overrides.
    overridden: HashMap<Box<str>, Kind>,
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
        let mut overridden = HashMap::default();
        let by_name = description.operations.iter().map(|operation| {
            let mut operation = operation.clone();
            if let Some(kind) = kinds.get(&operation.name) {
                overridden.insert(operation.name.as_str().into(), operation.kind);
                operation.kind = *kind;
            }
            if let (true, Some(method)) =
                (operation.service_method.is_empty(), methods.method_of(&operation.name))
            {
                method.clone_into(&mut operation.service_method);
            }
            (operation.name.as_str().into(), operation)
        });
        let by_name = by_name.collect();
        Ok(Self { by_name, overridden, methods, schema: Some(schema), described: true })
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
        Self { by_name: by_name.collect(), ..Self::default() }
    }

    /// Checks it against what was there before: no operation may be of a lower kind by the plugin's word alone, or whoever
    /// may read could call what was for those who may write (contracts, "Kinds"). The namespace's `accepted` kinds are the
    /// configuration's word, and so are those of a plugin that cannot say what it is; those of the project's own interfaces
    /// are in its contracts.
    ///
    /// # Errors
    /// Which are lower, for whoever configures.
    pub(crate) fn check_kinds(&self, before: &Self, accepted: &BTreeMap<String, Kind>) -> Result<(), String> {
        if !self.described {
            return Ok(());
        }
        let mut lowered: Vec<_> = self
            .by_name
            .values()
            .filter(|info| !accepted.contains_key(&info.name))
            .filter(|info| prism_proto::method(&info.service_method).is_none())
            .filter_map(|info| {
                let (was, is) = (before.said(&info.name)?, info.kind);
                (rank(is) < rank(was)).then_some((info.name.as_str(), was, is))
            })
            .collect();
        lowered.sort_by_key(|(name, ..)| *name);
        if lowered.is_empty() {
            return Ok(());
        }
        let each = lowered.iter().map(|(name, was, is)| format!("`{name}` from {was} to {is}"));
        let accept = lowered.iter().map(|(name, _, is)| format!("{name}: {is}"));
        Err(format!(
            "it lowers the kind of {}, so that callers could do what they may not; if that is meant, write `operations: \
             {{ {} }}` in the namespace",
            each.collect::<Vec<_>>().join(" and "),
            accept.collect::<Vec<_>>().join(", ")
        ))
    }

    /// The kind of an operation without what the namespace overrides.
    fn said(&self, name: &str) -> Option<Kind> {
        self.overridden.get(name).or(self.by_name.get(name).map(|info| &info.kind)).copied()
    }
}

/// The fewer callers may do it, the higher.
fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Read => 0,
        Kind::Write => 1,
        Kind::Admin | Kind::Unspecified => 2,
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
