//! What filters do to an answer just before it leaves, whoever gave it: a plugin, another filter's refusal, or the
//! edge itself before any filter ran. One list for all of them, so that no refusal is without what an answer has.

use crate::Body;
use http::Response;
use std::fmt;

type Decorate<'a> = Box<dyn FnOnce(&mut Response<Body>) + 'a>;

/// What a request's chain will do to its answer ([`Filter::arrive`](crate::Filter::arrive)). Empty for nearly every
/// request, and then it allocates nothing.
#[derive(Default)]
pub struct Decorators<'a>(Vec<Decorate<'a>>);

impl<'a> Decorators<'a> {
    /// Adds one. It sees the answer as the filters in front of its own never do: all of them are done by then.
    pub fn add(&mut self, decorate: impl FnOnce(&mut Response<Body>) + 'a) {
        self.0.push(Box::new(decorate));
    }

    /// Applies them, the last filter's first, as a chain unwinds.
    pub fn apply(self, response: &mut Response<Body>) {
        for decorate in self.0.into_iter().rev() {
            decorate(response);
        }
    }
}

impl fmt::Debug for Decorators<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decorators({})", self.0.len())
    }
}
