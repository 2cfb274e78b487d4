//! An instance at several endpoints: each is initialized and shut down, calls are spread over those that serve.

use super::*;
use crate::{Remote, RemoteEndpoint};

struct Place {
    script: Shared,
    address: Address,
    server: Option<Server>,
}

impl Place {
    async fn new() -> Self {
        let free =
            Platform::system().bind(&"127.0.0.1:0".parse().unwrap(), Default::default()).await.unwrap();
        let address = free.local_address().unwrap();
        drop(free);
        let mut place = Self { script: shared(), address, server: None };
        place.start().await;
        place
    }

    async fn start(&mut self) {
        self.server = Some(serve(&self.address, &self.script).await);
    }

    fn calls(&self) -> usize {
        let script = self.script.borrow();
        script.over_grpc + script.over_frames
    }
}

fn at(places: &[Place], protocol: ProtocolChoice) -> InstanceSpec {
    let endpoints = places.iter().map(|place| {
        let Address::Tcp(address) = place.address else { panic!("a TCP address") };
        RemoteEndpoint { host: address.ip().to_string(), port: address.port() }
    });
    let remote = Remote { endpoints: endpoints.collect(), tls: None, protocol };
    spec(Transport::Remote(remote), serde_json::json!({}))
}

async fn places() -> Vec<Place> {
    let mut places = Vec::new();
    for _ in 0..3 {
        places.push(Place::new().await);
    }
    for place in &places {
        place.script.borrow_mut().description.as_mut().unwrap().transports =
            vec!["grpc".to_owned(), "frames/1".to_owned()];
    }
    places
}

async fn all_ready(slot: &NamespaceSlot) -> Arc<Backend> {
    slot.first_verdict(soon()).await.unwrap();
    let backend = slot.active().unwrap();
    state(&backend, State::Ready).await;
    backend
}

#[test]
fn every_endpoint_is_initialized_takes_its_share_and_is_shut_down() {
    for protocol in [ProtocolChoice::Grpc, ProtocolChoice::Frames] {
        local(async {
            let places = places().await;
            let (slot, worker) = (slot(), worker());
            slot.apply(at(&places, protocol));
            let backend = all_ready(&slot).await;
            for _ in 0..30 {
                assert_eq!(grpc_status(&backend, &worker).await, "0");
            }
            let number = backend.instance().0;
            for place in &places {
                // One at a time, so they take turns.
                assert_eq!(place.calls(), 10);
                assert_eq!(place.script.borrow().count(&format!("Initialize {number}")), 1);
            }
            assert_eq!(backend.endpoints().len(), 3);
            slot.retire(Duration::ZERO).finished().await;
            for place in &places {
                assert_eq!(place.script.borrow().count(&format!("Shutdown {number}")), 1);
            }
            assert_eq!(backend.status().state, State::Stopped);
        });
    }
}

#[test]
fn an_endpoint_that_goes_takes_no_call_with_it_and_gets_none_until_it_is_back() {
    for protocol in [ProtocolChoice::Grpc, ProtocolChoice::Frames] {
        local(async {
            let mut places = places().await;
            let (slot, worker) = (slot(), worker());
            slot.apply(at(&places, protocol));
            let backend = all_ready(&slot).await;
            for _ in 0..6 {
                assert_eq!(grpc_status(&backend, &worker).await, "0");
            }
            places[0].server = None;
            // For the connections' drivers to see it: a call that is sent before that may have begun, and is lost.
            time::sleep(Duration::from_millis(20)).await;
            for _ in 0..6 {
                assert_eq!(grpc_status(&backend, &worker).await, "0");
            }
            let status = state(&backend, State::Degraded).await;
            let reason = status.reason.clone().unwrap();
            assert!(reason.starts_with("2 of 3 endpoints serve; "), "{reason}");
            assert!(reason.contains(&places[0].address.to_string()), "{reason}");
            let before = places[0].calls();
            for _ in 0..6 {
                assert_eq!(grpc_status(&backend, &worker).await, "0");
            }
            assert_eq!(places[0].calls(), before);

            places[0].start().await;
            state(&backend, State::Ready).await;
            for _ in 0..6 {
                assert_eq!(grpc_status(&backend, &worker).await, "0");
            }
            assert_eq!(places[0].calls(), before + 2);

            for place in &mut places {
                place.server = None;
            }
            let status = state(&backend, State::Failed).await;
            assert!(status.reason.as_ref().unwrap().starts_with("0 of 3 endpoints serve; "), "{status:?}");
            assert!(matches!(call(&backend, &worker).await, Err(crate::ForwardError::Unavailable(_))));
            slot.retire(Duration::ZERO).finished().await;
        });
    }
}

#[test]
fn counts_of_all_endpoints_are_added_up_and_never_fall() {
    local(async {
        let mut places = places().await;
        for (place, requests) in places.iter().zip([10, 200, 3000]) {
            place.script.borrow_mut().counts = Counts::Requests(requests);
        }
        let slot = slot();
        let spec = at(&places, ProtocolChoice::Grpc);
        spec.plugin.poll_metrics_every(Duration::from_millis(5));
        slot.apply(spec);
        let backend = all_ready(&slot).await;
        let total = async |wanted: u64| {
            loop {
                let counted = backend.counted().map_or(0, |counted| counted.metrics.requests_total);
                if counted == wanted {
                    return;
                }
                time::sleep(Duration::from_millis(2)).await;
            }
        };
        total(3210).await;
        // A process that ends leaves what it had counted, and one that begins anew is added to that.
        places[2].server = None;
        state(&backend, State::Degraded).await;
        total(3210).await;
        places[2].script.borrow_mut().counts = Counts::Requests(7);
        places[2].start().await;
        total(3217).await;
        slot.retire(Duration::ZERO).finished().await;
    });
}

#[test]
fn a_name_that_cannot_be_looked_up_is_said_to_be_the_problem() {
    local(async {
        let endpoint = RemoteEndpoint { host: "no-such-host.invalid".to_owned(), port: 1 };
        let remote = Remote { endpoints: vec![endpoint], tls: None, protocol: ProtocolChoice::Auto };
        let slot = slot();
        slot.apply(spec(Transport::Remote(remote), serde_json::json!({})));
        let status = slot.first_verdict(soon()).await.unwrap();
        let reason = status.reason.clone().unwrap();
        assert!(reason.starts_with("no-such-host.invalid:1: "), "{reason}");
        slot.retire(Duration::ZERO).finished().await;
    });
}
