//! Configuration: schema, parse, validate, and every problem reported at once.
