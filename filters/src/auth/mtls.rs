//! Client certificates: whom the listener's handshake has verified.

use super::{Bad, Proof};
use crate::{Credential, Judge, Method};
use bytestring::ByteString;
use foldhash::{HashMap, HashMapExt as _};
use prism_platform::{Platform, time::Instant};
use prism_tls::ClientIdentity;
use schemars::JsonSchema;
use serde::Deserialize;
use std::{borrow::Cow, cell::RefCell, sync::Arc};

/// Client certificates, where the filter `tls` asks for them (`client_ca`). The principal is the certificate's one SPIFFE id
/// (`spiffe://…`), or where it has none its first DNS name (`dns:NAME`). One that has more than one URI names nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Mtls")]
pub struct Settings {
    /// Whether a certificate with neither may name its owner by its subject's common name (`cn:NAME`). Off: authorities that
    /// check every other name have signed anything in this one.
    pub common_name: bool,
}

/// Certificates whose credential a worker remembers: those of as many connections as are likely to be open. When it is full
/// it begins anew.
const MOST: usize = 4096;

/// Whom a certificate names, for as long as it is asked.
fn named(client: &ClientIdentity, common_name: bool) -> Result<Credential, Bad> {
    if let Some(problem) = client.problem() {
        return Err(Bad::new(problem.to_string()));
    }
    let common_name = || client.common_name().filter(|_| common_name);
    let named = client
        .spiffe_id()
        .map(|id| (Method::Spiffe, id))
        .or_else(|| client.dns_names().first().map(|name| (Method::Dns, &**name)))
        .or_else(|| common_name().map(|name| (Method::CommonName, name)));
    let Some((method, name)) = named else {
        return Err(Bad::new(
            "the client's certificate has neither a SPIFFE id nor a DNS name, and `common_name` is off",
        ));
    };
    Credential::new(method, name).map_err(|error| Bad::new(error.to_string()))
}

/// The principal that the method `mtls` would know a client by, without `common_name`.
///
/// # Errors
/// The certificate names nobody: why, for the log.
pub fn certificate_principal(client: &ClientIdentity) -> Result<ByteString, Cow<'static, str>> {
    named(client, false).map(|credential| credential.principal().clone()).map_err(Bad::into_text)
}

/// The method, as it is configured.
pub(super) struct Mtls {
    settings: Settings,
    platform: Platform,
    judge: Judge,
}

/// By who asks, and by the certificate's digest.
type Known = HashMap<(Judge, [u8; 32]), Arc<Credential>>;

thread_local! {
    /// The credential of each certificate: each call of a connection has the same.
    static KNOWN: RefCell<Known> = RefCell::new(Known::new());
}

impl Mtls {
    pub(super) fn new(settings: Settings, platform: &Platform) -> Self {
        Self { settings, platform: platform.clone(), judge: Judge::new() }
    }

    pub(super) fn prove(&self, client: Option<&Arc<ClientIdentity>>) -> Proof {
        let Some(client) = client else { return Proof::Absent };
        let key = (self.judge, *client.fingerprint());
        let known = KNOWN.with_borrow(|known| known.get(&key).cloned());
        let credential = match known.map_or_else(|| self.credential(client).map(Arc::new), Ok) {
            Ok(credential) => credential,
            Err(bad) => return bad.into(),
        };
        if credential.expires().is_some_and(|expires| expires <= Instant::now()) {
            return Bad::new(format!("the certificate of {} has expired", credential.principal())).into();
        }
        KNOWN.with_borrow_mut(|known| {
            if known.len() >= MOST {
                known.clear();
            }
            known.entry(key).or_insert_with(|| Arc::clone(&credential));
        });
        Proof::Good(credential)
    }

    /// Whom the certificate names.
    fn credential(&self, client: &ClientIdentity) -> Result<Credential, Bad> {
        let credential = named(client, self.settings.common_name)?;
        // One that ends too far away for the clock is as good as one without an end.
        let left = client.not_after().duration_since(self.platform.wall_clock()).unwrap_or_default();
        Ok(match Instant::now().checked_add(left) {
            Some(end) => credential.until(end),
            None => credential,
        })
    }

    /// The connection's certificate still names the credential's owner. Whether it is still trusted, the connection looks
    /// after itself.
    pub(super) fn holds(&self, credential: &Credential, client: Option<&Arc<ClientIdentity>>) -> bool {
        client
            .and_then(|client| self.credential(client).ok())
            .is_some_and(|now| now.principal() == credential.principal())
    }
}
