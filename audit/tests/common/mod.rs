//! A log in a folder of its own, with a key.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by tests, each of which uses a part"
)]

use base64::{Engine, engine::general_purpose::STANDARD};
use prism_audit::{Hash, Log, LogSettings, PublicKey, SigningKey, Sync, finish, verify};
use ring::{rand::SystemRandom, signature::Ed25519KeyPair};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

pub struct Scene {
    pub folder: tempfile::TempDir,
    pub settings: LogSettings,
    pub seconds: Arc<AtomicU64>,
}

pub fn write_key(path: &Path) {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let text = STANDARD.encode(der.as_ref());
    fs::write(path, format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

impl Scene {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("audit");
        fs::create_dir(&dir).unwrap();
        let key = folder.path().join("key.pem");
        write_key(&key);
        let settings = LogSettings {
            dir,
            key,
            sync: Sync::None,
            segment_bytes: 1 << 20,
            segment_age: Duration::from_secs(3600),
            keep_segments: None,
            queue: 1000,
        };
        Self { folder, settings, seconds: Arc::new(AtomicU64::new(1_800_000_000)) }
    }

    pub fn open(&self) -> Arc<Log> {
        let seconds = Arc::clone(&self.seconds);
        let clock = move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::Relaxed));
        Log::open(self.settings.clone(), Arc::new(clock), Box::new(|_| {})).unwrap()
    }

    /// Opens the log, writes so many records and ends it.
    pub fn write(&self, records: usize) {
        let log = self.open();
        for number in 0..records {
            put(&log, number);
        }
        drop(log);
        assert!(finish(Duration::from_secs(30)));
    }

    pub fn dir(&self) -> &Path {
        &self.settings.dir
    }

    pub fn file(&self, number: u64) -> PathBuf {
        self.dir().join(format!("{number:08}.jsonl"))
    }

    pub fn lines(&self, number: u64) -> Vec<String> {
        fs::read_to_string(self.file(number)).unwrap().lines().map(str::to_owned).collect()
    }

    pub fn rewrite(&self, number: u64, lines: &[String]) {
        fs::write(self.file(number), lines.join("\n") + "\n").unwrap();
    }

    pub fn key(&self) -> PublicKey {
        SigningKey::load(&self.settings.key).unwrap().public()
    }

    pub fn check(&self, expect: &[Hash]) -> verify::Report {
        let options = verify::Options { expect: expect.to_vec(), keys: vec![self.key()], closed: false };
        verify::check(&[self.dir().to_owned()], &options).unwrap()
    }

    pub fn intact(&self) -> verify::Report {
        let report = self.check(&[]);
        assert_eq!(report.verdict, verify::Verdict::Intact, "{:?}", report.problem);
        report
    }

    /// What is wrong with it.
    pub fn problem(&self) -> String {
        let report = self.check(&[]);
        assert_eq!(report.verdict, verify::Verdict::Broken);
        report.problem.unwrap().to_string()
    }

    pub fn says(&self, wanted: &str) {
        let problem = self.problem();
        assert!(problem.contains(wanted), "{problem}\ndoes not say\n{wanted}");
    }
}

pub fn put(log: &Log, number: usize) {
    let slot = loop {
        match log.try_reserve() {
            Some(slot) => break slot,
            None => std::thread::yield_now(),
        }
    };
    slot.put(record(number));
}

pub fn record(number: usize) -> Vec<u8> {
    format!(r#""kind":"call","time":"2027-01-15T08:00:00.000Z","request_id":"{number}","code":"OK""#)
        .into_bytes()
}
