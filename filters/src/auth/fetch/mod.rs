//! Asks an issuer: one HTTP/1.1 request to one configured address, bounded in time and size.
//!
//! No redirects: whoever could make the server send one would choose whose keys are trusted. No proxies, no cookies, no
//! compression, and the content type says nothing that is believed. Each question has a connection of its own: keys are
//! asked for every few minutes, and TLS sessions are resumed.

mod roots;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod url;

pub use url::{Url, UrlError};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use prism_platform::{Address, Io, Platform, time};
use prism_tls::{ClientFiles, ClientTls, ServerName, TlsError, alpn};
use std::{fmt, io, net::SocketAddr, path::Path, pin::pin, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};

/// The most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 4;

/// How large an answer's head may be: ten times what servers send.
const MOST_HEAD: usize = 32 << 10;

/// What a question may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the look-up of the name to the last byte of the answer.
    pub deadline: Duration,
    /// The largest body of an answer, in bytes.
    pub body: usize,
}

/// Asks one address.
pub struct Fetcher {
    platform: Platform,
    url: Url,
    tls: Option<(ClientTls, ServerName<'static>)>,
    limits: Limits,
}

/// Why an address cannot be asked at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Authorities that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system has no list of authorities where they are looked for.
    #[error("this system has no list of authorities that {0} could be checked with: name them in `ca_cert`")]
    NoAuthorities(String),
}

/// Why there is no answer that is worth anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The name cannot be looked up.
    #[error("the host cannot be looked up: {0}")]
    Resolve(io::Error),
    /// A name of this host means another one, and the question would cross the network in clear.
    #[error("the host is not this one: `http://` is for this host alone")]
    NotThisHost,
    /// Nobody takes the connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The server is not who it should be, or speaks no TLS.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// What comes is not HTTP, or breaks off.
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The server sends elsewhere.
    #[error(
        "it answers with a redirect ({0}), and those are not followed: configure the address that it leads to"
    )]
    Redirect(StatusCode),
    /// Any other answer than 200.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// The body is compressed, though that was not asked for.
    #[error("it answers in a content coding that was not asked for")]
    Encoded,
    /// The body is above the limit.
    #[error("its answer is above {0} bytes")]
    TooLarge(usize),
    /// The deadline has passed.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
}

impl Fetcher {
    /// Asks `url`. Over TLS its server is checked with the authorities in `ca_cert`, or with the system's; the file is read
    /// now, and looked at from then on. Blocks for the reading.
    ///
    /// # Errors
    /// [`SetupError`]
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(
        platform: Platform,
        url: Url,
        ca_cert: Option<&Path>,
        limits: Limits,
    ) -> Result<Self, SetupError> {
        let tls = if url.is_tls() {
            let ca = match ca_cert {
                Some(path) => path.to_owned(),
                None => roots::system_bundle().ok_or_else(|| SetupError::NoAuthorities(url.to_string()))?,
            };
            let name = prism_tls::server_name(url.host())?;
            Some((ClientTls::watch(ClientFiles { ca, identity: None })?, name))
        } else {
            None
        };
        Ok(Self { platform, url, tls, limits })
    }

    /// Whom it asks.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Asks for what is there. Dropping the future closes the connection.
    ///
    /// # Errors
    /// [`FetchError`]
    pub async fn get(&self) -> Result<Bytes, FetchError> {
        self.ask(Method::GET, HeaderMap::new(), Bytes::new()).await
    }

    /// Sends a body, with headers of the caller's: its content type, its credentials. Dropping the future closes the
    /// connection.
    ///
    /// # Errors
    /// [`FetchError`]
    pub async fn post(&self, headers: HeaderMap, body: Bytes) -> Result<Bytes, FetchError> {
        self.ask(Method::POST, headers, body).await
    }

    async fn ask(&self, method: Method, headers: HeaderMap, body: Bytes) -> Result<Bytes, FetchError> {
        let deadline = self.limits.deadline;
        let asked = async {
            let io = self.connect().await?;
            let request = self.request(method, headers, body);
            match &self.tls {
                None => exchange(io, request, self.limits.body).await,
                Some((tls, name)) => {
                    let io = tls.connect(name.clone(), alpn::HTTP1, io).await.map_err(FetchError::Tls)?;
                    exchange(io, request, self.limits.body).await
                }
            }
        };
        time::timeout(deadline, asked).await.unwrap_or(Err(FetchError::Deadline(deadline)))
    }

    fn request(&self, method: Method, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        // Both were made of a URI that was read.
        if let Ok(uri) = self.url.path().parse() {
            *request.uri_mut() = uri;
        }
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(self.url.authority()) {
            headers.insert(header::HOST, host);
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        request
    }

    /// Connects to the first address that answers. Each has its share of the deadline: one that never does must not
    /// use up all of it.
    async fn connect(&self) -> Result<Io, FetchError> {
        let addresses = self.platform.resolve(self.url.host(), self.url.port()).await;
        let mut addresses: Vec<SocketAddr> = addresses.map_err(FetchError::Resolve)?;
        addresses.truncate(MOST_ADDRESSES);
        if self.tls.is_none() && !addresses.iter().all(|address| address.ip().is_loopback()) {
            return Err(FetchError::NotThisHost);
        }
        let share = self.limits.deadline / u32::try_from(addresses.len().max(1)).unwrap_or(1);
        let mut failed = FetchError::Resolve(io::ErrorKind::NotFound.into());
        for address in addresses {
            match time::timeout(share, self.platform.connect(&Address::Tcp(address))).await {
                Ok(Ok(io)) => return Ok(io),
                Ok(Err(error)) => failed = FetchError::Connect(error),
                Err(_) => failed = FetchError::Connect(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(failed)
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("url", &self.url)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// One request and its answer, on a connection that is closed then. The connection is driven here: no task is left behind.
async fn exchange<S>(io: S, request: Request<Full<Bytes>>, limit: usize) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_HEAD);
    let (mut sender, connection) = builder.handshake(TokioIo::new(io)).await?;
    let mut answer = pin!(async move {
        let response = sender.send_request(request).await?;
        let (head, mut body) = response.into_parts();
        match head.status {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(FetchError::Redirect(status)),
            status => return Err(FetchError::Status(status)),
        }
        if head.headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
            return Err(FetchError::Encoded);
        }
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if data.len() > limit - whole.len() {
                return Err(FetchError::TooLarge(limit));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    });
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What was read before its end is still to be taken.
        _ = connection => answer.await,
    }
}
