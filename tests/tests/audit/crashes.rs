//! A proxy that is killed while it writes.

use crate::scene::{Scene, stop};
use prism_tests::{load::Load, wait};
use std::collections::HashSet;

const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_goes_on_after_every_kill() {
    let scene = Scene::new();
    let mut before = 0;
    for round in 0..ROUNDS {
        let mut proxy = scene.start(", segment_bytes: 64KiB");
        let load = Load::start(proxy.port(), "demo", 8);
        // Another moment each time.
        wait::until_async("there should be load", || async {
            (load.answered() > 200 + 37 * round as u64).then_some(())
        })
        .await;
        proxy.process.kill();
        drop(load);
        let checked = scene.verify(&scene.dir(), &[]);
        assert!(matches!(checked.status, 0 | 3), "round {round}: {}", checked.said);
        assert_eq!(checked.status == 3, checked.said.contains("half a line"), "{}", checked.said);
        let now = scene.kind("call").len();
        assert!(now > before, "round {round} left no record");
        before = now;
    }
    stop(scene.start(""));
    scene.is_intact();
    let calls = scene.kind("call");
    let ids: HashSet<&str> = calls.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), calls.len(), "a record is there twice");
    let recovered = scene.lines().iter().filter(|line| line.get("recovered").is_some()).count();
    // Which kill falls between a checkpoint, which waits for the disk, and the next segment is chance.
    assert!((1..=ROUNDS).contains(&recovered), "{recovered}");
    assert_eq!(scene.kind("admin").iter().filter(|line| line["action"] == "start").count(), ROUNDS + 1);
}
