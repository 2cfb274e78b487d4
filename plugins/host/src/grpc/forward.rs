//! One call over gRPC: frames are moved, nothing is decoded.

use super::{head, reply::reply};
use crate::{
    channel::{ForwardError, Rpc, WireBody, WireReply},
    http2::{Open, exchange, open},
    upstream::{Admitted, CallCarrier, Carrier, Connection, Dialled, Failed, Target, Who},
};
use http::Uri;
use prism_platform::Platform;
use prism_plugin_abi::CallContext;
use std::rc::Rc;

/// gRPC, as one open HTTP/2 connection.
pub(crate) struct Grpc {
    open: Open,
    execute: Uri,
    execute_stream: Uri,
}

impl Grpc {
    fn uri(&self, rpc: Rpc) -> Uri {
        match rpc {
            Rpc::Execute => self.execute.clone(),
            Rpc::ExecuteStream => self.execute_stream.clone(),
        }
    }
}

impl Carrier for Grpc {
    async fn handshake(platform: &Platform, target: &Target) -> Result<Dialled<Self>, String> {
        let authority = target.authority();
        let uri = |method| {
            format!("http://{authority}/prism.plugin.BackendPlugin/{method}").parse().unwrap_or_default()
        };
        let (execute, execute_stream) = (uri("Execute"), uri("ExecuteStream"));
        open(platform, target, Who::Worker, |open| Self { open, execute, execute_stream }).await
    }

    fn takes_calls(&self) -> bool {
        // h2 tells when a call is sent.
        true
    }

    fn at_once(&self) -> usize {
        self.open.at_once()
    }
}

impl CallCarrier for Grpc {
    async fn attempt(
        connection: Rc<Connection<Self>>,
        rpc: Rpc,
        context: &CallContext,
        admitted: &mut Option<Admitted>,
        body: WireBody,
    ) -> Result<WireReply, Failed> {
        let carrier = &connection.carrier;
        let request = head::request(carrier.uri(rpc), context)?;
        exchange(&connection, &carrier.open.send, request, body, |answered, cx| {
            let admitted = admitted.take().ok_or_else(ended_already)?;
            reply(answered, admitted, &carrier.open.readers, cx)
        })
        .await
    }
}

fn ended_already() -> ForwardError {
    ForwardError::Unavailable("the call ended already".into())
}
