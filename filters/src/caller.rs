//! Who calls, as authentication has established it.

use bytestring::ByteString;
use prism_platform::time::Instant;
use serde_json::{Map, Value};
use std::{
    fmt,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The principal of a request without credentials, where the configuration lets those in. No pattern stands for it: a rule
/// names it as it is.
pub const ANONYMOUS: &str = "anonymous";

/// The longest principal; what is longer has no business in a header and a log.
const MOST_PRINCIPAL: usize = 512;

/// How a credential proves whose it is. Principals carry it, or the `admin` of one issuer would be the `admin` of every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// A client certificate's SPIFFE id, which is a URI with its own scheme: `spiffe://…`.
    Spiffe,
    /// A client certificate's DNS name: `dns:NAME`.
    Dns,
    /// A client certificate's common name: `cn:NAME`.
    CommonName,
    /// A JSON web token: `jwt:ISSUER:SUBJECT`.
    Jwt,
    /// An opaque token, by introspection: `oauth2:ISSUER:SUBJECT`.
    OAuth2,
    /// An API key: `key:NAME`.
    ApiKey,
    /// None at all.
    Anonymous,
}

impl Method {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Spiffe | Self::Anonymous => "",
            Self::Dns => "dns:",
            Self::CommonName => "cn:",
            Self::Jwt => "jwt:",
            Self::OAuth2 => "oauth2:",
            Self::ApiKey => "key:",
        }
    }
}

/// What a credential rests on, and may lose: a key in a set, a certificate.
pub trait Backing: Send + Sync {
    /// It still stands. Asked seldom: when something has changed.
    fn stands(&self) -> bool;
}

/// Who has judged a credential, or a call: nobody else knows what it was judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Judge(u64);

impl Judge {
    /// One more.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for Judge {
    fn default() -> Self {
        Self::new()
    }
}

/// What somebody has proven, once, and how long that is good for.
pub struct Credential {
    principal: ByteString,
    method: Method,
    claims: Map<String, Value>,
    expires: Option<Instant>,
    /// Tells it from another one of the same owner.
    proof: Option<[u8; 32]>,
    judge: Option<Judge>,
    backing: Option<Arc<dyn Backing>>,
}

/// A name that is empty, or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a principal has 1 to {MOST_PRINCIPAL} bytes")]
pub struct PrincipalError;

impl Credential {
    /// Whose it is: `name` as its method has it (of a token: `ISSUER:SUBJECT`). What is no visible ASCII in it, and `%`, is
    /// percent-encoded: it travels in headers, and no two names become one.
    ///
    /// # Errors
    /// [`PrincipalError`]
    pub fn new(method: Method, name: &str) -> Result<Self, PrincipalError> {
        let mut principal = method.prefix().to_owned();
        for byte in name.bytes() {
            match byte {
                b'!'..=b'~' if byte != b'%' => principal.push(char::from(byte)),
                // A String takes every write.
                _ => drop(write!(principal, "%{byte:02X}")),
            }
        }
        if name.is_empty() || principal.len() > MOST_PRINCIPAL {
            return Err(PrincipalError);
        }
        Ok(Self::of(principal.into(), method))
    }

