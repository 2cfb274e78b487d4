//! From the first dial to the last shutdown.

use super::*;

/// A sidecar that serves, and the slot that has it.
async fn ready() -> (tempfile::TempDir, Address, Shared, Server, NamespaceSlot) {
    let (directory, address) = socket();
    let script = shared();
    let server = serve(&address, &script).await;
    let slot = slot();
    slot.apply(sidecar(&address, serde_json::json!({})));
    slot.first_verdict(soon()).await.unwrap();
    (directory, address, script, server, slot)
}

#[test]
fn a_builtin_is_ready_at_once() {
    local(async {
        let echo = Arc::new(Echo::default());
        let slot = slot();
        assert!(slot.active().is_none() && slot.enter().is_none());
        assert_eq!(
            slot.apply(spec(Transport::InProcess(echo.clone().into()), serde_json::Value::Null)),
            Applied::Started
        );
        assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
        let backend = slot.active().unwrap();
        assert!(backend.is_ready() && backend.was_ready() && backend.instance() != InstanceId(0));
        assert_eq!(grpc_status(&backend, &worker()).await, "0");
        slot.retire(Duration::ZERO).finished().await;
        assert_eq!(echo.shut_down.load(Ordering::Relaxed), 1);
        assert_eq!(backend.status().state, State::Stopped);
        assert!(slot.enter().is_none());
    });
}

#[test]
fn a_plugin_that_panics_while_it_starts_is_a_failed_plugin() {
    local(async {
        let slot = slot();
        let mut spec = spec(Transport::InProcess(Arc::new(Echo::default()).into()), serde_json::Value::Null);
        spec.namespace = "panic".to_owned();
        slot.apply(spec);
        let status = slot.first_verdict(soon()).await.unwrap();
        assert_eq!(status.state, State::Failed);
        assert!(status.reason.as_ref().unwrap().contains("panicked"));
    });
}

#[test]
fn down_then_up() {
    local(async {
        let (_directory, address) = socket();
        let slot = slot();
        slot.apply(sidecar(&address, serde_json::json!({})));
        let status = slot.first_verdict(soon()).await.unwrap();
        assert_eq!(status.state, State::Failed);
        assert!(status.reason.as_ref().unwrap().contains(&address.to_string()), "{status:?}");
        assert!(status.next_retry.is_some() && status.operations.is_none());
        let backend = slot.active().unwrap();
        assert!(!backend.was_ready());

        let script = shared();
        let _server = serve(&address, &script).await;
        let status = state(&backend, State::Ready).await;
        assert!(status.reason.is_none() && status.next_retry.is_none());
        let operations = status.operations.clone().unwrap();
        assert_eq!(operations.get("get").unwrap().kind, Kind::Read);
        assert!(operations.get("set").is_none() && operations.is_described());
        assert_eq!(status.description.as_ref().unwrap().name, "script");
        assert_eq!(grpc_status(&backend, &worker()).await, "0");
        let asked = script.borrow().asked.join(", ");
        let order = format!("Describe, Initialize {}, HealthCheck", backend.instance().0);
        assert!(asked.starts_with(&order), "{asked}");
    });
}

#[test]
fn a_dead_process_is_noticed_and_a_new_one_initialized() {
    local(async {
        let (_directory, address, script, server, slot) = ready().await;
        let backend = slot.active().unwrap();
        let worker = worker();
        assert_eq!(grpc_status(&backend, &worker).await, "0");

        server.kill().await;
        let status = state(&backend, State::Failed).await;
        assert!(status.reason.as_ref().unwrap().contains(&address.to_string()), "{status:?}");
        assert!(status.operations.is_some(), "what it can do is known from before");

        drop(std::fs::remove_file(address.to_string().trim_start_matches("unix:")));
        let _server = serve(&address, &script).await;
        state(&backend, State::Ready).await;
        assert_eq!(grpc_status(&backend, &worker).await, "0");
        let initialize = format!("Initialize {}", backend.instance().0);
        assert_eq!(script.borrow().count(&initialize), 2);
    });
}

