//! Instances of plugins: what they are built from, how they are, and the place that a namespace keeps for
//! them across configuration changes.

mod backend;
mod counted;
mod methods;
mod operations;
mod schema;
mod seat;
mod settings;
mod slot;
mod spec;
mod status;
#[cfg(test)]
mod tests;

pub use backend::{Backend, InFlight};
pub(crate) use counted::Tally;
pub use counted::{Counted, SeriesBudget};
pub use methods::{DeclaredMethod, TypedMethod};
pub use operations::OperationTable;
pub use schema::{Schema, Schemas, Types};
pub use seat::EndpointStatus;
pub(crate) use seat::Seat;
pub use settings::Settings;
pub use slot::{Applied, Held, NamespaceSlot, Retired};
pub use spec::{InstanceSpec, PluginSpec, Remote, SupervisionOptions, Transport};
pub use status::{State, Status};
