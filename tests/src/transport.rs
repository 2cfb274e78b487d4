//! What carries calls to a sidecar: what holds for a plugin holds over each.

use std::path::Path;

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// gRPC over HTTP/2.
    Grpc,
    /// Prism frames.
    Frames,
}

impl Transport {
    /// A sidecar on this socket as an entry of `plugins`, reached over this transport and no other.
    #[must_use]
    pub fn sidecar(self, name: &str, socket: &Path) -> String {
        let transport = match self {
            Self::Grpc => "grpc",
            Self::Frames => "frames",
        };
        let socket = socket.display();
        format!("{{ name: {name}, type: sidecar, socket: '{socket}', transport: {transport} }}")
    }
}

/// Makes tests `grpc::NAME` and `frames::NAME` of each asynchronous function that takes a [`Transport`].
#[macro_export]
macro_rules! over_every_transport {
    ($($name:ident)*) => {
        mod grpc {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::Transport::Grpc).await;
            })*
        }
        mod frames {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::Transport::Frames).await;
            })*
        }
    };
}