#[test]
fn an_instance_that_is_forgotten_is_initialized_again() {
    local(async {
        let (_directory, _address, script, _server, slot) = ready().await;
        let backend = slot.active().unwrap();
        let worker = worker();
        script.borrow_mut().known.clear();
        assert_eq!(grpc_status(&backend, &worker).await, "9");
        while grpc_status(&backend, &worker).await != "0" {
            time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(script.borrow().count("Initialize"), 2);
        assert!(backend.is_ready());
    });
}

#[test]
fn health_decides_after_three_misses() {
    use wire::health_check_response::Status as Health;
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        let _server = serve(&address, &script).await;
        let slot = slot_that_checks();
        slot.apply(sidecar(&address, serde_json::json!({})));
        slot.first_verdict(soon()).await.unwrap();
        let backend = slot.active().unwrap();
        script.borrow_mut().health = Health::Degraded;
        let status = state(&backend, State::Degraded).await;
        assert!(status.reason.as_ref().unwrap().contains("so so") && backend.is_ready());

        let before = {
            let mut script = script.borrow_mut();
            script.health = Health::Unhealthy;
            script.count("HealthCheck")
        };
        let status = state(&backend, State::Failed).await;
        assert!(status.reason.as_ref().unwrap().contains("unhealthy: so so"), "{status:?}");
        assert!(script.borrow().count("HealthCheck") - before >= 3);

        script.borrow_mut().health = Health::Healthy;
        assert!(state(&backend, State::Ready).await.reason.is_none());
    });
}

#[test]
fn what_the_plugin_rejects_is_said_and_tried_again() {
    local(async {
        for code in [Code::InvalidArgument, Code::Unauthenticated] {
            let (_directory, address) = socket();
            let script = shared();
            script.borrow_mut().rejects = Some((code, "url is missing"));
            let _server = serve(&address, &script).await;
            let slot = slot();
            slot.apply(sidecar(&address, serde_json::json!({})));
            let status = slot.first_verdict(soon()).await.unwrap();
            assert_eq!(status.state, State::Failed);
            let reason = status.reason.clone().unwrap();
            assert!(reason.contains("url is missing") && reason.contains(code.name()), "{reason}");
            script.borrow_mut().rejects = None;
            state(&slot.active().unwrap(), State::Ready).await;
        }
    });
}

#[test]
fn a_configuration_that_is_no_mapping_never_reaches_the_plugin() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        let _server = serve(&address, &script).await;
        let slot = slot();
        slot.apply(sidecar(&address, serde_json::json!([1])));
        let status = slot.first_verdict(soon()).await.unwrap();
        assert!(status.reason.as_ref().unwrap().contains("must be a mapping"), "{status:?}");
        assert_eq!(script.borrow().count("Initialize"), 0);
    });
}

#[test]
fn an_answer_for_another_instance_is_refused() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        script.borrow_mut().echoes = Some(12_345);
        let _server = serve(&address, &script).await;
        let slot = slot();
        slot.apply(sidecar(&address, serde_json::json!({})));
        let status = slot.first_verdict(soon()).await.unwrap();
        assert!(status.reason.as_ref().unwrap().contains("0000000000003039"), "{status:?}");
    });
}

#[test]
fn the_plain_protocol_of_the_rfc_works() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        {
            let mut script = script.borrow_mut();
            script.description = None;
            script.echoes = Some(0);
        }
        let _server = serve(&address, &script).await;
        let slot = slot();
        let kinds = [("get".to_owned(), Kind::Read), ("set".to_owned(), Kind::Write)];
        let transport = Transport::Process { address: address.clone(), protocol: ProtocolChoice::Auto };
        let mut spec = sidecar(&address, serde_json::json!({}));
        spec.plugin =
            Arc::new(PluginSpec::new("plain".to_owned(), transport, BTreeMap::from(kinds)).unwrap());
        spec.operation_kinds = [("set".to_owned(), Kind::Admin)].into();
        slot.apply(spec);
        let status = slot.first_verdict(soon()).await.unwrap();
        assert_eq!(status.state, State::Ready, "{status:?}");
        let operations = status.operations.clone().unwrap();
        assert!(!operations.is_described() && status.description.is_none());
        for (name, kind) in [("get", Kind::Read), ("set", Kind::Admin), ("drop", Kind::Admin)] {
            let operation = operations.get(name).unwrap();
            assert_eq!((operation.kind, operation.idempotent), (kind, false), "{name}");
        }
        assert_eq!(grpc_status(&slot.active().unwrap(), &worker()).await, "0");
        slot.retire(Duration::ZERO).finished().await;
        // It knows no instances: a shutdown would end it for everybody.
        assert_eq!(script.borrow().count("Shutdown"), 0);
    });
}

