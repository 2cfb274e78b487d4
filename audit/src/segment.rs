//! The files of a log: one folder, one file a segment, named by the segment's number.

use crate::line::{Hash, Line, LineError, MOST_LINE};
use ring::digest::{Context, SHA256};
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// What a folder is locked by.
pub(crate) const LOCK: &str = "lock";

/// Segments are counted from one.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:08}.jsonl")
}

/// The number that a file's name gives, if it is one of a segment, in its one spelling.
pub(crate) fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let number = name.strip_suffix(".jsonl")?.parse().ok()?;
    (number > 0 && file_name(number) == name).then_some(number)
}

/// Every segment in a folder, in order. Other files are left alone.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        all.extend(number_of(&path).map(|number| (number, path)));
    }
    all.sort_unstable();
    Ok(all)
}

/// Reads a file line by line.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    buffer: Vec<u8>,
}

/// What comes next in a file.
pub(crate) enum Next<'a> {
    /// A line, without its end.
    Line(&'a [u8]),
    /// It is longer than lines are.
    TooLong,
    /// Bytes without an end of line: a write that was cut. So many, and their hash.
    Torn(u64, Hash),
    /// Nothing.
    End,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(1 << 20, reader), buffer: Vec::new() }
    }

    pub(crate) fn next(&mut self) -> io::Result<Next<'_>> {
        self.buffer.clear();
        (&mut self.reader).take(MOST_LINE as u64 + 1).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.ends_with(b"\n") {
            return Ok(Next::Line(&self.buffer[..self.buffer.len() - 1]));
        }
        if self.buffer.is_empty() {
            return Ok(Next::End);
        }
        let mut context = Context::new(&SHA256);
        let mut length = 0;
        let mut ended = false;
        // The rest may be long: a power failure leaves as many zeros as the file was made longer.
        let mut piece = std::mem::take(&mut self.buffer);
        while !piece.is_empty() {
            context.update(&piece);
            length += piece.len() as u64;
            piece.clear();
            (&mut self.reader).take(MOST_LINE as u64).read_to_end(&mut piece)?;
            ended |= piece.contains(&b'\n');
        }
        Ok(if ended {
            Next::TooLong
        } else {
            Next::Torn(length, Hash::from_slice(context.finish().as_ref()))
        })
    }
}

/// The last whole line of a file, as one who goes on writing needs it, and what stands behind it.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The line's number, hash and kind; `None` where the file has no whole line.
    pub(crate) last: Option<(u64, Hash, String)>,
    /// The log's id, from the file's first line.
    pub(crate) log: Option<String>,
    pub(crate) torn_bytes: u64,
    pub(crate) torn_hash: Hash,
}

/// Reads a segment's end. All of it is read, because a wrong line in the middle is no reason to stop logging but one to
/// say so; only its last line has to be one of ours.
pub(crate) fn tail(path: &Path) -> io::Result<Result<Tail, LineError>> {
    let mut lines = Lines::new(File::open(path)?);
    let mut last: Option<Vec<u8>> = None;
    let mut log = None;
    let (torn_bytes, torn_hash) = loop {
        match lines.next()? {
            Next::Line(line) => {
                if last.is_none() {
                    log = Line::read(line).ok().and_then(|line| line.text("log").map(str::to_owned));
                }
                let kept = last.get_or_insert_default();
                kept.clear();
                kept.extend_from_slice(line);
            }
            Next::TooLong => return Ok(Err(LineError::Form)),
            Next::Torn(bytes, hash) => break (bytes, hash),
            Next::End => break (0, Hash::of(b"")),
        }
    };
    let last = match last {
        None => None,
        Some(line) => match Line::read(&line) {
            Ok(line) => Some((line.seq, line.hash, line.kind().to_owned())),
            Err(error) => return Ok(Err(error)),
        },
    };
    Ok(Ok(Tail { last, log, torn_bytes, torn_hash }))
}

/// The first line of a segment: the hash of what was before it.
pub(crate) fn first_prev(path: &Path) -> io::Result<Option<Hash>> {
    let mut lines = Lines::new(File::open(path)?);
    Ok(match lines.next()? {
        Next::Line(line) => Line::read(line).ok().map(|line| line.prev),
        _ => None,
    })
}
