//! Libraries that must not be loaded, built with the system's C compiler: each is refused for its own reason, and
//! nothing of it has run. Another shows that a library that is loaded does run.

mod common;

use common::Unwatched;
use prism_plugin_abi::ffi::Observer;
use prism_plugin_loader::{Generations, LoadError, Problem, Unsafe, check, load};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/plugin.c");

/// A directory of its own for each library.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("lib.so")
    }

    fn compile(&self, source: &Path, output: &Path, flags: &[&str]) {
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([output, source])
            .args(flags)
            .output()
            .expect("a C compiler, `cc`, is needed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn build(flags: &[&str]) -> Self {
        let fixture = Self::new();
        fixture.compile(Path::new(SOURCE), &fixture.path(), flags);
        fixture
    }
}

fn refused(flags: &[&str]) -> Problem {
    problem(&Fixture::build(flags))
}

fn problem(fixture: &Fixture) -> Problem {
    match check(&fixture.path()) {
        Err(LoadError::Refused { problem, .. }) => problem,
        other => panic!("not refused for what it is: {other:?}"),
    }
}

#[test]
fn what_a_library_says_of_itself_is_read_without_running_it() {
    let checked = check(&Fixture::build(&[]).path()).unwrap();
    assert_eq!((&*checked.manifest().name, &*checked.manifest().version), ("fixture", "1.2.3"));
}

#[test]
fn another_version_of_the_abi_is_refused() {
    assert_eq!(refused(&["-DMAJOR=2"]), Problem::Major { major: 2, ours: 1 });
    assert_eq!(refused(&["-DMAJOR=0"]), Problem::Major { major: 0, ours: 1 });
    assert_eq!(refused(&["-DMINOR=7"]), Problem::Minor { major: 1, minor: 7, ours: 0 });
}

#[test]
fn a_missing_entry_is_refused() {
    assert_eq!(refused(&["-DENTRY=\"other\""]), Problem::NoEntry("other".into()));
    // There, but not to be seen from outside; and data in place of a function.
    assert_eq!(refused(&["-DENTRY=\"began\""]), Problem::NoEntry("began".into()));
    assert_eq!(refused(&["-DENTRY=\"first\""]), Problem::NoEntry("first".into()));
}

#[test]
fn panics_that_would_end_the_proxy_are_refused() {
    assert_eq!(refused(&["-DPANIC=2"]), Problem::Aborts);
    assert_eq!(refused(&["-DPANIC=9"]), Problem::PanicMode(9));
}

#[test]
fn notes_that_are_none_are_refused() {
    assert_eq!(refused(&["-DNO_NOTE"]), Problem::NoNote);
    assert_eq!(refused(&["-DTWO_NOTES"]), Problem::Notes(2));
    assert!(matches!(refused(&["-DENTRY=\"\""]), Problem::BadNote(_)));
    assert!(matches!(refused(&["-DNAME=\"a\\nb\""]), Problem::BadNote(_)));
}

#[test]
fn static_thread_local_storage_is_refused() {
    assert_eq!(refused(&["-DSTATIC_TLS"]), Problem::StaticTls);
}

#[test]
fn libraries_that_nobody_checked_are_refused() {
    let fixture = Fixture::new();
    let foreign = fixture.0.path().join("libforeign.so");
    let source = fixture.0.path().join("foreign.c");
    fs::write(&source, "int foreign(void) { return 1; }").unwrap();
    fixture.compile(&source, &foreign, &["-Wl,-soname,libforeign.so"]);
    fixture.compile(Path::new(SOURCE), &fixture.path(), &["-DFOREIGN", foreign.to_str().unwrap()]);
    assert_eq!(problem(&fixture), Problem::Needs("libforeign.so".into()));

    // A name that begins like one that is allowed, and one that is a path.
    for name in ["libc.so.66", "libc.so.6/evil.so"] {
        let foreign = fixture.0.path().join("libforeign.so");
        fixture.compile(&source, &foreign, &[&format!("-Wl,-soname,{name}")]);
        fixture.compile(Path::new(SOURCE), &fixture.path(), &["-DFOREIGN", foreign.to_str().unwrap()]);
        assert_eq!(problem(&fixture), Problem::Needs(name.into()));
    }

    assert_eq!(refused(&["-Wl,-rpath,/tmp"]), Problem::Tag("a RUNPATH"));
    assert_eq!(refused(&["-Wl,-rpath,/tmp", "-Wl,--disable-new-dtags"]), Problem::Tag("an RPATH"));
    assert_eq!(refused(&["-Wl,--audit,evil.so"]), Problem::Tag("an audit library (DT_AUDIT)"));
    assert_eq!(refused(&["-Wl,-f,evil.so"]), Problem::Tag("a filter library (DT_FILTER)"));
}

