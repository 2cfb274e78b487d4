//! The contracts: .proto files and the Rust generated from them.
