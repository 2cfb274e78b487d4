//! Credit for what one call receives.

use crate::{ProtocolError, control::Config};

/// What the peer may still send on a call, and how much of it the consumer has taken.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Bytes that the peer may still send.
    granted: u32,
    /// Bytes taken for which no new credit was given yet.
    owed: u32,
    /// What may be on the way or waiting at once.
    size: u32,
    /// The sender has nearly used up its credit: more of it would let it go on.
    short: bool,
}

impl Window {
    pub(crate) fn new(config: &Config) -> Self {
        Self { granted: config.initial_credit, owed: 0, size: config.initial_credit, short: false }
    }

    /// Bytes arrived.
    pub(crate) fn arrived(&mut self, call: u32, bytes: usize) -> Result<(), ProtocolError> {
        let left = u32::try_from(bytes).ok().and_then(|bytes| self.granted.checked_sub(bytes));
        self.granted = left.ok_or(ProtocolError::CreditExceeded(call))?;
        self.short |= self.granted <= self.size / 4;
        Ok(())
    }

    /// The consumer took bytes, all that were there if `all`. Returns the credit to give: as rarely as keeps the
    /// sender going, and growing while the consumer keeps up with a sender who uses its credit up.
    pub(crate) fn taken(&mut self, bytes: usize, all: bool, config: &Config, grown: &mut u64) -> u32 {
        // What arrived was granted, so this fits.
        self.owed += bytes as u32;
        let mut more = 0;
        if all && std::mem::take(&mut self.short) {
            let left = u32::try_from(config.growth.saturating_sub(*grown)).unwrap_or(u32::MAX);
            more = self.size.saturating_mul(3).min(config.max_credit - self.size).min(left);
            self.size += more;
            self.owed += more;
            *grown += u64::from(more);
        }
        // With nothing granted this never holds: a sender is never left waiting.
        if more == 0 && self.granted > self.size / 2 {
            return 0;
        }
        let credit = std::mem::take(&mut self.owed);
        self.granted += credit;
        credit
    }

    /// Gives back what the call had above its initial credit.
    pub(crate) fn release(&mut self, config: &Config, grown: &mut u64) {
        *grown = grown.saturating_sub(u64::from(self.size.saturating_sub(config.initial_credit)));
        *self = Self::default();
    }
}
