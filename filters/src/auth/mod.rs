//! Who calls: what proves it, by each method.

pub mod fetch;
pub mod jwks;
pub mod jwt;
pub mod strict_json;
