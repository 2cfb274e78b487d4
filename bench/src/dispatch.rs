//! A builtin plugin behind the proxy's plugin channel, without a proxy around it: what crossing the ABI costs.

use crate::echo;
use bytes::Bytes;
use prism_platform::Platform;
use prism_plugin_abi::{CallContext, Initialize, InstanceId};
use prism_plugin_host::{
    InProcessChannel, InProcessPlugin, PluginChannel, ReplyBody, Rpc, WireBody, WorkerLocal,
};

/// The echo, initialized.
pub struct Builtin {
    channel: InProcessChannel,
    worker: WorkerLocal,
    context: CallContext,
}

impl Builtin {
    /// # Panics
    /// When the echo cannot be initialized.
    pub async fn new(platform: Platform) -> Self {
        let plugin = echo::plugin();
        let instance = InstanceId(7);
        let request = Initialize {
            instance,
            namespace: "bench".to_owned(),
            backend_type: "echo".to_owned(),
            config_type_url: "type.googleapis.com/google.protobuf.Struct".to_owned(),
            ..Default::default()
        };
        plugin.initialize(request).await.expect("an instance");
        let context = CallContext {
            instance,
            namespace: "bench".into(),
            request_id: "0123456789abcdef0123456789abcdef".into(),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            ..Default::default()
        };
        Self {
            channel: InProcessChannel::new(InProcessPlugin::linked("echo", plugin)),
            worker: WorkerLocal::new(platform),
            context,
        }
    }

    /// One echo of `message` (a framed `ExecuteRequest`). The length of the framed answer.
    ///
    /// # Panics
    /// When the call fails.
    pub async fn call(&self, message: &Bytes) -> usize {
        let body = WireBody::Whole(message.clone().into());
        let reply = self.channel.forward(&self.worker, Rpc::Execute, self.context.clone(), body).await;
        match reply.expect("an answer").body {
            ReplyBody::Succeeded(messages) => messages.len(),
            other => panic!("a small answer is there as a whole, and not {other:?}"),
        }
    }
}
