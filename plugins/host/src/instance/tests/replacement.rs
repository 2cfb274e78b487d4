//! Configuration changes of a running namespace.

use super::*;
use futures_util::FutureExt;

/// A slot that serves from a scripted plugin.
async fn running() -> (tempfile::TempDir, Address, Shared, Server, NamespaceSlot, Arc<Backend>) {
    let (directory, address) = socket();
    let script = shared();
    let server = serve(&address, &script).await;
    let slot = slot();
    assert_eq!(slot.apply(sidecar(&address, serde_json::json!({ "version": "one" }))), Applied::Started);
    assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
    let backend = slot.active().unwrap();
    (directory, address, script, server, slot, backend)
}

#[test]
fn what_did_not_change_is_not_touched() {
    local(async {
        let (_directory, address, script, _server, slot, backend) = running().await;
        // Equal in content, though all of it was read anew.
        let again = sidecar(&address, serde_json::json!({ "version": "one" }));
        assert_eq!(slot.apply(again), Applied::Unchanged);
        assert!(Arc::ptr_eq(&slot.active().unwrap(), &backend) && slot.pending().is_none());
        assert_eq!(script.borrow().count("Initialize"), 1);
    });
}

#[test]
fn what_a_plugin_says_is_shown_without_its_secrets() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        let told = "cannot log in to x://me:h1dden-in-url@h with h1dden-password";
        script.borrow_mut().rejects = Some((Code::Unauthenticated, told));
        let _server = serve(&address, &script).await;
        let slot = slot();
        let url = serde_json::json!({ "url": "x://me:h1dden-in-url@h" });
        let mut spec = sidecar(&address, serde_json::Value::Null);
        spec.config = Settings::with_secrets(url, ["h1dden-in-url".to_owned()]);
        spec.credentials.0.insert("password".into(), "h1dden-password".into());
        slot.apply(spec);
        let status = slot.first_verdict(soon()).await.unwrap();
        let reason = status.reason.clone().unwrap();
        assert!(reason.ends_with("cannot log in to x://me:<redacted>@h with <redacted>"), "{reason}");
    });
}

#[test]
fn every_part_of_a_specification_counts() {
    let address: Address = "127.0.0.1:1".parse().unwrap();
    let base = || sidecar(&address, serde_json::json!({ "a": 1 }));
    assert_eq!(base(), base());
    let changes: [fn(&mut InstanceSpec); 8] = [
        |spec| spec.namespace.push('x'),
        |spec| spec.backend_type.push('x'),
        |spec| spec.config = serde_json::json!({ "a": 2 }).into(),
        |spec| drop(spec.credentials.0.insert("password".into(), "x".into())),
        |spec| spec.operation_kinds = [("get".to_owned(), Kind::Admin)].into(),
        |spec| {
            let transport = Transport::Process {
                address: "127.0.0.1:2".parse().unwrap(),
                protocol: ProtocolChoice::Auto,
            };
            spec.plugin = Arc::new(PluginSpec::new("script".into(), transport, BTreeMap::new()).unwrap());
        },
        |spec| {
            let transport = Transport::Process {
                address: "127.0.0.1:1".parse().unwrap(),
                protocol: ProtocolChoice::Grpc,
            };
            spec.plugin = Arc::new(PluginSpec::new("script".into(), transport, BTreeMap::new()).unwrap());
        },
        |spec| {
            let transport = Transport::InProcess(Arc::new(Echo::default()).into());
            spec.plugin = Arc::new(PluginSpec::new("script".into(), transport, BTreeMap::new()).unwrap());
        },
    ];
    for change in changes {
        let mut changed = base();
        change(&mut changed);
        assert_ne!(changed, base());
    }
}

#[test]
fn a_change_takes_over_once_it_is_ready_and_the_old_one_drains() {
    local(async {
        let (_directory, address, script, _server, slot, old) = running().await;
        let call = slot.enter().unwrap();
        assert_eq!(slot.apply(sidecar(&address, serde_json::json!({ "version": "two" }))), Applied::Pending);
        assert!(Arc::ptr_eq(&slot.active().unwrap(), &old));
        assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
        let new = slot.active().unwrap();
        assert!(!Arc::ptr_eq(&new, &old) && new.instance() != old.instance() && slot.pending().is_none());
        assert!(Arc::ptr_eq(&slot.enter().unwrap(), &new));

        state(&old, State::Draining).await;
        assert_eq!(old.in_flight(), 1);
        let shutdown = format!("Shutdown {}", old.instance().0);
        assert_eq!(script.borrow().count(&shutdown), 0, "a call is still under way");
        assert_eq!(grpc_status(&call, &worker()).await, "0");
        drop(call);
        state(&old, State::Stopped).await;
        assert_eq!(script.borrow().count(&shutdown), 1);
        assert!(new.is_ready());
    });
}

