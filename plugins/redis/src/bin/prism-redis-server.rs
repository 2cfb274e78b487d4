//! The Redis plugin as a standalone gRPC server.
fn main() {}
