//! Changes that are made as a whole or not at all: what is built for them, while and after it is decided.

use super::*;
use crate::Held;

/// Four namespaces on one plugin, all of which serve.
struct Running {
    _directory: tempfile::TempDir,
    address: Address,
    script: Shared,
    server: Server,
    slots: Vec<NamespaceSlot>,
    active: Vec<Arc<Backend>>,
}

fn named(address: &Address, number: usize, config: serde_json::Value) -> InstanceSpec {
    InstanceSpec { namespace: format!("ns{number}"), ..sidecar(address, config) }
}

impl Running {
    async fn start() -> Self {
        let (directory, address) = socket();
        let script = shared();
        let server = serve(&address, &script).await;
        let slots: Vec<_> = (0..4).map(|_| slot()).collect();
        for (number, slot) in slots.iter().enumerate() {
            slot.apply(named(&address, number, serde_json::json!({ "version": "one" })));
            assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
        }
        let active = slots.iter().map(|slot| slot.active().unwrap()).collect();
        Self { _directory: directory, address, script, server, slots, active }
    }

    /// A change of all four, the configuration of each by its number.
    fn hold(&self, config: impl Fn(usize) -> serde_json::Value) -> Vec<Held> {
        let numbered = self.slots.iter().enumerate();
        numbered.map(|(number, slot)| slot.hold(named(&self.address, number, config(number)))).collect()
    }

    /// The plugin's own count of its live instances.
    fn live(&self) -> BTreeSet<u64> {
        self.script.borrow().known.clone()
    }

    async fn all_serve_as_before(&self, worker: &WorkerLocal) {
        for (slot, active) in self.slots.iter().zip(&self.active) {
            let call = slot.enter().unwrap();
            assert!(Arc::ptr_eq(&call, active));
            assert_eq!(grpc_status(&call, worker).await, "0");
        }
    }
}

fn built(held: &[Held]) -> Vec<Arc<Backend>> {
    held.iter().map(|held| Arc::clone(held.instance().unwrap())).collect()
}

async fn settled(held: &[Held], deadline: Instant) {
    for held in held {
        held.settled(deadline).await;
    }
}

async fn stopped(backends: &[Arc<Backend>]) {
    for backend in backends {
        state(backend, State::Stopped).await;
    }
}

#[test]
fn where_one_of_four_fails_everything_stays_as_it_was() {
    local(async {
        let running = Running::start().await;
        let worker = worker();
        running.script.borrow_mut().poison = Some("arsenic");
        let before = running.live();
        assert_eq!(before.len(), 4);

        let version = |number| if number == 2 { "arsenic" } else { "two" };
        let held = running.hold(|number| serde_json::json!({ "version": version(number) }));
        let new = built(&held);
        running.all_serve_as_before(&worker).await;
        settled(&held, soon()).await;
        running.all_serve_as_before(&worker).await;
        let reasons: Vec<_> =
            held.iter().map(|held| held.unready().map(|status| status.reason.clone())).collect();
        assert!(reasons[2].as_ref().unwrap().as_ref().unwrap().contains("poisoned"), "{reasons:?}");
        assert_eq!(reasons.iter().flatten().count(), 1, "{reasons:?}");
        assert_eq!(running.live().len(), 7, "three were built beside the four");
        assert!(running.slots.iter().all(|slot| slot.pending().is_none()));

        drop(held);
        stopped(&new).await;
        assert_eq!(running.live(), before, "the plugin has what it had");
        running.all_serve_as_before(&worker).await;
        assert!(running.active.iter().all(|active| active.is_ready() && active.in_flight() == 0));
        let script = running.script.borrow();
        for active in &running.active {
            assert_eq!(script.count(&format!("Initialize {}", active.instance().0)), 1);
            assert_eq!(script.count(&format!("Shutdown {}", active.instance().0)), 0);
        }
    });
}

#[test]
fn where_all_serve_all_take_over() {
    local(async {
        let running = Running::start().await;
        let held = running.hold(|_| serde_json::json!({ "version": "two" }));
        let new = built(&held);
        settled(&held, soon()).await;
        assert!(held.iter().all(|held| held.unready().is_none()));
        running.all_serve_as_before(&worker()).await;
        held.into_iter().for_each(Held::promote);
        for (slot, new) in running.slots.iter().zip(&new) {
            assert!(Arc::ptr_eq(&slot.active().unwrap(), new) && Arc::ptr_eq(&slot.enter().unwrap(), new));
        }
        stopped(&running.active).await;
        assert_eq!(running.live(), new.iter().map(|new| new.instance().0).collect());
    });
}

#[test]
fn at_the_deadline_it_is_given_up() {
    local(async {
        let running = Running::start().await;
        running.script.borrow_mut().stuck = Some("tar");
        let before = running.live();
        let version = |number| if number == 1 { "tar" } else { "two" };
        let held = running.hold(|number| serde_json::json!({ "version": version(number) }));
        let new = built(&held);
        state(&new[1], State::Initializing).await;
        settled(&held, Instant::now() + Duration::from_millis(50)).await;
        assert_eq!(held[1].unready().unwrap().state, State::Initializing);
        drop(held);
        stopped(&new).await;
        assert_eq!(running.live(), before);
        running.all_serve_as_before(&worker()).await;
    });
}

