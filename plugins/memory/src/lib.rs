//! The embedded default backend: prism.kv.v1 in bounded memory.
