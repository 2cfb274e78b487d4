//! Writing under load, with a full queue, and onto a disk that does not take it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Scene, put, record};
use prism_audit::{Log, OpenError, Status, Sync, finish};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, SystemTime},
};

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}");
}

fn settled(log: &Log, wanted: impl Fn(&Status) -> bool) {
    until("the log should settle", || wanted(&log.status()));
}

#[test]
fn many_write_and_every_record_is_there_once_over_many_segments() {
    let mut scene = Scene::new();
    scene.settings.segment_bytes = 64 << 10;
    scene.settings.sync = Sync::Each;
    let log = scene.open();
    thread::scope(|scope| {
        for writer in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for number in 0..2500 {
                    put(log, writer * 2500 + number);
                }
            });
        }
    });
    settled(&log, |status| status.records == 10_000);
    drop(log);
    assert!(finish(Duration::from_secs(30)));
    let report = scene.intact();
    assert!(report.segments > 5, "{report:?}");
    let mut seen = BTreeSet::new();
    for number in 1..=report.segments {
        for line in scene.lines(number) {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["kind"] == "call" {
                assert!(seen.insert(line["request_id"].as_str().unwrap().to_owned()));
            }
        }
    }
    assert_eq!(seen.len(), 10_000);
}

#[test]
fn a_segment_ends_when_it_is_old() {
    let scene = Scene::new();
    let log = scene.open();
    put(&log, 1);
    settled(&log, |status| status.records == 1);
    scene.seconds.fetch_add(3601, Ordering::Relaxed);
    put(&log, 2);
    settled(&log, |status| status.segment == 2);
    drop(log);
    assert!(finish(Duration::from_secs(30)));
    assert_eq!(scene.intact().signatures, 2);
}

#[test]
fn a_log_that_nobody_writes_to_makes_no_file() {
    let scene = Scene::new();
    drop(scene.open());
    assert!(finish(Duration::from_secs(30)));
    assert!(!scene.file(1).exists());
}

#[test]
fn places_are_bounded_and_what_is_lost_is_in_the_chain() {
    let mut scene = Scene::new();
    scene.settings.queue = 2;
    let log = scene.open();
    let (one, two) = (log.try_reserve().unwrap(), log.try_reserve().unwrap());
    assert!(log.try_reserve().is_none());
    log.count_dropped();
    log.count_refused();
    one.put(record(1));
    drop(two);
    until("a place is free again", || log.try_reserve().is_some());
    log.try_reserve().unwrap().put(vec![b'x'; prism_audit::MOST_RECORD + 1]);
    settled(&log, |status| status.records == 1 && status.seq > 2);
    drop(log);
    assert!(finish(Duration::from_secs(30)));
    let report = scene.intact();
    assert_eq!((report.dropped, report.refused), (2, 1));
}

#[test]
fn a_waiting_reservation_gets_its_place_and_one_that_is_given_up_takes_none() {
    let mut scene = Scene::new();
    scene.settings.queue = 1;
    let log = scene.open();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let held = log.reserve().await.unwrap();
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, log.reserve()).await.is_err());
        held.put(record(1));
        let next = tokio::time::timeout(Duration::from_secs(30), log.reserve()).await.unwrap();
        next.unwrap().put(record(2));
    });
    settled(&log, |status| status.records == 2);
}

#[test]
fn a_removed_folder_is_told_and_refused_until_it_is_back() {
    let scene = Scene::new();
    let log = scene.open();
    put(&log, 1);
    settled(&log, |status| status.records == 1);
    let moved = scene.dir().with_extension("moved");
    fs::rename(scene.dir(), &moved).unwrap();
    put(&log, 2);
    settled(&log, |status| status.problem.is_some());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(log.reserve()).is_err());
    log.count_refused();
    fs::rename(&moved, scene.dir()).unwrap();
    settled(&log, |status| status.problem.is_none());
    put(&log, 3);
    settled(&log, |status| status.records == 3);
    drop(log);
    assert!(finish(Duration::from_secs(30)));
    // The file that came back with it was gone on with.
    let report = scene.intact();
    assert_eq!((report.segments, report.refused, report.dropped), (1, 1, 0));
}