#[test]
fn memory_that_is_written_and_executed_is_refused() {
    assert!(matches!(refused(&["-Wl,-z,execstack"]), Problem::Executable(_)));
    const LOAD: u32 = 1;
    const WRITE_AND_EXECUTE: u32 = 3;
    let fixture = Fixture::build(&[]);
    let mut bytes = fs::read(fixture.path()).unwrap();
    let flags = headers(&bytes, false, LOAD)[1] + 4;
    bytes[flags..flags + 4].copy_from_slice(&WRITE_AND_EXECUTE.to_le_bytes());
    fs::write(fixture.path(), &bytes).expect("so many bytes");
    assert!(matches!(problem(&fixture), Problem::Executable(_)));
}

/// Offsets of an ELF64 file's headers of a type: of segments, or of sections.
fn headers(bytes: &[u8], sections: bool, of: u32) -> Vec<usize> {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("so many bytes")) as usize;
    let half = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().expect("so many bytes")) as usize;
    let (table, size, count) =
        if sections { (word(0x28), half(0x3a), half(0x3c)) } else { (word(0x20), half(0x36), half(0x38)) };
    let kind = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("so many bytes"));
    let all = (0..count).map(|number| table + number * size);
    all.filter(|at| kind(if sections { at + 4 } else { *at }) == of).collect()
}

/// The linker goes by program headers. What section headers say besides is another story, and not the one that counts.
#[test]
fn section_headers_that_tell_another_story_are_refused() {
    const DYNAMIC: u32 = 6;
    const DYNSYM: u32 = 11;
    let fixture = Fixture::build(&["-Wl,-rpath,/tmp"]);
    let mut bytes = fs::read(fixture.path()).unwrap();
    // A dynamic section without the RUNPATH, beside the table that has it.
    let section = headers(&bytes, true, DYNAMIC)[0];
    let clean = fs::read(Fixture::build(&[]).path()).unwrap();
    let other = headers(&clean, true, DYNAMIC)[0];
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let (offset, size) = (word(&clean, other + 24) as usize, word(&clean, other + 32));
    let appended = bytes.len() as u64;
    bytes[section + 24..section + 32].copy_from_slice(&appended.to_le_bytes());
    bytes[section + 32..section + 40].copy_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&clean[offset..offset + size as usize]);
    fs::write(fixture.path(), &bytes).unwrap();
    assert_eq!(problem(&fixture), Problem::Tag("a RUNPATH"));

    // Symbols, and their names, that the linker does not use.
    for field in [16, 24] {
        let mut bytes = clean.clone();
        let section = headers(&bytes, true, DYNSYM)[0];
        let moved = word(&bytes, section + field) + 24;
        bytes[section + field..section + field + 8].copy_from_slice(&moved.to_le_bytes());
        fs::write(fixture.path(), &bytes).unwrap();
        assert!(matches!(problem(&fixture), Problem::NotElf(_)));
    }
}

#[test]
fn segments_that_would_crash_the_linker_are_refused() {
    const LOAD: u32 = 1;
    let fixture = Fixture::build(&[]);
    let whole = fs::read(fixture.path()).unwrap();
    let loads = headers(&whole, false, LOAD);
    assert!(loads.len() > 1);
    // p_offset, p_vaddr, p_filesz, p_memsz, p_align: each beyond everything, and each none.
    for load in loads {
        for field in [8, 16, 32, 40, 48] {
            for value in [u64::MAX, 1 << 62, whole.len() as u64 + 1] {
                let mut bytes = whole.clone();
                bytes[load + field..load + field + 8].copy_from_slice(&value.to_le_bytes());
                fs::write(fixture.path(), &bytes).unwrap();
                if field == 40 && value == whole.len() as u64 + 1 {
                    // More memory than file is what a segment with zeroes at its end has.
                    continue;
                }
                assert!(matches!(problem(&fixture), Problem::NotElf(_)), "{field} of {load}: {value}");
            }
        }
    }
}

