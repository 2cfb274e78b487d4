//! A `watch` of the namespace `demo` by hand, for tests of how it ends.

use super::http2::{Connection, head};
use crate::{wait, wire::framed};
use h2::RecvStream;

/// Opens one, and gives it back when its headers are there. It takes what it is sent by whoever reads it.
///
/// # Panics
/// When it does not open.
pub async fn open(connection: &Connection, headers: &[(&str, &str)]) -> RecvStream {
    let mut all = vec![("x-prism-namespace", "demo")];
    all.extend(headers);
    let mut send = connection.send.clone().ready().await.unwrap();
    let request = head("/prism.kv.v1.KeyValueService/Watch", &all);
    let (response, mut stream) = send.send_request(request, false).unwrap();
    stream.send_data(framed(b""), true).unwrap();
    let response = wait::guard("a watch", response).await.unwrap();
    assert!(!response.headers().contains_key("grpc-status"), "{:?}", response.headers());
    response.into_body()
}

/// Waits until it ends, and answers with its `grpc-status`.
///
/// # Errors
/// It broke off.
///
/// # Panics
/// When it does not end, or has no status.
pub async fn ended(mut stream: RecvStream) -> Result<String, h2::Error> {
    wait::guard("the end of a watch", async {
        while let Some(piece) = stream.data().await {
            piece?;
        }
        let trailers = stream.trailers().await?.unwrap();
        Ok(trailers["grpc-status"].to_str().unwrap().to_owned())
    })
    .await
}
