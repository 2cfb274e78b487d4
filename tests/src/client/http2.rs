//! HTTP/2 with a hand on every frame: windows, half-sent bodies, trailers, resets.

use crate::wait;
use bytes::Bytes;
use h2::{
    RecvStream,
    client::{self, SendRequest},
};
use http::{HeaderMap, Request, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};
use tonic::{Code, Status};

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// Opens streams.
    pub send: SendRequest<Bytes>,
    /// Drives the connection; gives how it ended.
    pub driver: JoinHandle<Result<(), h2::Error>>,
}

/// An answer, as far as it came.
#[derive(Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The response headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers, where there were any.
    pub trailers: HeaderMap,
}

impl Answer {
    /// The gRPC status, from the trailers or from a trailers-only answer.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn grpc(&self) -> Status {
        Status::from_header_map(&self.trailers)
            .or_else(|| Status::from_header_map(&self.headers))
            .unwrap_or_else(|| panic!("no gRPC status in {self:?}"))
    }

    /// The gRPC status's code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.grpc().code()
    }
}

/// Connects with h2's own settings.
pub async fn connect(port: u16) -> Connection {
    connect_with(port, &client::Builder::new()).await
}

/// Connects with settings of one's own.
///
/// # Panics
/// When nobody answers.
pub async fn connect_with(port: u16, builder: &client::Builder) -> Connection {
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (send, connection) = builder.handshake::<_, Bytes>(socket).await.unwrap();
    Connection { send, driver: tokio::spawn(connection) }
}

/// Speaks HTTP/2 on a connection that is there: in clear, or encrypted.
///
/// # Errors
/// The peer broke it off.
pub async fn over<S>(io: S) -> Result<Connection, h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = client::Builder::new().handshake::<_, Bytes>(io).await?;
    Ok(Connection { send, driver: tokio::spawn(connection) })
}

/// A gRPC call's head.
///
/// # Panics
/// When a header is none.
#[must_use]
pub fn head(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder()
        .method("POST")
        .uri(format!("http://127.0.0.1{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

impl Connection {
    /// Sends a whole call and collects its answer.
    ///
    /// # Errors
    /// The stream or the connection was broken off by the proxy.
    pub async fn call(&self, head: Request<()>, body: Bytes) -> Result<Answer, h2::Error> {
        self.call_with_trailers(head, body, None).await
    }

    /// Sends a whole call that ends in trailers and collects its answer.
    ///
    /// # Errors
    /// The stream or the connection was broken off by the proxy.
    pub async fn call_with_trailers(
        &self,
        head: Request<()>,
        body: Bytes,
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        wait::guard("a call", async {
            let mut send = self.send.clone().ready().await?;
            let (response, mut stream) = send.send_request(head, false)?;
            // An answer may come before the body is wanted; what then fails to be sent is no error.
            let last = trailers.is_none();
            let sent = send_all(&mut stream, body, last).await;
            if let (Ok(()), Some(trailers)) = (sent, trailers) {
                let _ = stream.send_trailers(trailers);
            }
            collect(response).await
        })
        .await
    }
}

/// Sends a body as windows allow.
///
/// # Errors
/// The stream was reset.
pub async fn send_all(
    stream: &mut h2::SendStream<Bytes>,
    mut body: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(capacity) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
            return Err(h2::Reason::CANCEL.into());
        };
        let piece = body.split_to(capacity?.min(body.len()));
        if piece.is_empty() {
            continue;
        }
        let last = end && body.is_empty();
        stream.send_data(piece, last)?;
        if last {
            return Ok(());
        }
    }
    if end { stream.send_data(Bytes::new(), true) } else { Ok(()) }
}

/// Collects an answer.
///
/// # Errors
/// The stream or the connection was broken off by the proxy.
pub async fn collect(response: client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, mut body) = response.await?.into_parts();
    let mut answer = Answer { status: parts.status, headers: parts.headers, ..Answer::default() };
    while let Some(piece) = next(&mut body).await? {
        answer.body.extend_from_slice(&piece);
    }
    answer.trailers = body.trailers().await?.unwrap_or_default();
    Ok(answer)
}

/// The next piece of a body, with its window given back.
///
/// # Errors
/// The stream or the connection was broken off by the proxy.
pub async fn next(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(piece) = body.data().await else { return Ok(None) };
    let piece = piece?;
    body.flow_control().release_capacity(piece.len())?;
    Ok(Some(piece))
}
