//! Redis as a prism.kv.v1 backend, as a library and as a sidecar.
