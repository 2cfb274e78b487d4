//! Plugins that claim an interface.

use super::*;

/// A plugin that implements every interface to the letter.
fn faithful() -> Description {
    let operations = prism_proto::INTERFACES.iter().flat_map(|interface| interface.methods).map(|method| {
        let kind = match method.kind {
            prism_proto::Kind::Read => Kind::Read,
            prism_proto::Kind::Write => Kind::Write,
            prism_proto::Kind::Admin => Kind::Admin,
        };
        OperationInfo {
            name: method.operation.to_owned(),
            kind,
            idempotent: method.idempotent,
            server_streaming: method.server_streaming,
            client_streaming: method.client_streaming,
            service_method: method.service_method.to_owned(),
            ..Default::default()
        }
    });
    Description {
        operations: operations.collect(),
        interfaces: vec!["prism.kv.v1".to_owned()],
        ..Default::default()
    }
}

fn described(plugin: &Description) -> Result<OperationTable, String> {
    OperationTable::described(plugin, &Default::default(), &Schemas::default())
}

#[test]
fn one_that_keeps_its_word_is_accepted() {
    assert!(described(&faithful()).is_ok());
    // What is nobody's interface is the plugin's own business.
    let mut own = Description { interfaces: vec!["acme.graph.v1".to_owned()], ..Default::default() };
    own.operations.push(OperationInfo {
        service_method: "acme.graph.v1.Graph/Walk".into(),
        params_type: "acme.graph.v1.Walk".into(),
        result_type: "acme.graph.v1.Node".into(),
        ..Default::default()
    });
    assert!(described(&own).is_ok());
}

#[test]
fn every_contradiction_is_refused() {
    type Change = fn(&mut Description);
    let changes: [(Change, &str); 7] = [
        (|plugin| plugin.operations.retain(|operation| operation.name != "watch"), "lacks operation `watch`"),
        (|plugin| find(plugin, "set").kind = Kind::Read, "its kind"),
        (|plugin| find(plugin, "get").kind = Kind::Unspecified, "its kind"),
        (|plugin| find(plugin, "set").idempotent = true, "being idempotent"),
        (|plugin| find(plugin, "watch").server_streaming = false, "the answer being a stream"),
        (|plugin| find(plugin, "get").client_streaming = true, "the request being a stream"),
        // A write that hides behind the name of a read.
        (|plugin| find(plugin, "get").service_method = "prism.kv.v1.KeyValueService/Set".into(), "its name"),
    ];
    for (change, problem) in changes {
        let mut plugin = faithful();
        change(&mut plugin);
        let found = described(&plugin).unwrap_err();
        assert!(found.contains(problem), "{found}");
    }
}

fn find<'a>(plugin: &'a mut Description, name: &str) -> &'a mut OperationInfo {
    plugin.operations.iter_mut().find(|operation| operation.name == name).unwrap()
}

#[test]
fn the_namespace_has_the_last_word_on_kinds() {
    let kinds = [("get".to_owned(), Kind::Admin)].into();
    let table = OperationTable::described(&faithful(), &kinds, &Schemas::default()).unwrap();
    assert_eq!(table.get("get").unwrap().kind, Kind::Admin);
    assert_eq!(table.get("exists").unwrap().kind, Kind::Read);
    assert!(table.get("").is_none() && table.get("GET").is_none());
    assert_eq!(table.iter().count(), faithful().operations.len());
}

#[test]
fn a_plugin_that_contradicts_its_interface_does_not_get_its_secrets() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        script.borrow_mut().description.as_mut().unwrap().interfaces.push("prism.kv.v1".to_owned());
        let _server = serve(&address, &script).await;
        let slot = slot();
        slot.apply(sidecar(&address, serde_json::json!({})));
        let status = slot.first_verdict(soon()).await.unwrap();
        assert_eq!(status.state, State::Failed);
        assert!(status.reason.as_ref().unwrap().contains("claims interface"), "{status:?}");
        assert_eq!(script.borrow().count("Initialize"), 0);
    });
}
