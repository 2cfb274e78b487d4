//! Everything that somebody may do to the files of a log is found, and what may happen to them by itself is told from it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Scene, write_key};
use prism_audit::{Hash, verify::Verdict};
use proptest::prelude::*;
use std::fs;

/// Three ended segments: begin, two calls and a checkpoint each.
fn three() -> Scene {
    let scene = Scene::new();
    for _ in 0..3 {
        scene.write(2);
    }
    scene
}

#[test]
fn what_was_written_is_whole() {
    let report = three().intact();
    assert_eq!((report.segments, report.lines, report.seq, report.signatures), (3, 12, 12, 3));
    assert_eq!(report.kinds.get("call"), Some(&6));
    assert!(report.closed && report.keys_given && report.torn_bytes == 0);
}

#[test]
fn lines_that_are_changed_removed_repeated_or_moved_are_found() {
    let scene = three();
    let good = scene.lines(2);
    let text = |lines: &[&String]| lines.iter().map(|line| (*line).clone()).collect::<Vec<_>>();
    let changed = good[1].replace("\"OK\"", "\"KO\"");
    let cases = [
        (text(&[&good[0], &changed, &good[2], &good[3]]), "2: its bytes are not those that were hashed"),
        (text(&[&good[0], &good[2], &good[3]]), "2: its number is 7, after 5: 1 lines are missing"),
        (text(&[&good[0], &good[3]]), "2 lines are missing"),
        (text(&[&good[0], &good[1], &good[1], &good[2], &good[3]]), "lines were repeated or moved"),
        (text(&[&good[0], &good[2], &good[1], &good[3]]), "1 lines are missing"),
        (text(&[&good[1], &good[2], &good[3]]), "00000002.jsonl:1: its number is 6, after 4"),
        (text(&[&good[0], &good[1], &good[2]]), "segment 2 before it has no checkpoint at its end"),
        (text(&[&good[0], &good[1], &good[2], &good[3], &good[3]]), "behind the segment's checkpoint"),
        (
            text(&[&good[0], &good[1], &String::new(), &good[2], &good[3]]),
            "3: it is not a line of an audit log",
        ),
    ];
    for (lines, problem) in cases {
        scene.rewrite(2, &lines);
        scene.says(problem);
    }
    scene.rewrite(2, &good);
    scene.intact();
}

#[test]
fn segments_that_are_removed_renamed_or_exchanged_are_found() {
    let scene = three();
    let good: Vec<_> = (1..=3).map(|number| fs::read(scene.file(number)).unwrap()).collect();
    fs::remove_file(scene.file(2)).unwrap();
    scene.says("00000003.jsonl: segment 2 is missing");
    fs::rename(scene.file(3), scene.file(2)).unwrap();
    scene.says("it is another segment than its name says");
    fs::write(scene.file(2), &good[1]).unwrap();
    fs::write(scene.file(3), &good[2]).unwrap();
    fs::remove_file(scene.file(1)).unwrap();
    scene.says("segment 1 is missing in front of it, and the log does not say that they were to be removed");
    fs::write(scene.file(1), &good[1]).unwrap();
    fs::remove_file(scene.file(2)).unwrap();
    fs::remove_file(scene.file(3)).unwrap();
    scene.says("it is another segment than its name says");
}

#[test]
fn a_log_that_is_written_anew_is_found_by_its_key_or_its_head() {
    let scene = three();
    let head: Hash = scene.intact().head.parse().unwrap();
    let genuine = scene.key();
    let dir = scene.dir().to_owned();
    let keep = dir.with_extension("kept");
    fs::rename(&dir, &keep).unwrap();
    fs::create_dir(&dir).unwrap();
    let stolen = fs::read(&scene.settings.key).unwrap();
    write_key(&scene.settings.key);
    for _ in 0..3 {
        scene.write(2);
    }
    let forged = |keys: Vec<_>, expect: Vec<_>| {
        let options = prism_audit::verify::Options { keys, expect, closed: true };
        prism_audit::verify::check(std::slice::from_ref(&dir), &options).unwrap()
    };
    let report = forged(vec![genuine], vec![]);
    assert!(report.problem.unwrap().message.contains("none of those that were given"));
    // With the stolen key, only what was kept elsewhere tells.
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    fs::write(&scene.settings.key, stolen).unwrap();
    scene.seconds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    for _ in 0..3 {
        scene.write(2);
    }
    assert_eq!(forged(vec![genuine], vec![]).verdict, Verdict::Intact);
    let report = forged(vec![genuine], vec![head]);
    assert!(report.problem.unwrap().message.contains("is not in the log"));
    // A segment of another log with the same key does not fit in either.
    fs::copy(dir.join("00000002.jsonl"), keep.join("00000002.jsonl")).unwrap();
    let report = prism_audit::verify::check(&[keep], &Default::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Broken);
}

#[test]
fn a_tail_that_is_cut_is_found_by_the_head_that_was_kept() {
    let scene = three();
    let head: Hash = scene.intact().head.parse().unwrap();
    let lines = scene.lines(3);
    scene.rewrite(3, &lines[..3]);
    assert_eq!(scene.check(&[]).verdict, Verdict::Intact, "it may be that nobody has ended it yet");
    let problem = scene.check(&[head]).problem.unwrap();
    assert!(problem.message.contains("is not in the log: it ends with line number 11"), "{problem}");
    let closed = prism_audit::verify::Options { closed: true, ..Default::default() };
    let problem = prism_audit::verify::check(&[scene.dir().to_owned()], &closed).unwrap().problem.unwrap();
    assert!(problem.message.contains("no checkpoint"), "{problem}");
    fs::remove_file(scene.file(3)).unwrap();
    assert!(scene.check(&[head]).problem.is_some());
    // A head of the middle is in it, whatever came after.
    let middle: serde_json::Value = serde_json::from_str(&scene.lines(2)[1]).unwrap();
    let middle: Hash = middle["hash"].as_str().unwrap().parse().unwrap();
    assert_eq!(scene.check(&[middle]).verdict, Verdict::Intact);
}

