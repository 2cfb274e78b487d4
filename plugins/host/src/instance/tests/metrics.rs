//! What instances say that they counted: asked for beside everything else, and never in its way.

use super::*;
use prism_plugin_abi::CustomMetrics;
use prism_proto::plugin::custom_metrics as fields;

const OFTEN: Duration = Duration::from_millis(5);

/// An instance that is asked often and given little time, and checked as often.
async fn polled(address: &Address) -> (NamespaceSlot, Arc<Backend>) {
    let options = SupervisionOptions {
        health_interval: OFTEN,
        metrics_deadline: Duration::from_millis(20),
        ..options()
    };
    let slot = NamespaceSlot::new(Platform::system(), Arc::new(options));
    let spec = sidecar(address, serde_json::json!({}));
    spec.plugin.poll_metrics_every(OFTEN);
    slot.apply(spec);
    assert_eq!(slot.first_verdict(soon()).await.unwrap().state, State::Ready);
    let backend = slot.active().unwrap();
    (slot, backend)
}

async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn an_instance_is_asked_at_once_and_then_at_the_plugins_interval() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        script.borrow_mut().counts = Counts::Requests(7);
        let _server = serve(&address, &script).await;
        let slot = slot();
        let spec = sidecar(&address, serde_json::json!({}));
        spec.plugin.poll_metrics_every(Duration::from_secs(3600));
        slot.apply(spec.clone());
        slot.first_verdict(soon()).await.unwrap();
        let backend = slot.active().unwrap();
        let requests = || backend.counted().map(|counted| counted.metrics.requests_total);
        until(|| requests() == Some(7)).await;
        assert_eq!(script.borrow().count("GetMetrics"), 1);
        script.borrow_mut().counts = Counts::Requests(8);
        // Holds for the instance that runs: it is not made anew.
        spec.plugin.poll_metrics_every(OFTEN);
        until(|| requests() == Some(8)).await;
        assert_eq!(slot.apply(spec), Applied::Unchanged);
        assert_eq!((script.borrow().count("Initialize"), backend.failed_polls()), (1, 0));
    });
}

#[test]
fn a_plugin_that_never_answers_serves_all_the_same() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        script.borrow_mut().counts = Counts::Requests(7);
        let _server = serve(&address, &script).await;
        let (_slot, backend) = polled(&address).await;
        until(|| backend.counted().is_some()).await;
        let checks = script.borrow().count("HealthCheck");
        script.borrow_mut().counts = Counts::Never(Vec::new());
        until(|| backend.failed_polls() == 1).await;
        // One may be chance.
        assert!(backend.counted().is_some());
        until(|| backend.counted().is_none()).await;
        assert_eq!(backend.failed_polls(), 3);
        until(|| script.borrow().count("HealthCheck") > checks + 10).await;
        assert_eq!(grpc_status(&backend, &worker()).await, "0");
        assert!(backend.is_ready() && backend.status().reason.is_none());
        script.borrow_mut().counts = Counts::Requests(9);
        until(|| backend.counted().is_some_and(|counted| counted.metrics.requests_total == 9)).await;
        assert_eq!(script.borrow().count("Initialize"), 1);
    });
}

#[test]
fn wrong_answers_harm_nothing() {
    let framed = |length: usize| {
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(u32::try_from(length).unwrap());
        bytes.put_bytes(0xff, length);
        Counts::Bytes(bytes.freeze())
    };
    let short = Bytes::from_static(&[0, 0, 0, 0, 9, 1]);
    let cases = [
        Counts::Fails(Code::Internal),
        Counts::Fails(Code::FailedPrecondition),
        framed(30),
        framed(5 << 20),
        Counts::Bytes(short),
        Counts::Bytes(Bytes::new()),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        local(async {
            let (_directory, address) = socket();
            let script = shared();
            script.borrow_mut().counts = case;
            let _server = serve(&address, &script).await;
            let (_slot, backend) = polled(&address).await;
            until(|| backend.failed_polls() >= 5).await;
            assert!(backend.counted().is_none() && backend.is_ready(), "{number}");
            assert_eq!(script.borrow().count("Initialize"), 1, "{number}");
        });
    }
}

#[test]
fn a_plugin_that_does_not_count_is_no_failure() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        script.borrow_mut().counts = Counts::Fails(Code::Unimplemented);
        let _server = serve(&address, &script).await;
        let (_slot, backend) = polled(&address).await;
        until(|| script.borrow().count("GetMetrics") > 3).await;
        assert!(backend.counted().is_none() && backend.failed_polls() == 0);
    });
}

#[test]
fn a_plugin_without_instances_is_not_asked() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        // It would reset what it says to others.
        script.borrow_mut().echoes = Some(0);
        let _server = serve(&address, &script).await;
        let (_slot, backend) = polled(&address).await;
        until(|| script.borrow().count("HealthCheck") > 10).await;
        assert_eq!((script.borrow().count("GetMetrics"), backend.failed_polls()), (0, 0));
        assert!(backend.counted().is_none());
    });
}

#[test]
fn a_hundred_thousand_figures_are_a_hundred_and_a_sum() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        let metric = |number| fields::Metric {
            name: format!("g{number}"),
            value: if number % 2 == 0 { 1.0 } else { f64::NAN },
            ..Default::default()
        };
        let custom = wire::CustomMetrics { metrics: (0..100_000).map(metric).collect(), left_out: 0 };
        script.borrow_mut().counts = Counts::Custom(custom);
        let _server = serve(&address, &script).await;
        let options = SupervisionOptions { metrics_deadline: Duration::from_secs(20), ..options() };
        let slot = NamespaceSlot::new(Platform::system(), Arc::new(options));
        slot.apply(sidecar(&address, serde_json::json!({})));
        slot.first_verdict(soon()).await.unwrap();
        let backend = slot.active().unwrap();
        until(|| backend.counted().is_some()).await;
        let counted = backend.counted().unwrap();
        let custom = &counted.metrics.custom;
        assert_eq!((custom.iter().len(), counted.left_out), (101, 100_000 - 100));
        let (_, sum) = custom.iter().find(|(figure, _)| figure.name == CustomMetrics::OVERFLOW).unwrap();
        assert_eq!(sum.to_string(), (50_000 - 100).to_string());
    });
}

#[test]
fn a_builtin_that_panics_is_up_all_the_same() {
    local(async {
        let echo = Arc::new(Echo::default());
        echo.panics_counting.store(true, Ordering::Relaxed);
        let slot = slot();
        let spec = spec(Transport::InProcess(echo.into()), serde_json::Value::Null);
        spec.plugin.poll_metrics_every(OFTEN);
        slot.apply(spec);
        slot.first_verdict(soon()).await.unwrap();
        let backend = slot.active().unwrap();
        until(|| backend.failed_polls() >= 3).await;
        assert!(backend.is_ready() && backend.counted().is_none());
    });
}

#[test]
fn the_figures_of_a_plugin_that_is_away_are_not_shown() {
    local(async {
        let (_directory, address) = socket();
        let script = shared();
        script.borrow_mut().counts = Counts::Requests(7);
        let server = serve(&address, &script).await;
        let (_slot, backend) = polled(&address).await;
        until(|| backend.counted().is_some()).await;
        drop(server);
        state(&backend, State::Failed).await;
        assert!(backend.counted().is_none());
        let _server = serve(&address, &script).await;
        until(|| backend.counted().is_some()).await;
    });
}
