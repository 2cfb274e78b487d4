//! One call over gRPC: frames are moved, nothing is decoded.

use super::{head, reply::reply};
use crate::{
    channel::{ForwardError, Rpc, WireBody, WireReply},
    http2::{Opened, drive, exchange, handshake},
    upstream::{Admitted, CallCarrier, Carrier, Closed, Connection, Dialled, Failed, Target, Who},
};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Uri;
use prism_platform::Platform;
use prism_plugin_abi::CallContext;
use std::{
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
};

/// gRPC, as one open HTTP/2 connection.
pub(crate) struct Grpc {
    send: SendRequest<Bytes>,
    execute: Uri,
    execute_stream: Uri,
    /// Bytes that readers have taken of its answers.
    taken: Arc<AtomicU64>,
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
        let Opened { send, driver, ping, peer } = handshake(platform, target, Who::Worker).await?;
        let authority = target.authority();
        let uri = |method| {
            format!("http://{authority}/prism.plugin.BackendPlugin/{method}").parse().unwrap_or_default()
        };
        let taken = Arc::<AtomicU64>::default();
        let carrier = Self {
            send,
            execute: uri("Execute"),
            execute_stream: uri("ExecuteStream"),
            taken: Arc::clone(&taken),
        };
        let platform = platform.clone();
        let driver = Box::pin(async move {
            match drive(driver, ping, &platform, taken).await {
                Ok(()) => Closed::Ended("closed in good order".to_owned()),
                Err(error) if error.is_library() => Closed::Violated(error.to_string()),
                Err(error) => Closed::Ended(error.to_string()),
            }
        });
        Ok(Dialled { carrier, peer, driver })
    }

    fn takes_calls(&self) -> bool {
        // h2 tells when a call is sent.
        true
    }

    fn at_once(&self) -> usize {
        self.send.current_max_send_streams()
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
        exchange(&connection, &carrier.send, request, body, |answered, cx| {
            let admitted = admitted.take().ok_or_else(ended_already)?;
            reply(answered, admitted, &carrier.taken, cx)
        })
        .await
    }
}

fn ended_already() -> ForwardError {
    ForwardError::Unavailable("the call ended already".into())
}