#[test]
fn a_plugin_that_goes_before_it_is_retired_is_not_waited_for() {
    local(async {
        let (_directory, _address, _script, server, slot) = ready().await;
        let backend = slot.active().unwrap();
        server.kill().await;
        state(&backend, State::Failed).await;
        slot.retire(Duration::from_secs(3600)).finished().await;
        assert_eq!(backend.status().state, State::Stopped);
    });
}

#[test]
fn a_goodbye_in_good_order_is_no_failure() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        let listener =
            Platform::system().bind(&address, prism_platform::BindOptions::default()).await.unwrap();
        let (opened, mut connections) = tokio::sync::mpsc::unbounded_channel();
        let scripted = Rc::clone(&script);
        let server = tokio::task::spawn_local(async move {
            loop {
                let mut connection =
                    h2::server::handshake(listener.accept().await.unwrap().io).await.unwrap();
                opened.send(()).unwrap();
                let script = Rc::clone(&scripted);
                tokio::task::spawn_local(async move {
                    // A server that limits a connection's age; longer than what counts as short-lived.
                    let mut age = Box::pin(time::sleep(Duration::from_millis(1100)));
                    let mut old = false;
                    loop {
                        tokio::select! {
                            () = &mut age, if !old => {
                                old = true;
                                connection.graceful_shutdown();
                            }
                            call = connection.accept() => {
                                let Some(Ok((request, respond))) = call else { return };
                                tokio::task::spawn_local(respond_to(Rc::clone(&script), request, respond));
                            }
                        }
                    }
                });
            }
        });
        let slot = slot();
        slot.apply(sidecar(&address, serde_json::json!({})));
        slot.first_verdict(soon()).await.unwrap();
        let backend = slot.active().unwrap();
        connections.recv().await.unwrap();
        let failed = state(&backend, State::Failed);
        tokio::select! {
            status = failed => panic!("{status:?}"),
            _ = async {
                connections.recv().await.unwrap();
                while script.borrow().count("HealthCheck") < 2 {
                    time::sleep(Duration::from_millis(1)).await;
                }
            } => {}
        }
        assert!(backend.is_ready());
        assert_eq!(grpc_status(&backend, &worker()).await, "0");
        server.abort();
    });
}

#[test]
fn a_configuration_is_the_message_that_the_plugin_names() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        {
            let mut script = script.borrow_mut();
            let description = script.description.as_mut().unwrap();
            description.config_type = "prism.kv.v1.ScanRequest".to_owned();
            description.file_descriptor_set = prism_proto::FILE_DESCRIPTOR_SET.into();
        }
        let _server = serve(&address, &script).await;
        let slot = slot();
        slot.apply(sidecar(&address, serde_json::json!({ "page_size": "many" })));
        let status = slot.first_verdict(soon()).await.unwrap();
        assert_eq!(status.state, State::Failed);
        assert!(status.reason.as_ref().unwrap().starts_with("config.page_size: "), "{status:?}");
        // It never came to the plugin.
        assert_eq!(script.borrow().count("Initialize"), 0);
        slot.apply(sidecar(&address, serde_json::json!({ "page_size": 7 })));
        assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
        let backend = slot.active().unwrap();
        // The same one where the instance is built again.
        script.borrow_mut().known.clear();
        while grpc_status(&backend, &worker()).await != "0" {
            time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(script.borrow().config_types, ["type.googleapis.com/prism.kv.v1.ScanRequest"; 2]);
    });
}

#[test]
fn a_plugin_that_names_no_message_gets_a_struct() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        let _server = serve(&address, &script).await;
        let slot = slot();
        slot.apply(sidecar(&address, serde_json::json!({ "any": 1 })));
        assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
        assert_eq!(script.borrow().config_types, ["type.googleapis.com/google.protobuf.Struct"]);
    });
}

/// A plugin that could not be reached for a moment still has what it had.
#[test]
fn an_instance_is_shut_down_though_its_connection_was_lost() {
    local(async {
        let (_directory, address, script, server, slot) = ready().await;
        let backend = slot.active().unwrap();
        let known = script.borrow().known.clone();
        assert_eq!(known.len(), 1);
        drop(server);
        state(&backend, State::Failed).await;
        let retired = slot.retire(Duration::ZERO);
        let _server = serve(&address, &script).await;
        script.borrow_mut().known = known;
        retired.finished().await;
        assert!(script.borrow().known.is_empty(), "it has it still");
    });
}
