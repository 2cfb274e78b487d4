//! Judges tokens.

use super::{Part, Refused, Settings, claims::Claims, header::Header};
use crate::{
    Backing, Credential, Judge, Method,
    auth::{
        jwks::{Key, Keys, NoKey},
        remembered::{Cache, Entry},
    },
    clock::Moment,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prism_platform::{Platform, time::Instant};
use std::{fmt, sync::Arc, time::SystemTime};

/// The longest token, in bytes. Tokens with hundreds of groups have 4 KiB; headers of more than 8 KiB are refused by most
/// servers.
pub const MOST_TOKEN: usize = 8 << 10;

/// The longest header of a token, decoded, in bytes. An algorithm, a type and a key's name take 100.
pub const MOST_HEADER: usize = 1 << 10;

/// Judges the tokens of one issuer. What it remembers of them is gone with it, so that none outlives a change of settings.
pub struct Verifier {
    settings: Settings,
    platform: Platform,
    keys: Arc<Keys>,
    judge: Judge,
    pub(super) cache: Cache,
}

impl Verifier {
    /// One that judges by `settings`, with `keys` opened from their `jwks`.
    #[must_use]
    pub fn new(settings: Settings, keys: Arc<Keys>, platform: &Platform) -> Self {
        let cache = Cache::new(settings.cache_size, platform);
        Self { settings, platform: platform.clone(), keys, judge: Judge::new(), cache }
    }

    /// What it judges by.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Who it is, to the credentials that it has judged.
    #[must_use]
    pub fn judge(&self) -> Judge {
        self.judge
    }

    /// The issuer's keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Judges a token, as it is in its header. One that was accepted before costs a look-up: no lock, no allocation.
    ///
    /// # Errors
    /// [`Refused`]. Never panics.
    pub fn verify(&self, token: &[u8], now: SystemTime) -> Result<Arc<Credential>, Refused> {
        let now = Moment { at: Instant::now(), wall: now };
        self.remembered(token, now).map_or_else(|| self.verify_anew(token, now), Ok)
    }

    /// The same of a token that is not remembered.
    pub(in crate::auth) fn verify_anew(&self, token: &[u8], now: Moment) -> Result<Arc<Credential>, Refused> {
        if token.len() > MOST_TOKEN {
            return Err(Refused::TooLong);
        }
        let (credential, start, end) = self.judge_anew(token, now.wall)?;
        let credential = Arc::new(credential);
        self.cache.add(Entry::new(token, Arc::clone(&credential), start, end), now);
        Ok(credential)
    }

    /// What this token has proven before, if that is still good.
    pub(in crate::auth) fn remembered(&self, token: &[u8], now: Moment) -> Option<Arc<Credential>> {
        self.cache.get(token, now)
    }

    /// Judges a token, and if its key is not known has the keys fetched anew, or waits for a fetch that is under way: a
    /// second at most, and by rules that bound how often ([`Keys::refetch`]). Cancel-safe.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn verify_or_fetch(&self, token: &[u8]) -> Result<Arc<Credential>, Refused> {
        let refused = match self.verify(token, self.platform.wall_clock()) {
            Ok(credential) => return Ok(credential),
            Err(refused) => refused,
        };
        let again = match refused {
            Refused::UnknownKey => self.keys.refetch().await,
            Refused::NoKeys => self.keys.fetched().await,
            _ => false,
        };
        if again { self.verify(token, self.platform.wall_clock()) } else { Err(refused) }
    }

    fn judge_anew(
        &self,
        token: &[u8],
        now: SystemTime,
    ) -> Result<(Credential, SystemTime, SystemTime), Refused> {
        let Parts { header, claims, signature, signed } = Parts::of(token)?;
        let header = Header::read(&decode(header, Part::Header)?)?;
        if !self.settings.algorithms.is_empty() && !self.settings.algorithms.contains(&header.algorithm) {
            return Err(Refused::AlgorithmNotAllowed);
        }
        if self.settings.typ.as_ref().is_some_and(|typ| !header.is_of(typ)) {
            return Err(Refused::WrongType);
        }
        if signature.is_empty() {
            return Err(Refused::NoSignature);
        }
        let (claims, signature) = (decode(claims, Part::Claims)?, decode(signature, Part::Signature)?);
        let keys = self.keys.current();
        let keys = keys.as_ref().ok_or(Refused::NoKeys)?;
        let key = keys.find(header.key_id.as_deref(), header.algorithm).map_err(|none| match none {
            NoKey::Unknown => Refused::UnknownKey,
            NoKey::Algorithm => Refused::AlgorithmNotOfKey,
            NoKey::NotNamed => Refused::KeyNotNamed,
        })?;
        if key.signature_len(header.algorithm) != Some(signature.len()) {
            return Err(Refused::SignatureLength);
        }
        if !key.verify(header.algorithm, signed, &signature) {
            return Err(Refused::BadSignature);
        }
        // Nothing of what it says is looked at before.
        let claims = Claims::read(&claims, &self.settings, now)?;
        let name = format!("{}:{}", self.settings.issuer, claims.subject());
        let credential = Credential::new(Method::Jwt, &name).map_err(|_| Refused::PrincipalTooLong)?;
        let left = claims.end.duration_since(now).map_err(|_| Refused::Expired)?;
        let until = Instant::now().checked_add(left).ok_or(Refused::Range("exp"))?;
        let backing: Arc<dyn Backing> = Arc::<Key>::clone(key);
        let credential = credential.with_claims(claims.all).until(until).judged(self.judge, Some(backing));
        Ok((credential, claims.start, claims.end))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.settings.issuer)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// A token in its compact form (RFC 7515 section 7.1).
struct Parts<'a> {
    header: &'a [u8],
    claims: &'a [u8],
    signature: &'a [u8],
    /// The first two with the dot: what the signature is over.
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(token: &'a [u8]) -> Result<Self, Refused> {
        let dots = token.iter().filter(|byte| **byte == b'.').count();
        let mut parts = token.split(|byte| *byte == b'.');
        match (dots, parts.next(), parts.next(), parts.next()) {
            (2, Some(header), Some(claims), Some(signature)) => {
                let signed = &token[..header.len() + 1 + claims.len()];
                Ok(Self { header, claims, signature, signed })
            }
            // RFC 7516 section 9: a JWE has five.
            (4, ..) => Err(Refused::Encrypted),
            _ => Err(Refused::NotThreeParts),
        }
    }
}

/// Who a token says that it is from, which nothing has proven yet: for choosing who is to judge it.
pub(in crate::auth) fn claimed_issuer(token: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Issued {
        iss: String,
    }
    let claims =
        decode(Parts::of(token.get(..token.len().min(MOST_TOKEN))?).ok()?.claims, Part::Claims).ok()?;
    serde_json::from_slice::<Issued>(&claims).ok().map(|issued| issued.iss)
}

/// "Base64 encoding using the URL- and filename-safe character set [...] with all trailing '=' characters omitted [...] and
/// without the inclusion of any line breaks, whitespace, or other additional characters" (RFC 7515 section 2). Bits beyond
/// the last byte have to be zero, or one token could be written in several ways.
fn decode(part: &[u8], which: Part) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::NotBase64Url(which))
}
