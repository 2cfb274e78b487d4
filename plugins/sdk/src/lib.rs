//! Write a backend once: the BackendPlugin trait and the adapters that host it.
