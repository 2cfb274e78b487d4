//! The registry of filters: names to constructors and schemas.

use crate::{
    audit::Audit,
    auth::Auth,
    authz::Authz,
    cors::Cors,
    filter::{BuildContext, BuildError, Filter, FilterType},
    grpc_web::GrpcWeb,
    trace::Trace,
};
use prism_config::{FilterSchema, Phase, SettingProblem};
use serde_json::Value;
use std::{any::Any, collections::BTreeMap, fmt, sync::Arc};

/// The filters that come with Prism Edge, one line each.
#[must_use]
pub fn builtin() -> Registry {
    Registry::default()
        .with::<Trace>()
        .with::<Audit>()
        .with::<Cors>()
        .with::<GrpcWeb>()
        .with::<Auth>()
        .with::<Authz>()
}

type Construct =
    fn(&Value, &BuildContext<'_>, Option<&Arc<dyn Filter>>) -> Result<Arc<dyn Filter>, BuildError>;

struct Entry {
    construct: Construct,
    schema: FilterSchema,
}

/// Filters by name. A binary that embeds the proxy adds its own with [`Registry::with`].
#[derive(Default)]
pub struct Registry(BTreeMap<&'static str, Entry>);

impl Registry {
    /// Adds a filter; one of the same name is replaced.
    #[must_use]
    pub fn with<F: FilterType>(mut self) -> Self {
        let schema = FilterSchema {
            name: F::NAME,
            phase: F::PHASE,
            schema: schemars::schema_for!(F::Settings).to_value(),
            check: check::<F>,
        };
        self.0.insert(F::NAME, Entry { construct: construct::<F>, schema });
        self
    }

    /// What configuration must know of them.
    pub fn schemas(&self) -> impl Iterator<Item = FilterSchema> + '_ {
        self.0.values().map(|entry| entry.schema.clone())
    }

    /// Builds a filter from its (validated) settings, with the one of the same name that runs now.
    ///
    /// # Errors
    /// The settings cannot be honoured.
    pub fn build(
        &self,
        name: &str,
        settings: &Value,
        cx: &BuildContext<'_>,
        previous: Option<&Arc<dyn Filter>>,
    ) -> Result<Arc<dyn Filter>, BuildError> {
        let entry =
            self.0.get(name).ok_or_else(|| BuildError::new(format!("there is no filter named `{name}`")))?;
        (entry.construct)(settings, cx, previous)
    }

    /// Where a filter may stand in a chain.
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<Phase> {
        self.0.get(name).map(|entry| entry.schema.phase)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn construct<F: FilterType>(
    settings: &Value,
    cx: &BuildContext<'_>,
    previous: Option<&Arc<dyn Filter>>,
) -> Result<Arc<dyn Filter>, BuildError> {
    let settings = read::<F>(settings).map_err(|error| BuildError::new(format!("{}: {error}", F::NAME)))?;
    let previous = previous.and_then(|filter| {
        let any: &dyn Any = &**filter;
        any.downcast_ref::<F>()
    });
    Ok(Arc::new(F::build(settings, cx, previous)?))
}

/// Settings as written.
fn read<F: FilterType>(settings: &Value) -> serde_json::Result<F::Settings> {
    // A filter written without settings (`- trace`) has all its defaults.
    let empty = Value::Object(serde_json::Map::new());
    serde::Deserialize::deserialize(if settings.is_null() { &empty } else { settings })
}

fn check<F: FilterType>(settings: &Value) -> Vec<SettingProblem> {
    // Settings that do not fit the schema are the schema's to refuse.
    read::<F>(settings).map(|settings| F::check(&settings)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_refuses_unknown_settings() {
        for schema in builtin().schemas() {
            assert_eq!(schema.schema["additionalProperties"], Value::Bool(false), "{}", schema.name);
        }
    }
}
