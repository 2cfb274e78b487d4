//! HTTP/2 towards whatever is behind the proxy: opening a connection, one exchange on it, and the body of its answer.
//! What the messages mean is said elsewhere: plugins speak gRPC ([`grpc`](crate::grpc)), services of forward routes
//! whatever they like ([`http`](crate::http)).

mod body;
mod dial;
mod exchange;
mod open;

pub(crate) use body::{Received, Trailers};
pub(crate) use dial::{Opened, Readers, dial};
pub(crate) use exchange::{Answered, broken, exchange};
pub(crate) use open::{Open, open};
