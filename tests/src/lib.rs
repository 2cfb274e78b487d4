//! Acceptance, end-to-end and torture tests on real parts.
