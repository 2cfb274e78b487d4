//! An issuer of tokens: it signs what it is told, publishes its keys, and says what opaque tokens are worth.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

/// Who signs, with ES256 (RFC 7518 section 3.4).
pub struct Issuer {
    name: String,
    key_id: String,
    key: EcdsaKeyPair,
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Seconds since 1970, so many from now.
///
/// # Panics
/// Before 1970.
#[must_use]
pub fn from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

impl Issuer {
    /// One of this name, with a new key of this id.
    ///
    /// # Panics
    /// Without randomness.
    #[must_use]
    pub fn new(name: &str, key_id: &str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        Self { name: name.to_owned(), key_id: key_id.to_owned(), key }
    }

    /// Its public key.
    #[must_use]
    pub fn key(&self) -> Value {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let base64 = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "EC", "crv": "P-256", "kid": self.key_id, "alg": "ES256", "x": base64(x), "y": base64(y) })
    }

    /// A token about `subject` for `audience`, good for so many seconds, with `more` claims.
    ///
    /// # Panics
    /// Without randomness.
    #[must_use]
    pub fn token(&self, subject: &str, audience: &str, seconds: i64, more: &Value) -> String {
        let mut claims =
            json!({ "iss": self.name, "sub": subject, "aud": audience, "exp": from_now(seconds) });
        for (name, value) in more.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        self.signed(&json!({ "alg": "ES256", "kid": self.key_id, "typ": "JWT" }), &claims)
    }

    /// What it is told, signed.
    ///
    /// # Panics
    /// Without randomness.
    #[must_use]
    pub fn signed(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What a server answers: status and body, after a pause.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status line's code.
    pub status: u16,
    /// The body.
    pub body: String,
    /// How long it takes.
    pub pause: Duration,
}

/// A small HTTP/1.1 server on 127.0.0.1 with an answer for each token that it is asked for (RFC 7662), and for everything
/// else one document. Ends with the test's process.
#[derive(Clone, Debug)]
pub struct Answering {
    port: u16,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<AtomicUsize>,
    authorizations: Arc<Mutex<Vec<String>>>,
}

impl Default for Answering {
    fn default() -> Self {
        Self::new()
    }
}

impl Answering {
    /// Serves nothing yet.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering =
            Self { port, answers: Arc::default(), asked: Arc::default(), authorizations: Arc::default() };
        let serving = answering.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let serving = serving.clone();
                // Whoever does not wait gets no answer.
                thread::spawn(move || drop(serving.answer(socket)));
            }
        });
        answering
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// What whoever asked said of themselves, in their order.
    #[must_use]
    pub fn authorizations(&self) -> Vec<String> {
        self.authorizations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers so from now on, when asked for this token; with an empty one, when asked for a document.
    pub fn set(&self, token: &str, body: &Value) {
        self.set_answer(token, Answer { status: 200, body: body.to_string(), pause: Duration::ZERO });
    }

    /// As [`set`](Self::set), in any way.
    pub fn set_answer(&self, token: &str, answer: Answer) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(token.to_owned(), answer);
    }

    fn answer(&self, socket: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(socket);
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if let Some((_, value)) =
                line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            {
                let mut all = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(value.trim().to_owned());
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        self.asked.fetch_add(1, Ordering::SeqCst);
        let body = String::from_utf8_lossy(&body);
        let token = body.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default();
        let known = self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned();
        let inactive = json!({ "active": false }).to_string();
        let answer = known.unwrap_or(Answer { status: 200, body: inactive, pause: Duration::ZERO });
        thread::sleep(answer.pause);
        let (status, length) = (answer.status, answer.body.len());
        let mut socket = reader.into_inner();
        write!(
            socket,
            "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{}",
            answer.body
        )
    }
}
