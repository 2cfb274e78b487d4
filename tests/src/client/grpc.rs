//! A client of `prism.data.v1.DataService` on tonic: the well-behaved one.

use bytes::Bytes;
use prism_proto::{
    data::v1::data_service_client::DataServiceClient,
    google::protobuf::Any,
    kv::v1 as kv,
    plugin::{
        ExecuteRequest, ExecuteResponse, StreamRequest, StreamResponse, execute_request, execute_response,
        stream_request, stream_response,
    },
};
use prost::{Message, Name};
use tonic::{
    Request, Status, Streaming,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

/// The largest message that this client takes: nothing that a test sends is larger.
const LARGEST: usize = 64 << 20;

/// A client for one namespace.
#[derive(Debug, Clone)]
pub struct Client {
    inner: DataServiceClient<Channel>,
    namespace: String,
}

impl Client {
    /// A client on a connection of its own, which is made (and made again) when it is needed.
    ///
    /// # Panics
    /// When the address is none.
    #[must_use]
    pub fn new(port: u16, namespace: &str) -> Self {
        let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy();
        let inner = DataServiceClient::new(channel)
            .max_decoding_message_size(LARGEST)
            .max_encoding_message_size(LARGEST);
        Self { inner, namespace: namespace.to_owned() }
    }

    /// Any call.
    ///
    /// # Errors
    /// What the channel answers; a failed operation is an answer.
    pub async fn execute(&self, message: ExecuteRequest) -> Result<ExecuteResponse, Status> {
        let answer = self.inner.clone().execute(self.request(message)).await?;
        Ok(answer.into_inner())
    }

    /// An operation with typed parameters and a typed result.
    ///
    /// # Errors
    /// What the channel answers, and a failed operation as the status that it stands for.
    ///
    /// # Panics
    /// When the result is of another type.
    pub async fn typed<P: Message + Name, R: Message + Name + Default>(
        &self,
        operation: &str,
        parameters: &P,
    ) -> Result<R, Status> {
        let params = Some(execute_request::Params::TypedParams(any(parameters)));
        let message = ExecuteRequest { operation: operation.to_owned(), params, ..Default::default() };
        let answer = self.execute(message).await?;
        if !answer.success {
            return Err(Status::new(answer.error_code.into(), answer.error));
        }
        match answer.result {
            Some(execute_response::Result::TypedResult(any)) => Ok(open(&any)),
            None => Ok(R::default()),
            Some(execute_response::Result::RawResult(_)) => panic!("{operation} answered raw bytes"),
        }
    }

    /// Stores a value.
    ///
    /// # Errors
    /// As [`Client::typed`].
    pub async fn set(&self, key: &str, value: impl Into<Bytes>) -> Result<kv::SetResponse, Status> {
        let parameters = kv::SetRequest { key: key.to_owned(), value: value.into(), ..Default::default() };
        self.typed("set", &parameters).await
    }

    /// Reads a value.
    ///
    /// # Errors
    /// As [`Client::typed`].
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, Status> {
        let parameters = kv::GetRequest { key: key.to_owned(), ..Default::default() };
        let answer: kv::GetResponse = self.typed("get", &parameters).await?;
        Ok(answer.found.then_some(answer.value))
    }

    /// Watches a prefix. Returns when the stream's headers are there: what happens from then on is reported.
    ///
    /// # Errors
    /// What the channel answers.
    pub async fn watch(&self, prefix: &str) -> Result<Watch, Status> {
        let parameters = kv::WatchRequest { prefix: prefix.to_owned() };
        let first = StreamRequest {
            operation: "watch".to_owned(),
            params: Some(stream_request::Params::TypedParams(any(&parameters))),
            ..Default::default()
        };
        let request = self.request(tokio_stream::once(first));
        Ok(Watch(self.inner.clone().execute_stream(request).await?.into_inner()))
    }

    /// A request with the namespace in its header.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let namespace = MetadataValue::try_from(&self.namespace).expect("a namespace's name is ASCII");
        request.metadata_mut().insert("x-prism-namespace", namespace);
        request
    }
}

/// An open `watch`.
#[derive(Debug)]
pub struct Watch(Streaming<StreamResponse>);

impl Watch {
    /// The next event; `None` at the stream's end.
    ///
    /// # Errors
    /// The status that the stream ended with.
    ///
    /// # Panics
    /// When a message is no event.
    pub async fn event(&mut self) -> Result<Option<kv::WatchEvent>, Status> {
        let Some(message) = self.0.message().await? else { return Ok(None) };
        if message.error_code != 0 {
            return Err(Status::new(message.error_code.into(), message.error));
        }
        match message.result {
            Some(stream_response::Result::TypedResult(any)) => Ok(Some(open(&any))),
            _ => panic!("no event: {message:?}"),
        }
    }
}

/// Packs a message.
#[must_use]
pub fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec().into() }
}

/// Unpacks a message.
///
/// # Panics
/// When it is another.
#[must_use]
pub fn open<M: Message + Name + Default>(any: &Any) -> M {
    assert_eq!(any.type_url, M::type_url());
    M::decode(any.value.clone()).unwrap()
}

/// The machine-readable reason in a status's details (`google.rpc.ErrorInfo`).
#[must_use]
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}
