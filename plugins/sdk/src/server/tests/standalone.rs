//! A plugin's server without a proxy: what tools find out about it by themselves.

use super::*;
use crate::testing::connect;
use prost::Message;
use std::collections::BTreeSet;
use tonic_health::pb::{HealthCheckRequest, health_check_response, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

/// As far as it is looked at here.
#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "3")]
    dependency: Vec<String>,
}

async fn ask(path: &Path, question: MessageRequest) -> MessageResponse {
    let mut client = ServerReflectionClient::new(connect(path.to_path_buf()).await);
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut answers = client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap().message_response.unwrap()
}

#[tokio::test]
async fn reflection_names_the_services() {
    let server = server(Transport::Grpc, |_| ()).await;
    let MessageResponse::ListServicesResponse(list) =
        ask(&server.path, MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list")
    };
    let names: BTreeSet<_> = list.service.into_iter().map(|service| service.name).collect();
    assert_eq!(names, BTreeSet::from([SERVICE.to_owned(), "grpc.health.v1.Health".to_owned()]));
}

/// grpcurl gets a method's file, then every file that it imports: each must be there.
#[tokio::test]
async fn reflection_has_every_file_that_a_client_needs() {
    let server = server(Transport::Grpc, |_| ()).await;
    let mut missing: Vec<MessageRequest> = [
        "prism.plugin.BackendPlugin",
        "prism.plugin.BackendPlugin.Execute",
        "prism.plugin.InitializeRequest",
        "prism.kv.v1.GetRequest",
        "google.protobuf.Struct",
        "grpc.health.v1.Health",
    ]
    .map(|symbol| MessageRequest::FileContainingSymbol(symbol.to_owned()))
    .into();
    let mut known = BTreeSet::new();
    while let Some(question) = missing.pop() {
        let MessageResponse::FileDescriptorResponse(files) = ask(&server.path, question.clone()).await else {
            panic!("{question:?} is not answered");
        };
        for file in files.file_descriptor_proto {
            let file = File::decode(&*file).unwrap();
            if known.insert(file.name) {
                missing.extend(file.dependency.into_iter().map(MessageRequest::FileByFilename));
            }
        }
    }
    assert!(known.contains("prism/plugin/plugin.proto") && known.len() > 4, "{known:?}");
}

#[tokio::test]
async fn health_is_the_process_s_until_it_drains() {
    let server = server(Transport::Grpc, |options| options.drain_timeout = Duration::from_secs(30)).await;
    server.initialize("health").await;
    let mut client = HealthClient::new(connect(server.path.clone()).await);
    for service in ["", SERVICE] {
        let asked = client.check(HealthCheckRequest { service: service.into() }).await.unwrap();
        assert_eq!(asked.into_inner().status(), health_check_response::ServingStatus::Serving, "{service}");
    }
    let unknown = client.check(HealthCheckRequest { service: "nothing".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let mut watch = client.watch(HealthCheckRequest { service: SERVICE.into() }).await.unwrap().into_inner();
    let mut next = async || watch.message().await.unwrap().unwrap().status();
    assert_eq!(next().await, health_check_response::ServingStatus::Serving);
    server.stop.send(()).unwrap();
    let drained = tokio::time::timeout(HANG, next()).await.expect("the watcher is not told");
    assert_eq!(drained, health_check_response::ServingStatus::NotServing);
}
