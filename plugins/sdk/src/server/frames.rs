//! Calls over Prism frames.

mod inbox;
mod timers;
mod wake;