#[test]
fn what_is_no_library_is_refused() {
    let fixture = Fixture::build(&[]);
    let whole = fs::read(fixture.path()).unwrap();
    for bytes in [&b""[..], b"#!/bin/sh\n", &whole[..100], &whole[..whole.len() / 2]] {
        fs::write(fixture.path(), bytes).unwrap();
        assert!(matches!(problem(&fixture), Problem::NotElf(_)), "{} bytes", bytes.len());
    }
    // 32 bits, another processor, a program: each said in the head.
    for (at, value, problem_is) in
        [(4, 1, None), (18, 40, Some("another kind of processor")), (16, 2, Some("a program"))]
    {
        let mut bytes = whole.clone();
        bytes[at] = value;
        fs::write(fixture.path(), &bytes).unwrap();
        match (problem(&fixture), problem_is) {
            (Problem::Foreign(what), Some(words)) => assert!(what.starts_with(words), "{what}"),
            (Problem::NotElf(_), None) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[test]
fn no_byte_of_a_library_makes_the_check_panic() {
    let fixture = Fixture::build(&["-s"]);
    let whole = fs::read(fixture.path()).unwrap();
    // Every byte of the heads, and every 61st of the rest, to each of three values.
    for at in (0..whole.len().min(1024)).chain((1024..whole.len()).step_by(61)) {
        for value in [0x00, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            fs::write(fixture.path(), &bytes).unwrap();
            let _ = check(&fixture.path());
        }
    }
}

#[test]
fn files_that_others_may_change_are_refused() {
    let exposed = |path: &Path| match check(path) {
        Err(LoadError::Exposed { problem, .. }) => problem,
        other => panic!("not refused for who may write it: {other:?}"),
    };
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let fixture = Fixture::build(&[]);
    for writable in [0o775, 0o757, 0o666] {
        mode(&fixture.path(), writable);
        assert!(matches!(exposed(&fixture.path()), Unsafe::Writable { mode, .. } if mode == writable));
    }
    mode(&fixture.path(), 0o755);
    check(&fixture.path()).unwrap();

    mode(fixture.0.path(), 0o777);
    assert!(matches!(exposed(&fixture.path()), Unsafe::Writable { .. }));
    // Where only a file's owner can replace it.
    mode(fixture.0.path(), 0o1777);
    check(&fixture.path()).unwrap();
    mode(fixture.0.path(), 0o700);

    let link = fixture.0.path().join("link.so");
    symlink(fixture.path(), &link).unwrap();
    assert_eq!(exposed(&link), Unsafe::NotAFile);
    assert_eq!(exposed(fixture.0.path()), Unsafe::NotAFile);
    let pipe = fixture.0.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(exposed(&pipe), Unsafe::NotAFile);
    assert!(matches!(check(&fixture.0.path().join("none.so")), Err(LoadError::Read { .. })));
}

#[test]
fn the_copy_that_was_checked_is_the_one_that_counts() {
    let fixture = Fixture::build(&[]);
    let before = check(&fixture.path()).unwrap();
    let same = check(&fixture.path()).unwrap();
    assert!(before.is_same(&same).unwrap());
    fixture.compile(Path::new(SOURCE), &fixture.path(), &["-DNAME=\"other\""]);
    let after = check(&fixture.path()).unwrap();
    assert!(!before.is_same(&after).unwrap());
    assert_eq!((&*before.manifest().name, &*after.manifest().name), ("fixture", "other"));
}

/// In a process of its own, because a constructor that ran has run. `PRISM_FIXTURE_RAN` names the file that it leaves.
#[test]
fn nothing_of_a_refused_library_runs_and_all_of_a_loaded_one_does() {
    let mark = std::env::var_os("PRISM_FIXTURE_RAN");
    let Some(mark) = mark.map(PathBuf::from) else {
        let directory = tempfile::tempdir().unwrap();
        let name = "nothing_of_a_refused_library_runs_and_all_of_a_loaded_one_does";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env("PRISM_FIXTURE_RAN", directory.path().join("ran"))
            .status()
            .unwrap();
        assert!(status.success());
        return;
    };
    for flags in [
        &["-DMAJOR=2"][..],
        &["-DENTRY=\"other\""],
        &["-DPANIC=2"],
        &["-DSTATIC_TLS"],
        &["-Wl,-rpath,/tmp"],
        &["-DNO_NOTE"],
    ] {
        refused(flags);
        assert!(!mark.exists(), "{flags:?}");
    }
    let generations = Generations::default();
    let observer: Arc<dyn Observer> = Arc::new(Unwatched);
    let checked = || check(&Fixture::build(&[]).path()).unwrap();
    let held_back = load(checked(), &generations, 0, Arc::clone(&observer));
    assert!(matches!(held_back, Err(LoadError::TooMany { limit: 0, .. })), "{held_back:?}");
    assert!(!mark.exists() && generations.loaded() == 0);

    // Its file is gone by the time it is loaded: the copy is what runs.
    let began = load(checked(), &generations, 2, Arc::clone(&observer));
    assert!(matches!(began, Err(LoadError::Entry { code: 7, .. })), "{began:?}");
    assert!(mark.exists(), "the constructor leaves a file");
    assert_eq!(generations.loaded(), 1, "it stays, though it would not begin");

    let empty = check(&Fixture::build(&["-DANSWER=0"]).path()).unwrap();
    let began = load(empty, &generations, 2, observer);
    assert!(matches!(began, Err(LoadError::Unusable { .. })), "{began:?}");
}
