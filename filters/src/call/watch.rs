//! A call that two filters watch, of which one stands right in front of the other and sees the same: they do so together. What is
//! in between would see a request and an answer that may be others.

use super::Watched;
use crate::{Body, Next, Rejection, RequestContext, audit};
use http::Response;
use std::{cell::RefCell, fmt};

/// Where the one in front leaves what it watches with.
#[derive(Default)]
pub(crate) struct Watch(RefCell<Option<(Box<Watched>, usize)>>);

impl Watch {
    /// Joins, for a filter in front of `next`. Gives the record back where nobody is right in front of it.
    pub(crate) fn join(&self, record: audit::Record, next: Next<'_>) -> Option<audit::Record> {
        match &mut *self.0.borrow_mut() {
            Some((watched, behind)) if *behind == next.filters() + 1 => {
                watched.join(record);
                None
            }
            _ => Some(record),
        }
    }

    fn take(&self) -> Option<Box<Watched>> {
        self.0.borrow_mut().take().map(|(watched, _)| watched)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// What the one in front watches with. Dropped before there is an outcome, the call was cancelled.
pub(crate) struct Shared<'a> {
    cx: &'a RequestContext,
    /// Of one who found another's in the place.
    own: Option<Box<Watched>>,
    is_own: bool,
}

impl<'a> Shared<'a> {
    /// Watches for a filter in front of `next`.
    pub(crate) fn begin(cx: &'a RequestContext, watched: Box<Watched>, next: Next<'_>) -> Self {
        let mut place = cx.watch().0.borrow_mut();
        let own = if place.is_some() {
            Some(watched)
        } else {
            *place = Some((watched, next.filters()));
            None
        };
        let is_own = own.is_some();
        Self { cx, own, is_own }
    }

    /// What came of the call.
    pub(crate) fn end(
        mut self,
        outcome: Result<Response<Body>, Rejection>,
    ) -> Result<Response<Body>, Rejection> {
        match self.take() {
            Some(watched) => watched.outcome(self.cx, outcome),
            None => outcome,
        }
    }

    fn take(&mut self) -> Option<Box<Watched>> {
        if self.is_own { self.own.take() } else { self.cx.watch().take() }
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