#[test]
fn a_file_that_is_removed_while_it_is_written_is_missed() {
    let scene = Scene::new();
    let log = scene.open();
    put(&log, 1);
    settled(&log, |status| status.records == 1);
    fs::remove_file(scene.file(1)).unwrap();
    put(&log, 2);
    settled(&log, |status| status.records == 2);
    assert!(scene.file(2).exists());
    drop(log);
    assert!(finish(Duration::from_secs(30)));
    scene.says("segment 1 is missing in front of it");
}

#[test]
fn a_folder_has_one_writer() {
    let scene = Scene::new();
    let log = scene.open();
    assert!(Arc::ptr_eq(&log, &scene.open()), "of one process, all share it");
    let mut settings = scene.settings.clone();
    settings.queue += 1;
    let other = Log::open(settings, Arc::new(|| SystemTime::UNIX_EPOCH), Box::new(|_| {}));
    assert!(matches!(other, Err(OpenError::Differs { .. })));
    // Given up with a call under way, and taken up again.
    let slot = log.try_reserve().unwrap();
    drop(log);
    let log = scene.open();
    slot.put(record(1));
    settled(&log, |status| status.records == 1);
}

/// Whether nobody else can have the folder.
fn is_held(dir: &Path) -> bool {
    matches!(fs::File::open(dir.join("lock")).unwrap().try_lock(), Err(fs::TryLockError::WouldBlock))
}