    /// Nobody's.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::of(ByteString::from_static(ANONYMOUS), Method::Anonymous)
    }

    fn of(principal: ByteString, method: Method) -> Self {
        Self { principal, method, claims: Map::new(), expires: None, proof: None, judge: None, backing: None }
    }

    /// With what its issuer says of its owner.
    #[must_use]
    pub fn with_claims(mut self, claims: Map<String, Value>) -> Self {
        self.claims = claims;
        self
    }

    /// Proven by what has this digest: with another key the same owner has another credential.
    #[must_use]
    pub fn proven_by(mut self, digest: [u8; 32]) -> Self {
        self.proof = Some(digest);
        self
    }

    /// Good until then.
    #[must_use]
    pub fn until(mut self, expires: Instant) -> Self {
        self.expires = Some(expires);
        self
    }

    /// Judged by this one, and resting on that.
    #[must_use]
    pub fn judged(mut self, judge: Judge, backing: Option<Arc<dyn Backing>>) -> Self {
        (self.judge, self.backing) = (Some(judge), backing);
        self
    }

    /// What it rests on stands.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.backing.as_ref().is_none_or(|backing| backing.stands())
    }

    /// It was judged by this one, and what it rests on stands.
    #[must_use]
    pub fn stands_before(&self, judge: Judge) -> bool {
        self.judge == Some(judge) && self.stands()
    }

    /// Whose it is: visible ASCII.
    #[must_use]
    pub fn principal(&self) -> &ByteString {
        &self.principal
    }

    /// How it proves that.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// What its issuer says of its owner. Not all of it was meant for anybody's eyes.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// It says what another says, by the same proof, whenever it ends.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.principal == other.principal
            && self.method == other.method
            && self.proof == other.proof
            && self.claims == other.claims
    }

    /// When it ends; `None` where nothing says so.
    #[must_use]
    pub fn expires(&self) -> Option<Instant> {
        self.expires
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("principal", &self.principal)
            .field("method", &self.method)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Who makes a request: one credential, or several where all of them were asked for. What is granted to any one of them is
/// granted; what a rule asks for has to be true of one and the same.
#[derive(Clone, Debug)]
pub struct Caller {
    first: Arc<Credential>,
    more: Box<[Arc<Credential>]>,
}

impl Caller {
    /// Somebody with one credential.
    #[must_use]
    pub fn new(credential: Arc<Credential>) -> Self {
        Self { first: credential, more: Box::default() }
    }

    /// Somebody with several; the first names them in logs and to plugins.
    #[must_use]
    pub fn with(mut self, more: impl IntoIterator<Item = Arc<Credential>>) -> Self {
        self.more = more.into_iter().collect();
        self
    }

    /// What it is called in logs and to plugins.
    #[must_use]
    pub fn principal(&self) -> &ByteString {
        self.first.principal()
    }

    /// All its credentials, at least one.
    pub fn credentials(&self) -> impl Iterator<Item = &Arc<Credential>> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// When the first of its credentials ends.
    #[must_use]
    pub fn expires(&self) -> Option<Instant> {
        self.credentials().filter_map(|credential| credential.expires()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(method: Method, name: &str) -> String {
        Credential::new(method, name).unwrap().principal().to_string()
    }

    #[test]
    fn a_principal_says_by_which_method_it_was_proven() {
        assert_eq!(principal(Method::Spiffe, "spiffe://a.example/x"), "spiffe://a.example/x");
        assert_eq!(principal(Method::Dns, "a.example"), "dns:a.example");
        assert_eq!(principal(Method::Jwt, "https://i.example:7"), "jwt:https://i.example:7");
        assert_eq!(principal(Method::ApiKey, "batch"), "key:batch");
        assert_eq!(Credential::anonymous().principal(), ANONYMOUS);
    }

    #[test]
    fn no_two_names_become_one_and_none_breaks_a_header() {
        for (name, written) in [
            ("a b", "dns:a%20b"),
            ("a%20b", "dns:a%2520b"),
            ("a\r\nx-evil: 1", "dns:a%0D%0Ax-evil:%201"),
            ("\0", "dns:%00"),
            ("é", "dns:%C3%A9"),
        ] {
            assert_eq!(principal(Method::Dns, name), written);
        }
        assert!(Credential::new(Method::Jwt, "").is_err());
        assert!(Credential::new(Method::Jwt, &"a".repeat(509)).is_err());
        assert!(Credential::new(Method::Jwt, &"é".repeat(100)).is_err());
    }

    #[test]
    fn what_an_issuer_says_is_not_shown_and_the_first_end_counts() {
        let secret = Value::from("s3cret");
        let claims = Map::from_iter([("email".to_owned(), secret)]);
        let now = Instant::now();
        let one = Credential::new(Method::ApiKey, "a").unwrap().with_claims(claims).until(now);
        assert!(!format!("{one:?}").contains("s3cret"));
        let caller = Caller::new(Arc::new(Credential::new(Method::Dns, "b").unwrap())).with([Arc::new(one)]);
        assert_eq!(caller.principal(), "dns:b");
        assert_eq!(caller.expires(), Some(now));
    }
}
