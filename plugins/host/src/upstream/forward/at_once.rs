//! The short way for nearly every call: its body is here, the connection is open and there is room. Then it is
//! sent where it stands, and its future is no larger than what it waits for.

use super::{Call, check_instance, forward as with_all_waits, once_more};
use crate::{
    channel::{ForwardError, Forwarding, Rpc, WireBody, WireReply},
    frames::{Frames, Sent},
    upstream::{Admitted, Failed, Link, connection::Upstream},
};
use prism_plugin_abi::CallContext;
use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

pub(super) fn forward(
    upstream: &Rc<Upstream<Frames>>,
    link: Arc<Link>,
    rpc: Rpc,
    context: CallContext,
    body: WireBody,
) -> Forwarding {
    let body = match (body, upstream.open()) {
        (WireBody::Whole(body), Some(connection)) if link.is_initialized(connection.peer) => {
            let admitted = match upstream.admit() {
                Ok(admitted) => admitted,
                Err(error) => return Forwarding::new(std::future::ready(Err(error))),
            };
            match Sent::now(&connection, rpc, &context, body) {
                Ok(sent) => {
                    let upstream = Rc::clone(upstream);
                    let admitted = Some(admitted);
                    return Forwarding::new(AtOnce {
                        sent,
                        admitted,
                        upstream,
                        link,
                        rpc,
                        context,
                        again: None,
                    });
                }
                Err(body) => WireBody::Whole(body),
            }
        }
        (body, _) => body,
    };
    Forwarding::new(with_all_waits(Rc::clone(upstream), link, rpc, context, body))
}

struct AtOnce {
    sent: Sent,
    admitted: Option<Admitted>,
    upstream: Rc<Upstream<Frames>>,
    link: Arc<Link>,
    rpc: Rpc,
    context: CallContext,
    /// The second attempt.
    again: Option<Forwarding>,
}

impl AtOnce {
    fn once_more(&mut self, error: ForwardError, body: WireBody) -> Forwarding {
        let (upstream, link) = (Rc::clone(&self.upstream), Arc::clone(&self.link));
        let (rpc, context, mut admitted) = (self.rpc, self.context.clone(), self.admitted.take());
        Forwarding::new(async move {
            let call = Call { upstream: &upstream, link: &link, rpc, context: &context };
            let reply = once_more(&call, &mut admitted, &error, body).await?;
            check_instance(&reply, &link);
            Ok(reply)
        })
    }
}

impl Future for AtOnce {
    type Output = Result<WireReply, ForwardError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(again) = &mut this.again {
            return Pin::new(again).poll(cx);
        }
        Poll::Ready(match ready!(this.sent.poll(cx, &mut this.admitted)) {
            Ok(reply) => {
                check_instance(&reply, &this.link);
                Ok(reply)
            }
            Err(Failed::Broken(error) | Failed::NotBegun(error, None)) => Err(error),
            Err(Failed::NotBegun(error, Some(body))) => {
                let again = this.once_more(error, body);
                return Pin::new(this.again.insert(again)).poll(cx);
            }
        })
    }
}
