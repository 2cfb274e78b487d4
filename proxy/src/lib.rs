//! Prism Edge: an L7 proxy for data access.
