//! A bidirectional stream: messages go out, each comes back, a fixed number is under way.

use crate::{
    call::Call,
    client::{Client, accepted, echo, frame, ok, pattern},
    load::Done,
};
use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use prism_platform::{
    Address,
    time::{Instant, timeout},
};
use prism_proto::plugin::{StreamRequest, StreamResponse, execute_request, stream_request, stream_response};
use prost::Message;
use std::{collections::VecDeque, time::Duration};

/// Longest wait for one message: many times what the slowest peer needs.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stream that is open and has echoed its first message.
pub(crate) struct Echoes {
    send: SendStream<Bytes>,
    receive: RecvStream,
    received: BytesMut,
    payload: Bytes,
    message: Bytes,
    // Its connection lives as long as somebody may open streams on it.
    _client: Client,
}

impl Echoes {
    /// Opens the stream with messages of `payload` bytes.
    pub(crate) async fn open(address: &Address, call: &Call, payload: usize) -> Result<Self, String> {
        let path = call.stream.ok_or("no stream is called in this form")?;
        let mut client = Client::open(address).await?;
        let payload = pattern(payload);
        let message = frame(&request("echo_stream", payload.clone()));
        let opened = timeout(PATIENCE, async {
            let (response, mut send) = client.start(path, &call.headers).await?;
            send.send_data(message.clone(), false).map_err(|error| error.to_string())?;
            let receive = accepted(response.await.map_err(|error| error.to_string())?)?;
            Ok::<_, String>((send, receive))
        });
        let (send, receive) = opened.await.map_err(|_| "the stream does not open".to_owned())??;
        let mut echoes = Self { send, receive, received: BytesMut::new(), payload, message, _client: client };
        echoes.next().await?;
        Ok(echoes)
    }

    /// Keeps `depth` messages under way for `length`. Returns what was done, and how long each message took, in
    /// microseconds and sorted.
    pub(crate) async fn run(&mut self, depth: usize, length: Duration) -> Result<(Done, Vec<u32>), String> {
        let began = Instant::now();
        let mut sent: VecDeque<Instant> = VecDeque::with_capacity(depth);
        let mut times = Vec::new();
        let mut count = 0;
        loop {
            while sent.len() < depth && began.elapsed() < length {
                self.send.send_data(self.message.clone(), false).map_err(|error| error.to_string())?;
                sent.push_back(Instant::now());
            }
            let Some(at) = sent.pop_front() else { break };
            self.next().await?;
            times.push(u32::try_from(at.elapsed().as_micros()).unwrap_or(u32::MAX));
            count += 1;
        }
        times.sort_unstable();
        Ok((Done { requests: count, seconds: began.elapsed().as_secs_f64() }, times))
    }

    /// Ends the stream in order: nothing more may come, and its status must be OK.
    pub(crate) async fn end(mut self) -> Result<(), String> {
        self.send.send_data(Bytes::new(), true).map_err(|error| error.to_string())?;
        let trailers = timeout(PATIENCE, async {
            while let Some(data) = self.receive.data().await {
                let data = data.map_err(|error| error.to_string())?;
                if !data.is_empty() {
                    return Err("more came back than was sent".to_owned());
                }
            }
            self.receive.trailers().await.map_err(|error| error.to_string())
        });
        let trailers = trailers.await.map_err(|_| "the stream does not end".to_owned())??;
        ok(&trailers.unwrap_or_default())
    }

    /// Waits for one whole message and compares it with what was sent.
    async fn next(&mut self) -> Result<(), String> {
        timeout(PATIENCE, self.message()).await.map_err(|_| "the stream stands still".to_owned())?
    }

    async fn message(&mut self) -> Result<(), String> {
        loop {
            if let Some(prefix) = self.received.get(..5) {
                let length = (&prefix[1..]).get_u32();
                let whole = 5 + usize::try_from(length).map_err(|error| error.to_string())?;
                if self.received.len() >= whole {
                    let message = self.received.split_to(whole).split_off(5).freeze();
                    let answer = StreamResponse::decode(message).map_err(|error| error.to_string())?;
                    return match answer.result {
                        Some(stream_response::Result::RawResult(got)) if got == self.payload => Ok(()),
                        _ => Err(format!("a message came back changed: {}", answer.error)),
                    };
                }
            }
            let Some(data) = self.receive.data().await else {
                let trailers = self.receive.trailers().await.map_err(|error| error.to_string())?;
                ok(&trailers.unwrap_or_default())?;
                return Err("the stream ended early".to_owned());
            };
            let data = data.map_err(|error| error.to_string())?;
            self.receive.flow_control().release_capacity(data.len()).map_err(|error| error.to_string())?;
            self.received.extend_from_slice(&data);
        }
    }
}

fn request(operation: &str, payload: Bytes) -> StreamRequest {
    let request = echo(operation, payload);
    let params = request.params.map(|params| match params {
        execute_request::Params::RawParams(bytes) => stream_request::Params::RawParams(bytes),
        execute_request::Params::TypedParams(any) => stream_request::Params::TypedParams(any),
    });
    StreamRequest { operation: request.operation, params, ..Default::default() }
}