#[test]
fn half_a_line_at_the_end_is_told_from_tampering_and_gone_on_from() {
    let scene = three();
    let whole = fs::read(scene.file(3)).unwrap();
    let third = scene.lines(3);
    let cut = whole.len() - third[3].len() / 2;
    fs::write(scene.file(3), &whole[..cut]).unwrap();
    let report = scene.check(&[]);
    assert_eq!((report.verdict, report.seq), (Verdict::Torn, 11));
    let torn = report.torn_bytes;
    assert!(torn > 0);
    // The next one leaves it as it is, and says so.
    scene.write(1);
    assert_eq!(fs::read(scene.file(3)).unwrap(), &whole[..cut]);
    let report = scene.intact();
    assert_eq!((report.segments, report.torn_bytes, report.seq), (4, torn, 14));
    let begin: serde_json::Value = serde_json::from_str(&scene.lines(4)[0]).unwrap();
    assert_eq!(begin["recovered"][0]["torn_bytes"], torn);
    assert_eq!(begin["prev"], serde_json::from_str::<serde_json::Value>(&third[2]).unwrap()["hash"]);
    // From then on it may not change any more, nor be taken away.
    for other in [&whole[..cut - 1], &whole[..], &whole[..cut - 200]] {
        fs::write(scene.file(3), other).unwrap();
        scene.problem();
    }
    let mut flipped = whole[..cut].to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(scene.file(3), flipped).unwrap();
    scene.says("does not end as it did");
}

#[test]
fn crashes_before_a_first_whole_line_are_gone_on_from_too() {
    let scene = Scene::new();
    fs::write(scene.file(1), "{\"seq\":1,").unwrap();
    fs::write(scene.file(2), "").unwrap();
    fs::write(scene.file(3), [0; 200_000]).unwrap();
    assert_eq!(scene.check(&[]).verdict, Verdict::Torn);
    scene.write(1);
    let report = scene.intact();
    assert_eq!((report.segments, report.seq, report.torn_bytes), (4, 3, 200_009));
    fs::remove_file(scene.file(1)).unwrap();
    scene.says("segment 1 is missing");
}

#[test]
fn old_segments_that_were_to_go_are_not_missed() {
    let mut scene = Scene::new();
    scene.settings.keep_segments = Some(2);
    for _ in 0..6 {
        scene.write(2);
    }
    let report = scene.intact();
    assert_eq!((report.first_segment, report.segments), (4, 3));
    // One more that nobody announced is.
    fs::remove_file(scene.file(4)).unwrap();
    scene.says("segments 1 to 4 are missing in front of it");
}

#[test]
fn a_removal_that_was_stopped_is_finished_later() {
    let mut scene = three();
    let second = fs::read(scene.file(2)).unwrap();
    scene.settings.keep_segments = Some(1);
    scene.write(1);
    assert_eq!(scene.intact().first_segment, 3);
    fs::write(scene.file(2), second).unwrap();
    assert_eq!(scene.intact().first_segment, 2);
    scene.write(1);
    assert_eq!(scene.intact().first_segment, 4);
}

#[test]
fn some_segments_of_a_log_are_checked_by_themselves() {
    let scene = three();
    let check = |numbers: &[u64]| {
        let files: Vec<_> = numbers.iter().map(|number| scene.file(*number)).collect();
        prism_audit::verify::check(&files, &Default::default()).unwrap()
    };
    let report = check(&[3, 2]);
    assert_eq!((report.verdict, report.first_segment, report.lines), (Verdict::Intact, 2, 8));
    assert_eq!(check(&[2]).verdict, Verdict::Intact);
    assert_eq!(check(&[1, 3]).verdict, Verdict::Broken);
    assert!(prism_audit::verify::check(&[scene.dir().join("lock")], &Default::default()).is_err());
    // One that follows a crash says something of files that were not given.
    let lines = scene.lines(3);
    scene.rewrite(3, &lines[..3]);
    scene.write(1);
    assert_eq!(check(&[4]).verdict, Verdict::Intact);
}

#[test]
fn a_log_that_is_not_ours_is_not_gone_on_from() {
    let scene = three();
    let mut lines = scene.lines(3);
    lines[3] = lines[3].replace("checkpoint", "Checkpoint");
    scene.rewrite(3, &lines);
    let clock = std::sync::Arc::new(|| std::time::SystemTime::UNIX_EPOCH);
    let refused = prism_audit::Log::open(scene.settings.clone(), clock, Box::new(|_| {})).unwrap_err();
    assert!(refused.to_string().contains("prism audit verify"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn any_flip_and_any_cut_is_found(
        file in 1_u64..4,
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
        cut in any::<bool>(),
    ) {
        thread_local!(static SCENE: (Scene, Hash) = {
            let scene = three();
            let head = scene.intact().head.parse().unwrap();
            (scene, head)
        });
        SCENE.with(|(scene, head)| {
            let good = fs::read(scene.file(file)).unwrap();
            let at = at.index(good.len());
            let mut bad = good.clone();
            if cut {
                bad.truncate(at);
            } else {
                bad[at] ^= 1 << bit;
            }
            fs::write(scene.file(file), bad).unwrap();
            let found = scene.check(&[*head]).verdict;
            fs::write(scene.file(file), good).unwrap();
            prop_assert_eq!(found, Verdict::Broken);
            Ok(())
        })?;
    }
}
