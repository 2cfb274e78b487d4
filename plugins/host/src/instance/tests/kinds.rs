//! Plugins that change their mind about what their operations do.

use super::*;
use wire::operation_info::Kind as Wire;

fn operation(name: &str, kind: Kind) -> OperationInfo {
    OperationInfo { name: name.into(), kind, ..Default::default() }
}

fn table(operations: &[OperationInfo], overrides: &[(&str, Kind)]) -> OperationTable {
    let overrides = overrides.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
    let description = Description { operations: operations.to_vec(), ..Default::default() };
    OperationTable::described(&description, &overrides, &Schemas::default()).unwrap()
}

const KINDS: [Kind; 4] = [Kind::Read, Kind::Write, Kind::Admin, Kind::Unspecified];

#[test]
fn every_lower_kind_is_refused_and_no_other() {
    // By row what it was, by column what it is.
    let lower = [
        [false, false, false, false],
        [true, false, false, false],
        [true, true, false, false],
        [true, true, false, false],
    ];
    for (row, was) in KINDS.iter().enumerate() {
        for (column, is) in KINDS.iter().enumerate() {
            let (before, after) = (table(&[operation("x", *was)], &[]), table(&[operation("x", *is)], &[]));
            let checked = after.check_kinds(&before, &BTreeMap::new());
            assert_eq!(checked.is_err(), lower[row][column], "{was:?} {is:?}");
            let accepted = BTreeMap::from([("x".to_owned(), *is)]);
            assert!(after.check_kinds(&before, &accepted).is_ok(), "{was:?} {is:?}");
            let other = BTreeMap::from([("y".to_owned(), *is)]);
            assert_eq!(after.check_kinds(&before, &other).is_err(), lower[row][column], "{was:?} {is:?}");
        }
    }
}

#[test]
fn all_of_them_are_named_with_what_to_write() {
    let before =
        table(&[operation("b", Kind::Admin), operation("a", Kind::Write), operation("c", Kind::Read)], &[]);
    let after =
        table(&[operation("a", Kind::Read), operation("b", Kind::Write), operation("c", Kind::Read)], &[]);
    let told = after.check_kinds(&before, &BTreeMap::new()).unwrap_err();
    assert!(told.contains("`a` from write to read and `b` from admin to write"), "{told}");
    assert!(told.contains("operations: { a: read, b: write }"), "{told}");
}

#[test]
fn what_the_configuration_overrides_is_its_own_business() {
    // It goes back to what the plugin says: that was said before.
    let strict = table(&[operation("x", Kind::Write)], &[("x", Kind::Admin)]);
    let plain = table(&[operation("x", Kind::Write)], &[]);
    assert!(plain.check_kinds(&strict, &BTreeMap::new()).is_ok());
    // But an override does not hide that the plugin changed its mind.
    let lower = table(&[operation("x", Kind::Read)], &[]);
    assert!(lower.check_kinds(&strict, &BTreeMap::new()).is_err());
    let lenient = table(&[operation("x", Kind::Write)], &[("x", Kind::Read)]);
    assert!(lower.check_kinds(&lenient, &BTreeMap::new()).is_err());
}

#[test]
fn who_could_not_say_it_before_does_not_lower_it_by_saying_it() {
    let plugin = BTreeMap::from([("get".to_owned(), Kind::Read)]);
    let silent = OperationTable::supported(&["get".into(), "drop".into()], &plugin, &BTreeMap::new());
    let speaks = table(&[operation("get", Kind::Read), operation("drop", Kind::Read)], &[]);
    let told = speaks.check_kinds(&silent, &BTreeMap::new()).unwrap_err();
    assert!(told.contains("`drop` from admin to read") && !told.contains("`get`"), "{told}");
    // Of one that cannot say it, all kinds are the configuration's.
    let read = BTreeMap::from([("drop".to_owned(), Kind::Read)]);
    let told = OperationTable::supported(&["drop".into()], &read, &BTreeMap::new());
    assert!(told.check_kinds(&silent, &BTreeMap::new()).is_ok());
}

/// Makes the script's `get` be of another kind from now on.
fn relabel(script: &Shared, kind: Wire) {
    let mut script = script.borrow_mut();
    let operations = &mut script.description.as_mut().unwrap().operations;
    operations.iter_mut().find(|operation| operation.name == "get").unwrap().kind = kind.into();
}

#[test]
fn a_change_whose_plugin_lowers_a_kind_does_not_take_over() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        relabel(&script, Wire::Write);
        let _server = serve(&address, &script).await;
        let slot = slot();
        slot.apply(sidecar(&address, serde_json::json!({ "version": "one" })));
        assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
        assert_eq!(slot.kind("get"), Some(Kind::Write));
        assert_eq!(slot.kind("nonsense"), None);
        let old = slot.active().unwrap();

        relabel(&script, Wire::Read);
        assert_eq!(slot.apply(sidecar(&address, serde_json::json!({ "version": "two" }))), Applied::Pending);
        let status = slot.first_verdict(soon()).await.unwrap();
        assert_eq!(status.state, State::Failed);
        assert!(status.reason.as_ref().unwrap().contains("`get` from write to read"), "{status:?}");
        assert!(Arc::ptr_eq(&slot.active().unwrap(), &old));
        assert_eq!(slot.kind("get"), Some(Kind::Write));
        assert_eq!(script.borrow().count("Initialize"), 1, "it was given nothing");

        // Nor where the change is made only as a whole.
        let held = slot.hold(sidecar(&address, serde_json::json!({ "version": "three" })));
        held.settled(soon()).await;
        let reason = held.unready().unwrap().reason.clone().unwrap();
        assert!(reason.contains("operations: { get: read }"), "{reason}");
        drop(held);

        let mut meant = sidecar(&address, serde_json::json!({ "version": "two" }));
        meant.operation_kinds = [("get".to_owned(), Kind::Read)].into();
        assert_eq!(slot.apply(meant), Applied::Pending);
        assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
        assert_eq!(slot.kind("get"), Some(Kind::Read));
    });
}

#[test]
fn a_process_that_comes_back_with_lower_kinds_does_not_serve() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        relabel(&script, Wire::Admin);
        let server = serve(&address, &script).await;
        let slot = slot();
        slot.apply(sidecar(&address, serde_json::json!({})));
        assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
        let backend = slot.active().unwrap();
        drop(server);
        state(&backend, State::Failed).await;
        relabel(&script, Wire::Read);
        let server = serve(&address, &script).await;
        let refused = |status: &Status| {
            status.reason.as_ref().is_some_and(|reason| reason.contains("`get` from admin to read"))
        };
        time::timeout(Duration::from_secs(10), backend.wait_until(refused)).await.unwrap();
        assert!(!backend.is_ready());
        assert_eq!(slot.kind("get"), Some(Kind::Admin), "what was known of it stays");

        // A change in that state does not forget it either.
        let change = sidecar(&address, serde_json::json!({ "version": "two" }));
        slot.apply(change);
        let status = slot.first_verdict(soon()).await.unwrap();
        assert!(refused(&status), "{status:?}");
        drop(server);
    });
}
