//! What calls travel over: what the plugin lists, and what the configuration asks for.

use super::*;
use crate::Protocol;

fn lists(script: &Shared, transports: &[&str]) {
    let transports = transports.iter().map(|name| (*name).to_owned()).collect();
    script.borrow_mut().description.as_mut().unwrap().transports = transports;
}

fn asking(address: &Address, protocol: ProtocolChoice) -> InstanceSpec {
    spec(Transport::Process { address: address.clone(), protocol }, serde_json::json!({}))
}

fn counts(script: &Shared) -> (usize, usize) {
    let script = script.borrow();
    (script.over_grpc, script.over_frames)
}

#[test]
fn calls_travel_over_what_was_chosen() {
    use ProtocolChoice::{Auto, Frames, Grpc};
    let cases: [(&[&str], ProtocolChoice, Protocol); 7] = [
        (&[], Auto, Protocol::Grpc),
        (&["grpc"], Auto, Protocol::Grpc),
        (&["grpc", "frames/2"], Auto, Protocol::Grpc),
        (&["grpc", "frames/1"], Auto, Protocol::Frames),
        (&["grpc", "frames/1"], Grpc, Protocol::Grpc),
        (&["grpc", "frames/1"], Frames, Protocol::Frames),
        (&["frames/1"], Auto, Protocol::Frames),
    ];
    local(async {
        for (listed, choice, chosen) in cases {
            let (_directory, address) = socket();
            let script = shared();
            lists(&script, listed);
            let _server = serve(&address, &script).await;
            let slot = slot();
            slot.apply(asking(&address, choice));
            let status = slot.first_verdict(soon()).await.unwrap();
            assert_eq!((status.state, status.protocol), (State::Ready, Some(chosen)), "{status:?}");
            let backend = slot.active().unwrap();
            let worker = worker();
            for _ in 0..3 {
                assert_eq!(grpc_status(&backend, &worker).await, "0");
            }
            let expected = if chosen == Protocol::Frames { (0, 3) } else { (3, 0) };
            assert_eq!(counts(&script), expected, "{listed:?} {choice:?}");
            // Control calls stay where they were.
            slot.retire(Duration::ZERO).finished().await;
            assert_eq!(script.borrow().count("Shutdown"), 1);
        }
    });
}

#[test]
fn a_builtin_has_none() {
    local(async {
        let slot = slot();
        slot.apply(spec(Transport::InProcess(Arc::new(Echo::default()).into()), serde_json::Value::Null));
        assert_eq!(slot.first_verdict(soon()).await.unwrap().protocol, None);
    });
}

#[test]
fn a_plugin_that_lacks_what_is_forced_is_refused_before_it_is_initialized_and_tried_again() {
    local(async {
        for describes in [false, true] {
            let (_directory, address) = socket();
            let script = shared();
            if !describes {
                script.borrow_mut().description = None;
            }
            let _server = serve(&address, &script).await;
            let slot = slot();
            slot.apply(asking(&address, ProtocolChoice::Frames));
            let status = slot.first_verdict(soon()).await.unwrap();
            let reason = status.reason.as_ref().unwrap();
            assert_eq!(status.state, State::Failed);
            assert!(reason.contains("transport: frames") && reason.contains("frames/1"), "{reason}");
            assert!(status.next_retry.is_some());
            assert_eq!(script.borrow().count("Initialize"), 0);

            script.borrow_mut().description = shared().borrow().description.clone();
            lists(&script, &["grpc", "frames/1"]);
            let backend = slot.active().unwrap();
            assert_eq!(state(&backend, State::Ready).await.protocol, Some(Protocol::Frames));
            assert_eq!(grpc_status(&backend, &worker()).await, "0");
            assert_eq!(counts(&script), (0, 1));
        }
    });
}

#[test]
fn a_new_process_is_asked_again() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        let slot = slot();
        let worker = worker();
        let mut server = None;
        let rounds: [(&[&str], (usize, usize)); 3] =
            [(&["grpc", "frames/1"], (0, 1)), (&["grpc"], (1, 1)), (&["grpc", "frames/1"], (1, 2))];
        for (round, (listed, expected)) in rounds.into_iter().enumerate() {
            lists(&script, listed);
            server = Some(serve(&address, &script).await);
            if round == 0 {
                slot.apply(asking(&address, ProtocolChoice::Auto));
            }
            let backend = slot.active().unwrap();
            state(&backend, State::Ready).await;
            assert_eq!(grpc_status(&backend, &worker).await, "0");
            assert_eq!(counts(&script), expected);
            server.take().unwrap().kill().await;
            drop(std::fs::remove_file(match &address {
                Address::Unix(path) => path,
                Address::Tcp(_) => unreachable!("the test uses unix sockets"),
            }));
            state(&backend, State::Failed).await;
        }
        drop(server);
    });
}

#[test]
fn an_instance_that_the_plugin_forgot_is_built_again() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        lists(&script, &["grpc", "frames/1"]);
        let _server = serve(&address, &script).await;
        let slot = slot();
        slot.apply(asking(&address, ProtocolChoice::Auto));
        slot.first_verdict(soon()).await.unwrap();
        let backend = slot.active().unwrap();
        let worker = worker();
        script.borrow_mut().known.clear();
        assert_eq!(grpc_status(&backend, &worker).await, "9");
        while script.borrow().count("Initialize") < 2 {
            time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(grpc_status(&backend, &worker).await, "0");
        assert_eq!(script.borrow().over_grpc, 0);
    });
}
