//! Clients that say anything, without a fuzzer: what fuzzing found worth keeping, and bytes by chance.
#![allow(clippy::unwrap_used)] // also in the helpers of a test

mod judge;
mod session;

use proptest::prelude::*;
use std::path::Path;

#[test]
fn the_corpus_does_no_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/connection");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for file in files {
        session::run(&std::fs::read(file.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 100, "{count} files");
}

proptest! {
    #[test]
    fn chance_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        session::run(&bytes);
    }
}
