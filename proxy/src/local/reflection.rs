//! Reflection: what a client can call here, and with which messages. Who names a namespace is told what its plugin has
//! too, from the plugin's own descriptors.

use super::{DATA_SERVICE, HEALTH_SERVICE, Handler, MOST_MESSAGE_BYTES, handler};
use prism_plugin_host::OperationTable;
use std::{
    rc::Rc,
    sync::{Arc, Weak},
};
use tonic_reflection::server::{Builder, Error};

/// The service under its two names: clients still ask for the older one.
pub(super) struct Reflection(Vec<(&'static str, Handler)>);

impl Reflection {
    /// What is served to everybody, and this plugin's.
    ///
    /// # Errors
    /// The plugin's descriptors are such that nothing can be made of them. Without a plugin: never.
    pub(super) fn of(plugin: Option<&OperationTable>) -> Result<Self, Error> {
        Ok(Self(vec![
            (
                "/grpc.reflection.v1.ServerReflection/",
                handler(builder(plugin).build_v1()?.max_decoding_message_size(MOST_MESSAGE_BYTES)),
            ),
            (
                "/grpc.reflection.v1alpha.ServerReflection/",
                handler(builder(plugin).build_v1alpha()?.max_decoding_message_size(MOST_MESSAGE_BYTES)),
            ),
        ]))
    }

    pub(super) fn find(&self, path: &str) -> Option<&Handler> {
        self.0.iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, handler)| handler)
    }
}

fn builder(plugin: Option<&OperationTable>) -> Builder<'_> {
    // Only what a listener serves: the plugin protocol is in the same set, and is reachable by nobody.
    let mut builder = Builder::configure()
        // The first of two files of one name counts: a plugin cannot say what ours are.
        .register_encoded_file_descriptor_set(prism_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that tools can show the details of a refusal.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(DATA_SERVICE)
        .with_service_name(HEALTH_SERVICE);
    if let Some((table, schema)) = plugin.and_then(|table| Some((table, table.schema()?))) {
        builder = builder.register_encoded_file_descriptor_set(schema.encoded());
        for service in table.services() {
            // One that is not described cannot be shown.
            if schema.pool().get_service_by_name(service).is_some() {
                builder = builder.with_service_name(service);
            }
        }
    }
    builder
}

/// Plugins' reflection, made when it is first asked for. Of one worker.
#[derive(Default)]
pub(super) struct Made(Vec<(Weak<OperationTable>, Rc<Reflection>)>);

/// Most that are kept. Making one takes some milliseconds, so whoever lists a hundred namespaces in turn waits no longer
/// than for the network.
const MOST: usize = 64;

impl Made {
    pub(super) fn get(&mut self, table: &Arc<OperationTable>) -> Result<Rc<Reflection>, Error> {
        self.0.retain(|(table, _)| table.strong_count() > 0);
        if let Some((_, made)) = self.0.iter().find(|(made, _)| made.as_ptr() == Arc::as_ptr(table)) {
            return Ok(Rc::clone(made));
        }
        let made = Rc::new(Reflection::of(Some(table))?);
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push((Arc::downgrade(table), Rc::clone(&made)));
        Ok(made)
    }
}
