//! gRPC's length prefixes, followed through pieces that may be cut anywhere ("Length-Prefixed-Message": a flag, four bytes
//! of length, the message).

use std::convert::Infallible;

/// How far a body is between two messages.
#[derive(Debug, Default)]
pub struct Framing {
    prefix: [u8; 5],
    have: usize,
    remaining: usize,
}

impl Framing {
    /// Follows one more piece. `announced` hears of each message's flag and length as soon as its prefix is there.
    ///
    /// # Errors
    /// Those of `announced`.
    pub fn follow<E>(
        &mut self,
        piece: &[u8],
        mut announced: impl FnMut(u8, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = piece;
        while !rest.is_empty() {
            if self.remaining > 0 {
                let skip = rest.len().min(self.remaining);
                self.remaining -= skip;
                rest = &rest[skip..];
                continue;
            }
            let take = rest.len().min(5 - self.have);
            self.prefix[self.have..self.have + take].copy_from_slice(&rest[..take]);
            self.have += take;
            rest = &rest[take..];
            if self.have == 5 {
                self.have = 0;
                let [flag, length @ ..] = self.prefix;
                let length = u32::from_be_bytes(length) as usize;
                announced(flag, length)?;
                self.remaining = length;
            }
        }
        Ok(())
    }

    /// Follows one more piece, whatever the messages are.
    pub fn skip(&mut self, piece: &[u8]) {
        let Ok(()) = self.follow::<Infallible>(piece, |_, _| Ok(()));
    }

    /// No message has begun that has not ended.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.remaining == 0
    }
}
