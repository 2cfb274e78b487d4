//! Which instances there are, and which of them a call means.

use crate::{BackendPlugin, counters::Counters};
use prism_plugin_abi::{Code, Error, Initialize, InstanceId};
use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, PoisonError, RwLock},
};
use tokio::sync::OnceCell;

/// The most instances of one plugin. A proxy has one per namespace, and two during a change; a thousand is
/// far beyond what one process serves well, and keeps a caller who makes up numbers from filling memory.
pub const MAX_INSTANCES: usize = 1024;

/// One instance.
pub(crate) struct Instance<P> {
    pub(crate) backend: Arc<P>,
    pub(crate) counters: Counters,
}

/// An instance that nobody will find any more; if there is one, it is to be shut down.
pub(crate) type Retired<P> = Option<Arc<Instance<P>>>;

/// A place for an instance: taken when its `Initialize` begins, filled when it succeeds.
pub(crate) struct Slot<P> {
    namespace: String,
    /// Of what it is built from. A repeated `Initialize` without a number is the same one only with this.
    fingerprint: u64,
    order: u64,
    cell: OnceCell<Arc<Instance<P>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Chosen by the proxy.
    Number(u64),
    /// The RFC's plain protocol: one instance per namespace.
    Namespace(String),
}

/// All instances of a plugin.
pub(crate) struct Instances<P> {
    map: RwLock<Map<P>>,
    hasher: RandomState,
}

struct Map<P> {
    slots: BTreeMap<Key, Arc<Slot<P>>>,
    /// The latest instance of each namespace, for calls that name none.
    order: u64,
}

impl<P: BackendPlugin> Instances<P> {
    pub(crate) fn new() -> Self {
        Self { map: RwLock::new(Map { slots: BTreeMap::new(), order: 0 }), hasher: RandomState::new() }
    }

    /// The instance that a call means.
    pub(crate) fn find(&self, id: InstanceId, namespace: &str) -> Option<Arc<Instance<P>>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        if id.0 != 0 {
            return map.slots.get(&Key::Number(id.0))?.cell.get().cloned();
        }
        map.slots
            .values()
            .filter(|slot| slot.namespace == namespace && slot.cell.initialized())
            .max_by_key(|slot| slot.order)?
            .cell
            .get()
            .cloned()
    }

    /// The instance with this number; for 0, all of them by namespace.
    pub(crate) fn named(&self, id: InstanceId) -> HashMap<String, Arc<Instance<P>>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = |key: &Key| id.0 == 0 || *key == Key::Number(id.0);
        let mut slots: Vec<_> =
            map.slots.iter().filter(|(key, _)| wanted(key)).map(|(_, slot)| slot).collect();
        slots.sort_by_key(|slot| slot.order);
        slots
            .into_iter()
            .filter_map(|slot| Some((slot.namespace.clone(), slot.cell.get()?.clone())))
            .collect()
    }

    /// The place for this instance, and the one that it replaces.
    pub(crate) fn reserve(&self, request: &Initialize) -> Result<Reservation<'_, P>, Error> {
        let key = match request.instance.0 {
            0 => Key::Namespace(request.namespace.clone()),
            number => Key::Number(number),
        };
        let fingerprint =
            self.hasher.hash_one((&request.config_type_url, &request.config, &request.credentials.0));
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let known = map.slots.get(&key).cloned();
        if let Some(slot) = &known {
            let same = slot.namespace == request.namespace;
            if matches!(key, Key::Number(_)) && !same {
                return Err(Error::channel(
                    Code::InvalidArgument,
                    format!("instance {} belongs to another namespace", request.instance),
                ));
            }
            if matches!(key, Key::Number(_)) || slot.fingerprint == fingerprint {
                return Ok(Reservation { instances: self, key, slot: Some(slot.clone()), replaced: None });
            }
        } else if map.slots.len() >= MAX_INSTANCES {
            return Err(Error::channel(
                Code::ResourceExhausted,
                format!("the plugin has {MAX_INSTANCES} instances, its most; shut some down"),
            ));
        }
        map.order += 1;
        let slot = Arc::new(Slot {
            namespace: request.namespace.clone(),
            fingerprint,
            order: map.order,
            cell: OnceCell::new(),
        });
        // A named instance is built in place. One that replaces another takes its place when it is built.
        if known.is_none() {
            map.slots.insert(key.clone(), slot.clone());
        }
        Ok(Reservation { instances: self, key, slot: Some(slot), replaced: known })
    }

    /// Takes an instance out; for 0, all of them.
    pub(crate) fn remove(&self, id: InstanceId) -> Vec<Arc<Instance<P>>> {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let slots: Vec<_> = match id.0 {
            0 => std::mem::take(&mut map.slots).into_values().collect(),
            number => map.slots.remove(&Key::Number(number)).into_iter().collect(),
        };
        slots.into_iter().filter_map(|slot| slot.cell.get().cloned()).collect()
    }
}

/// A place that is being filled. Dropped before that (the attempt failed or was cancelled), it is free
/// again, unless another attempt for the same instance is waiting for it.
pub(crate) struct Reservation<'a, P> {
    instances: &'a Instances<P>,
    key: Key,
    slot: Option<Arc<Slot<P>>>,
    replaced: Option<Arc<Slot<P>>>,
}

impl<P: BackendPlugin> Reservation<'_, P> {
    /// Builds the instance, once: whoever comes while it is being built waits for the same one.
    pub(crate) async fn fill<F>(&self, build: F) -> Result<(), Error>
    where
        F: Future<Output = Result<P, Error>>,
    {
        let Some(slot) = &self.slot else { return Ok(()) };
        let build = async {
            build
                .await
                .map(|backend| Arc::new(Instance { backend: Arc::new(backend), counters: Counters::new() }))
        };
        slot.cell.get_or_try_init(|| build).await?;
        Ok(())
    }

    /// Makes the built instance the one that calls find, and returns one that is to be shut down: the one
    /// that it replaced.
    ///
    /// # Errors
    /// When it was shut down while it was being built; the instance is returned to be shut down.
    pub(crate) fn install(&self) -> Result<Retired<P>, Retired<P>> {
        let Some(slot) = &self.slot else { return Ok(None) };
        let mut map = self.instances.map.write().unwrap_or_else(PoisonError::into_inner);
        let current = map.slots.get(&self.key);
        let is = |other: &Arc<Slot<P>>| current.is_some_and(|current| Arc::ptr_eq(current, other));
        match &self.replaced {
            _ if is(slot) => Ok(None),
            Some(replaced) if is(replaced) => {
                map.slots.insert(self.key.clone(), slot.clone());
                Ok(replaced.cell.get().cloned())
            }
            // Another attempt with the same configuration was faster; this one's work is not needed.
            Some(_) if current.is_some_and(|current| current.fingerprint == slot.fingerprint) => {
                Ok(slot.cell.get().cloned())
            }
            _ => Err(slot.cell.get().cloned()),
        }
    }
}

impl<P> Drop for Reservation<'_, P> {
    fn drop(&mut self) {
        let mut map = self.instances.map.write().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = self.slot.take() else { return };
        let current = map.slots.get(&self.key).is_some_and(|current| Arc::ptr_eq(current, &slot));
        // The map's and ours: nobody else waits for it.
        if current && !slot.cell.initialized() && Arc::strong_count(&slot) == 2 {
            map.slots.remove(&self.key);
        }
    }
}
