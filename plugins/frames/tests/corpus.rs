//! What fuzzing found worth keeping, decoded without a fuzzer: no panic, and the same frames however it is cut.

use bytes::BytesMut;
use prism_plugin_frames::{Decoder, HEADER, MAX_FRAME, MAX_HEAD};
use std::path::Path;

/// How it ended, in words.
fn decode(bytes: &[u8], size: usize) -> Option<String> {
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut input = BytesMut::new();
    for piece in bytes.chunks(size) {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return Some(error.to_string()),
            }
        }
        assert!(input.len() < HEADER + 2 + MAX_HEAD, "{} bytes wait", input.len());
    }
    None
}

#[test]
fn the_corpus_is_decoded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decoder");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for file in files {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let [_, frames @ ..] = &bytes[..] else { continue };
        let at_once = decode(frames, usize::MAX);
        for size in [1, 13, 4_096] {
            assert_eq!(decode(frames, size), at_once);
        }
        count += 1;
    }
    assert!(count > 100, "{count} files");
}
