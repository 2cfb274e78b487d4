//! The same bytes to our server and to that of h2, which is somebody else's: sessions from a grammar, most of them damaged. What
//! the two give to the application, and whom they refuse, is the same, or differs in one of the ways that `explained` names.
//!
//! `PRISM_DIFFERENTIAL_CASES` says how many sessions, `PRISM_DIFFERENTIAL_SEED` which is the first.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stderr, reason = "a test")]

mod blocks;
#[path = "../chance/mod.rs"]
mod chance;
#[path = "../../src/hpack/tests/codes.rs"]
mod codes;
mod expected;
mod explained;
mod fields;
mod malformed;
mod reader;
#[path = "../../src/hpack/tests/reference.rs"]
mod reference;
mod servers;
mod sessions;

use chance::Chance;
use explained::{Answer, History, explain};
use reader::Reader;
use servers::{End, MOST_HEADER_LIST, Ours, Run, Said, Seen, Theirs};
use std::collections::BTreeMap;

impl Chance {
    /// Seeds that lie side by side begin far apart.
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        chance.below(2);
        chance
    }

    pub(crate) fn index(&mut self, most: usize) -> usize {
        self.below(most as u64) as usize
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.index(many) == 0
    }

    pub(crate) fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.index(choices.len())]
    }
}

fn from_environment(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// How a session went: the same throughout, or with which difference it was left.
fn compare(seed: u64) -> Result<Option<&'static str>, String> {
    let mut chance = Chance::new(seed);
    let answers = chance.one_in(2);
    let session = sessions::session(&mut chance, false);
    let mut reader = Reader::default();
    let mut ours = Run::new(Ours::new, answers);
    let mut theirs = Run::new(Theirs::new, answers);
    let mut history = History::default();
    let mut log = String::new();
    for frame in reader::frames(&session) {
        let step = reader.read(frame);
        let cut = chance.index(frame.len() + 1);
        let (our, their) = (ours.feed(frame, cut), theirs.feed(frame, cut));
        log += &format!("{step:?}\n  ours:   {our:?}\n  theirs: {their:?}\n");
        if step.kind == reader::HEADERS && step.depends_on_itself() {
            return Ok(Some(
                "4.3: the block of a stream that depends on itself is decoded; h2 throws it away",
            ));
        }
        if our.is(&their) {
            // What comes of a client that leaves is not looked at here.
            if our.is_over() || step.kind == reader::GOAWAY {
                break;
            }
            history.add(&step, &our);
            continue;
        }
        match explain(&step, &history, &our, &their) {
            Answer::Same => {
                if our.is_over() {
                    break;
                }
                history.add(&step, &our);
            }
            Answer::Known(why) => return Ok(Some(why)),
            Answer::Unknown => {
                return Err(format!(
                    "seed {seed}
{log}"
                ));
            }
        }
    }
    Ok(None)
}

/// The sessions that are to be tried.
fn seeds() -> std::ops::Range<u64> {
    let first = from_environment("PRISM_DIFFERENTIAL_SEED").unwrap_or(0);
    first..first + from_environment("PRISM_DIFFERENTIAL_CASES").unwrap_or(4_000)
}

#[test]
fn ours_does_as_h2_does_or_knows_why_not() {
    let mut known: BTreeMap<&str, u64> = BTreeMap::new();
    let mut unknown = Vec::new();
    for seed in seeds() {
        match compare(seed) {
            Ok(why) => *known.entry(why.unwrap_or("the same")).or_default() += 1,
            Err(log) => unknown.push((seed, log)),
        }
    }
    if let Some((_, first)) = unknown.first() {
        let seeds: Vec<_> = unknown.iter().map(|(seed, _)| seed).collect();
        panic!("unknown differences with the seeds {seeds:?}; the first:\n{first}");
    }
    eprintln!("{known:#?}");
    let same = known.get("the same").copied().unwrap_or(0);
    assert!(same > (seeds().end - seeds().start) / 3, "too few sessions are the same throughout: {known:#?}");
}

/// Without damage to frames, and without h2: a request with a malformed field is refused, those behind it are what they were sent
/// as, and so are those that nothing is wrong with.
#[test]
fn what_is_right_is_taken_and_nothing_else() {
    let (mut taken, mut refused) = (0, 0);
    for seed in seeds() {
        let mut chance = Chance::new(seed);
        let session = sessions::session(&mut chance, true);
        let mut reader = Reader::default();
        let mut ours = Run::new(Ours::new, false);
        let (mut seen, mut is_open) = (Vec::new(), false);
        for frame in reader::frames(&session) {
            let step = reader.read(frame);
            let outcome = ours.feed(frame, chance.index(frame.len() + 1));
            let context = || format!("seed {seed}, {step:?}\n{outcome:?}");
            assert!(!outcome.is_over(), "{}", context());
            let Some(block) = &step.block else {
                // Of a body that is not as long as it was to be.
                is_open &= !outcome.said.contains(&Said::Reset(step.stream, 1));
                continue;
            };
            let fields = block.fields.as_ref().unwrap();
            let size: usize = fields.iter().map(|(name, value, _)| name.len() + value.len() + 32).sum();
            let is_right =
                malformed::why(fields, block.is_first, block.end).is_none() && size <= MOST_HEADER_LIST;
            if block.is_first && is_right {
                taken += 1;
                seen.push(expected::request(fields));
                let last = outcome.seen.last().unwrap_or_else(|| panic!("{}", context()));
                let given = Seen { end: End::Not, ..last.clone() };
                assert_eq!(seen.last(), Some(&given), "{}", context());
            } else if block.is_first {
                refused += 1;
                let is_too_large = outcome.said == [Said::Answer(step.stream)] && size > MOST_HEADER_LIST;
                assert!(is_too_large || outcome.said == [Said::Reset(step.stream, 1)], "{}", context());
            } else if is_open && !is_right {
                assert_eq!(outcome.said, [Said::Reset(step.stream, 1)], "{}", context());
            } else if is_open && let Some(End::With(trailers)) = outcome.seen.last().map(|seen| &seen.end) {
                let trailers = trailers.as_deref().unwrap_or_default();
                assert_eq!(*trailers, expected::headers(fields, false), "{}", context());
            }
            is_open = if block.is_first { is_right } else { false };
            assert_eq!(outcome.seen.len(), seen.len(), "{}", context());
        }
    }
    assert!(taken > 0 && refused > 0, "{taken} were taken, {refused} refused");
}