#[test]
fn retiring_in_mid_change_ends_what_is_held_too() {
    local(async {
        let running = Running::start().await;
        running.script.borrow_mut().stuck = Some("tar");
        let version = |number| if number == 0 { "tar" } else { "two" };
        let held = running.hold(|number| serde_json::json!({ "version": version(number) }));
        let new = built(&held);
        settled(&held[1..], soon()).await;
        for slot in &running.slots {
            slot.retire(Duration::ZERO).finished().await;
        }
        stopped(&new).await;
        assert_eq!(running.live(), BTreeSet::new());
        held.into_iter().for_each(Held::promote);
        assert!(running.slots.iter().all(|slot| slot.enter().is_none()));
        let late = running.slots[0].hold(named(&running.address, 0, serde_json::json!({})));
        assert!(late.instance().is_none() && late.unready().is_none());
    });
}

#[test]
fn a_plugin_that_dies_in_mid_change_does_not_serve_it() {
    local(async {
        let Running { _directory, address, script, server, slots, active } = Running::start().await;
        let (slot, active) = (&slots[0], &active[0]);
        let held = slot.hold(named(&address, 0, serde_json::json!({ "version": "two" })));
        let new = Arc::clone(held.instance().unwrap());
        held.settled(soon()).await;
        assert!(held.unready().is_none());
        drop(server);
        state(&new, State::Failed).await;
        assert_eq!(held.unready().unwrap().state, State::Failed, "it did serve, and does no more");
        drop(held);
        state(&new, State::Stopped).await;

        let _server = serve(&address, &script).await;
        state(active, State::Ready).await;
        assert!(Arc::ptr_eq(&slot.enter().unwrap(), active));
        assert!(!script.borrow().known.contains(&new.instance().0));
    });
}

#[test]
fn a_second_change_is_not_touched_by_the_first() {
    local(async {
        let running = Running::start().await;
        let (slot, old) = (&running.slots[0], &running.active[0]);
        let held = slot.hold(named(&running.address, 0, serde_json::json!({ "version": "two" })));
        let new = Arc::clone(held.instance().unwrap());
        let other = named(&running.address, 0, serde_json::json!({ "version": "three" }));
        assert_eq!(slot.apply(other.clone()), Applied::Pending);
        assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
        drop(held);
        stopped(&[Arc::clone(old), new]).await;
        assert!(slot.active().unwrap().is_ready() && *slot.active().unwrap().spec() == other);
        assert_eq!(running.live().len(), 4);

        // The other way round: what is decided last takes over.
        running.script.borrow_mut().stuck = Some("tar");
        let held = slot.hold(named(&running.address, 0, serde_json::json!({ "version": "four" })));
        assert_eq!(
            slot.apply(named(&running.address, 0, serde_json::json!({ "version": "tar" }))),
            Applied::Pending
        );
        held.settled(soon()).await;
        let pending = slot.pending().unwrap();
        held.promote();
        assert_eq!(slot.active().unwrap().spec().config["version"], "four");
        assert!(slot.pending().is_none());
        state(&pending, State::Stopped).await;
    });
}

#[test]
fn what_an_earlier_change_waits_for_is_left_to_it() {
    local(async {
        let running = Running::start().await;
        let (slot, active) = (&running.slots[0], &running.active[0]);
        running.script.borrow_mut().poison = Some("arsenic");
        let poisoned = named(&running.address, 0, serde_json::json!({ "version": "arsenic" }));
        assert_eq!(slot.apply(poisoned.clone()), Applied::Pending);
        let pending = slot.pending().unwrap();

        // It changes nothing here, so it does not have to wait for it either.
        let held = slot.hold(poisoned);
        held.settled(soon()).await;
        assert!(held.instance().is_none() && held.unready().is_none());
        held.promote();
        assert!(Arc::ptr_eq(&slot.pending().unwrap(), &pending));

        // Back to what serves: given up only when that is decided.
        drop(slot.hold(active.spec().clone()));
        drop(slot.hold(named(&running.address, 0, serde_json::json!({ "version": "two" }))));
        assert!(Arc::ptr_eq(&slot.pending().unwrap(), &pending));
        slot.hold(active.spec().clone()).promote();
        assert!(slot.pending().is_none() && Arc::ptr_eq(&slot.active().unwrap(), active));
        state(&pending, State::Stopped).await;
    });
}

/// What an earlier change waits for may take over while a later one, back to what served, is not decided yet.
#[test]
fn what_served_is_built_again_if_it_was_replaced_before_the_decision() {
    local(async {
        let running = Running::start().await;
        let (slot, active) = (&running.slots[0], &running.active[0]);
        let back = active.spec().clone();
        let two = named(&running.address, 0, serde_json::json!({ "version": "two" }));
        assert_eq!(slot.apply(two.clone()), Applied::Pending);
        let held = slot.hold(back.clone());
        assert!(held.instance().is_none());
        assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
        assert_eq!(*slot.active().unwrap().spec(), two);
        held.promote();
        assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
        assert_eq!(*slot.active().unwrap().spec(), back);
    });
}