/// Somebody moves the folder away, and another process is first in the one that takes its place.
#[test]
fn a_folder_that_takes_the_place_of_ours_has_one_writer_too() {
    let scene = Scene::new();
    let log = scene.open();
    put(&log, 1);
    settled(&log, |status| status.records == 1);
    let moved = scene.dir().with_extension("moved");
    fs::rename(scene.dir(), &moved).unwrap();
    fs::create_dir(scene.dir()).unwrap();
    let other = fs::File::create(scene.dir().join("lock")).unwrap();
    other.try_lock().unwrap();
    put(&log, 2);
    settled(&log, |status| {
        status.problem.as_ref().is_some_and(|problem| problem.contains("another process"))
    });
    // Nor when it has begun to write.
    drop(other);
    fs::write(scene.file(1), "{}\n").unwrap();
    settled(&log, |status| status.problem.as_ref().is_some_and(|problem| problem.contains("another log")));
    let names: Vec<_> = fs::read_dir(scene.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(fs::read_to_string(scene.file(1)).unwrap(), "{}\n");
    assert!(is_held(&moved));
    fs::remove_dir_all(scene.dir()).unwrap();
    fs::rename(&moved, scene.dir()).unwrap();
    settled(&log, |status| status.records == 2 && status.problem.is_none());
    drop(log);
    assert!(finish(Duration::from_secs(30)));
    assert_eq!(scene.intact().segments, 1);
}

#[test]
fn an_empty_folder_in_the_place_of_ours_is_taken() {
    let scene = Scene::new();
    let log = scene.open();
    put(&log, 1);
    settled(&log, |status| status.records == 1);
    let moved = scene.dir().with_extension("moved");
    fs::rename(scene.dir(), &moved).unwrap();
    fs::create_dir(scene.dir()).unwrap();
    put(&log, 2);
    settled(&log, |status| status.records == 2 && status.problem.is_none());
    assert!(scene.file(2).exists() && is_held(scene.dir()) && !is_held(&moved));
    drop(log);
    assert!(finish(Duration::from_secs(30)));
    scene.says("segment 1 is missing in front of it");
}

/// Whoever cleans up does not open the door for a second writer.
#[test]
fn a_lock_that_is_removed_is_made_again() {
    let scene = Scene::new();
    let log = scene.open();
    put(&log, 1);
    settled(&log, |status| status.records == 1);
    fs::remove_file(scene.dir().join("lock")).unwrap();
    put(&log, 2);
    settled(&log, |status| status.records == 2);
    assert!(is_held(scene.dir()));
    // Somebody is quicker.
    fs::remove_file(scene.dir().join("lock")).unwrap();
    let other = fs::File::create(scene.dir().join("lock")).unwrap();
    other.try_lock().unwrap();
    put(&log, 3);
    settled(&log, |status| status.problem.is_some());
    drop(other);
    settled(&log, |status| status.records == 3 && status.problem.is_none());
    drop(log);
    assert!(finish(Duration::from_secs(30)));
    assert_eq!(scene.intact().segments, 1);
}

/// Whoever has nothing to write holds its folder, too: nobody else comes in where the lock is removed meanwhile.
#[test]
fn a_lock_that_is_removed_while_nothing_happens_is_made_again() {
    let scene = Scene::new();
    let log = scene.open();
    put(&log, 1);
    settled(&log, |status| status.records == 1);
    fs::remove_file(scene.dir().join("lock")).unwrap();
    until("the lock should be made again", || scene.dir().join("lock").exists() && is_held(scene.dir()));
    drop(log);
    assert!(finish(Duration::from_secs(30)));
    assert_eq!(scene.intact().segments, 1);
}

/// Somebody was quicker, and goes on with the log: nothing of ours goes into it any more, not even our last words.
#[test]
fn a_log_that_another_one_has_gone_on_with_is_not_ended_twice() {
    for is_stopped in [true, false] {
        let scene = Scene::new();
        let log = scene.open();
        put(&log, 1);
        settled(&log, |status| status.records == 1);
        let before = fs::read(scene.file(1)).unwrap();
        fs::remove_file(scene.dir().join("lock")).unwrap();
        let other = fs::File::create(scene.dir().join("lock")).unwrap();
        other.try_lock().unwrap();
        if !is_stopped {
            // Its segment is old enough to be ended, without a record.
            scene.seconds.fetch_add(3601, Ordering::Relaxed);
            settled(&log, |status| status.problem.is_some());
        }
        drop(log);
        assert!(finish(Duration::from_secs(30)));
        assert_eq!(fs::read(scene.file(1)).unwrap(), before, "stopped: {is_stopped}");
        drop(other);
        // As the other one would have found it.
        scene.write(1);
        assert_eq!(scene.intact().segments, 2);
    }
}

#[test]
fn a_key_that_others_may_read_and_what_is_no_key_are_refused() {
    let scene = Scene::new();
    let open = || {
        let opened = Log::open(scene.settings.clone(), Arc::new(|| SystemTime::UNIX_EPOCH), Box::new(|_| {}));
        opened.unwrap_err().to_string()
    };
    fs::set_permissions(&scene.settings.key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(open().contains("chmod 600"));
    fs::set_permissions(&scene.settings.key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&scene.settings.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    assert!(open().contains("no Ed25519 private key"));
    fs::remove_file(&scene.settings.key).unwrap();
    assert!(open().contains("cannot read the key"));
    fs::remove_dir_all(scene.dir()).unwrap();
    assert!(open().contains("it has to exist"));
}

#[test]
fn a_new_key_signs_from_the_next_segment_on() {
    let scene = Scene::new();
    let log = scene.open();
    let first = scene.key();
    put(&log, 1);
    settled(&log, |status| status.records == 1);
    common::write_key(&scene.settings.key);
    let second = scene.key();
    scene.seconds.fetch_add(3601, Ordering::Relaxed);
    put(&log, 2);
    settled(&log, |status| status.records == 2);
    drop(log);
    assert!(finish(Duration::from_secs(30)));
    let check = |keys: &[_]| {
        let options = prism_audit::verify::Options { keys: keys.to_vec(), ..Default::default() };
        prism_audit::verify::check(&[scene.dir().to_owned()], &options).unwrap().problem
    };
    assert_eq!(check(&[first, second]), None);
    assert!(check(&[first]).is_some() && check(&[second]).is_some());
}
