//! Addresses that are asked, as they are configured.

use http::Uri;
use std::{fmt, net::IpAddr, str::FromStr};

/// An `https://` address, or an `http://` one on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

/// Why a text is no address that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// No absolute `https://` or `http://` address.
    #[error("expected an address such as `https://id.example.com/keys`")]
    Form,
    /// In clear over a network, where anybody can answer with keys of his own.
    #[error("`http://` is for this host alone (`localhost`, `127.0.0.1`, `[::1]`): use `https://`")]
    InClear,
    /// A user name or a password: addresses are logged.
    #[error("an address takes no user name and password")]
    UserInfo,
    /// It is never sent.
    #[error("an address takes no `#…`")]
    Fragment,
}

impl Url {
    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The name or the IP address, this without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port: the scheme's own if none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the `host` header says: the port only if it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains('#') {
            return Err(UrlError::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::Form)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(UrlError::Form),
        };
        let authority = uri.authority().ok_or(UrlError::Form)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        let host = authority.host().to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host).to_owned();
        let standard = if tls { 443 } else { 80 };
        let port = match authority.as_str().get(authority.host().len()..) {
            Some("") => standard,
            Some(_) => authority.port_u16().filter(|port| *port > 0).ok_or(UrlError::Form)?,
            None => return Err(UrlError::Form),
        };
        prism_tls::server_name(&bare).map_err(|_| UrlError::Form)?;
        let this_host = bare == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if !tls && !this_host {
            return Err(UrlError::InClear);
        }
        let authority = if port == standard { host } else { format!("{host}:{port}") };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { tls, host: bare, port, authority, path })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_whom_to_ask_and_how() {
        for (text, host, port, path) in [
            ("https://id.example/keys?a=b", "id.example", 443, "/keys?a=b"),
            ("https://id.example:8443", "id.example", 8443, "/"),
            ("https://[2001:db8::7]/", "2001:db8::7", 443, "/"),
            ("http://localhost:8080/keys", "localhost", 8080, "/keys"),
            ("http://127.9.9.9/keys", "127.9.9.9", 80, "/keys"),
            ("http://[::1]:81/keys", "::1", 81, "/keys"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.host(), url.port(), url.path()), (host, port, path));
            assert!(url.to_string().starts_with(text), "{url}");
        }
        assert_eq!("HTTPS://ID.example:443/K".parse::<Url>().unwrap().to_string(), "https://id.example/K");
    }

    #[test]
    fn what_could_be_answered_by_strangers_or_says_too_much_is_refused() {
        for (text, error) in [
            ("", UrlError::Form),
            ("/keys", UrlError::Form),
            ("id.example/keys", UrlError::Form),
            ("ftp://id.example/keys", UrlError::Form),
            ("file:///etc/passwd", UrlError::Form),
            ("https://", UrlError::Form),
            ("https://id.example:0/", UrlError::Form),
            ("https://id.example:/", UrlError::Form),
            ("https://id.example:99999/", UrlError::Form),
            ("https://id example/", UrlError::Form),
            ("https://a_b!c/", UrlError::Form),
            ("https://user@id.example/", UrlError::UserInfo),
            ("http://127.0.0.1@id.example/", UrlError::UserInfo),
            ("https://user:pass@id.example/", UrlError::UserInfo),
            ("https://id.example/#keys", UrlError::Fragment),
            ("http://id.example/keys", UrlError::InClear),
            ("http://10.0.0.1/keys", UrlError::InClear),
            ("http://localhost.id.example/keys", UrlError::InClear),
            ("http://127.0.0.1.id.example/keys", UrlError::InClear),
            ("http://0.0.0.0/keys", UrlError::InClear),
            ("http://[2001:db8::1]/keys", UrlError::InClear),
        ] {
            assert_eq!(text.parse::<Url>().unwrap_err(), error, "{text}");
        }
    }
}