#[test]
fn a_change_that_the_plugin_rejects_leaves_the_old_one_serving() {
    local(async {
        let (_directory, address, script, _server, slot, old) = running().await;
        script.borrow_mut().poison = Some("arsenic");
        let poisoned = || sidecar(&address, serde_json::json!({ "version": "arsenic" }));
        assert_eq!(slot.apply(poisoned()), Applied::Pending);
        let status = slot.first_verdict(soon()).await.unwrap();
        assert_eq!(status.state, State::Failed);
        assert!(status.reason.as_ref().unwrap().contains("poisoned"));
        assert!(Arc::ptr_eq(&slot.active().unwrap(), &old) && old.is_ready());
        assert_eq!(slot.pending().unwrap().status().state, State::Failed);
        assert_eq!(slot.apply(poisoned()), Applied::Pending, "it is being tried already");

        // Back to what serves: the attempt is given up.
        let attempt = slot.pending().unwrap();
        assert_eq!(slot.apply(old.spec().clone()), Applied::Unchanged);
        assert!(slot.pending().is_none());
        state(&attempt, State::Stopped).await;
        assert!(old.is_ready());
        assert_eq!(script.borrow().count(&format!("Shutdown {}", old.instance().0)), 0);
    });
}

#[test]
fn a_pending_change_takes_over_by_itself_when_its_plugin_comes() {
    local(async {
        let (_directory, _, script, _server, slot, old) = running().await;
        let (_other_directory, elsewhere) = socket();
        assert_eq!(slot.apply(sidecar(&elsewhere, serde_json::json!({}))), Applied::Pending);
        assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Failed);
        assert!(Arc::ptr_eq(&slot.active().unwrap(), &old));
        let newcomer = shared();
        let _other = serve(&elsewhere, &newcomer).await;
        state(&old, State::Stopped).await;
        let new = slot.active().unwrap();
        assert!(new.is_ready() && !Arc::ptr_eq(&new, &old));
        assert_eq!(script.borrow().count("Shutdown"), 1);
    });
}

#[test]
fn the_last_of_many_changes_wins() {
    local(async {
        let (_directory, address, script, _server, slot, old) = running().await;
        for version in 0..20 {
            slot.apply(sidecar(&address, serde_json::json!({ "version": version })));
        }
        slot.first_verdict(soon()).await.unwrap();
        state(&old, State::Stopped).await;
        assert_eq!(slot.active().unwrap().spec().config["version"], 19);
        slot.retire(Duration::ZERO).finished().await;
        assert!(script.borrow().known.is_empty(), "every instance that was built is shut down");
    });
}

#[test]
fn an_instance_that_never_served_is_not_kept() {
    local(async {
        let (_directory, address) = socket();
        let slot = slot();
        slot.apply(sidecar(&address, serde_json::json!({ "version": "one" })));
        slot.first_verdict(soon()).await.unwrap();
        let old = slot.active().unwrap();
        assert_eq!(slot.apply(sidecar(&address, serde_json::json!({ "version": "two" }))), Applied::Started);
        assert!(!Arc::ptr_eq(&slot.active().unwrap(), &old));
        state(&old, State::Stopped).await;
    });
}

#[test]
fn retiring_waits_for_calls_and_takes_no_new_ones() {
    local(async {
        let (_directory, address, script, _server, slot, backend) = running().await;
        let call = slot.enter().unwrap();
        let mut retired = Box::pin(slot.retire(Duration::from_secs(3600)).finished());
        assert!(slot.enter().is_none() && backend.enter().is_none());
        assert_eq!(
            slot.apply(sidecar(&address, serde_json::json!({ "version": "two" }))),
            Applied::Unchanged
        );
        assert!(time::timeout(Duration::from_millis(50), &mut retired).await.is_err());
        assert!(backend.cut().now_or_never().is_none());
        drop(call);
        retired.await;
        assert_eq!(script.borrow().count("Shutdown"), 1);
        assert!(script.borrow().known.is_empty());
    });
}

#[test]
fn calls_that_outlast_the_drain_are_told_to_end() {
    local(async {
        let (_directory, _address, script, _server, slot, backend) = running().await;
        let call = slot.enter().unwrap();
        let retired = slot.retire(Duration::from_millis(20)).finished();
        let ((), ()) = tokio::join!(retired, async {
            call.cut().await;
            // The plugin goes after they have gone, or their callers would hear of its end from it.
            time::sleep(Duration::from_millis(50)).await;
            assert_eq!(script.borrow().count("Shutdown"), 0);
            drop(call);
        });
        assert_eq!(backend.status().state, State::Stopped);
        assert_eq!(script.borrow().count("Shutdown"), 1);
    });
}

#[test]
fn a_call_that_does_not_hear_of_the_end_does_not_put_it_off() {
    local(async {
        let (_directory, _address, script, _server, slot, backend) = running().await;
        let _call = slot.enter().unwrap();
        slot.retire(Duration::from_millis(20)).finished().await;
        assert_eq!(backend.status().state, State::Stopped);
        assert_eq!(script.borrow().count("Shutdown"), 1);
    });
}

#[test]
fn a_dropped_slot_leaves_no_task_behind() {
    local(async {
        let (_directory, _address, _script, server, slot, backend) = running().await;
        let weak = Arc::downgrade(&backend);
        drop((slot, backend));
        while weak.upgrade().is_some() {
            time::sleep(Duration::from_millis(1)).await;
        }
        drop(server);
    });
}
