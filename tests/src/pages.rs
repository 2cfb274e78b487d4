//! A web site for a browser: what its pages are made of, and what they tell.

use crate::{Process, tools, wait};
use rustix::process::Signal;
use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Component, Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
};
use tempfile::TempDir;

/// What a page sends to `/result`.
type Told = Arc<Mutex<Option<String>>>;

/// A site on a port of its own, served until the test is over: a folder of the repository, the Node packages under
/// `/node_modules`, and files that are only there in memory.
#[derive(Debug)]
pub struct Pages {
    port: u16,
    told: Told,
}

impl Pages {
    /// Serves this folder, and these files by their paths.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn serve(folder: &Path, files: HashMap<&'static str, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = Told::default();
        let site = Arc::new(Site { folder: folder.to_owned(), files, told: Arc::clone(&told) });
        // Ends with the test's process.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let site = Arc::clone(&site);
                // Whoever goes away in the middle is answered no more.
                thread::spawn(move || drop(site.answer(connection)));
            }
        });
        Self { port, told }
    }

    /// The origin that its pages have when they are asked for under this name of the machine.
    #[must_use]
    pub fn origin(&self, host: &str) -> String {
        format!("http://{host}:{}", self.port)
    }

    /// Opens a page in a browser, and waits for what it tells.
    ///
    /// # Panics
    /// When the browser ends, or the page tells nothing.
    #[must_use]
    pub fn tells(&self, url: &str) -> String {
        let _ = self.take();
        let mut browser = Browser::open(url);
        wait::until("the page should tell how it went", || {
            let ended = browser.process.ended();
            assert!(ended.is_none(), "the browser ended ({ended:?}):\n{}", browser.process.log());
            self.take()
        })
    }

    fn take(&self) -> Option<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Headless Chromium with a profile of its own. It is ended when it is dropped.
struct Browser {
    process: Process,
    _profile: TempDir,
}

impl Browser {
    fn open(url: &str) -> Self {
        let profile = tempfile::Builder::new().prefix("prism-browser-").tempdir().unwrap();
        let mut command = Command::new(tools::tool("chromium"));
        command
            // Tests run as root, which its sandbox does not like, on machines with no screen and little shared memory.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            // It calls nobody but the test.
            .args(["--no-first-run", "--disable-quic", "--disable-sync", "--disable-extensions"])
            .args(["--disable-background-networking", "--disable-component-update", "--no-proxy-server"])
            // Else it leaves when the page is loaded.
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url);
        let process = Process::spawn("chromium", &mut command, &profile.path().join("chromium.log"));
        Self { process, _profile: profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Killed, it would leave children that write into the profile while it is removed.
        if !thread::panicking() && self.process.ended().is_none() {
            self.process.signal(Signal::TERM);
            let _ = self.process.wait();
        }
    }
}

struct Site {
    folder: PathBuf,
    files: HashMap<&'static str, Vec<u8>>,
    told: Told,
}

impl Site {
    fn answer(&self, connection: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(connection);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let mut length = 0;
        let post = method == "POST";
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            if header.trim_end().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let found = if post && path == "/result" {
            let told = String::from_utf8_lossy(&body).into_owned();
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
            Some(Vec::new())
        } else {
            self.find(&path)
        };
        let (status, body) = match found {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", Vec::new()),
        };
        let kind = match path.rsplit('.').next() {
            Some("html") => "text/html",
            Some("js" | "mjs") => "text/javascript",
            _ => "application/octet-stream",
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let mut connection = reader.into_inner();
        connection.write_all(head.as_bytes())?;
        connection.write_all(&body)
    }

    fn find(&self, path: &str) -> Option<Vec<u8>> {
        if let Some(file) = self.files.get(path) {
            return Some(file.clone());
        }
        let relative = Path::new(path.strip_prefix('/')?);
        if !relative.components().all(|component| matches!(component, Component::Normal(_))) {
            return None;
        }
        let file = match relative.strip_prefix("node_modules") {
            Ok(package) => tools::node_modules().join(package),
            Err(_) => self.folder.join(relative),
        };
        fs::read(file).ok()
    }
}
