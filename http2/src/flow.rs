//! A window that is given to the peer (RFC 9113 section 5.2), of one stream or of the connection.

use crate::frame::{DEFAULT_WINDOW, MOST_WINDOW};

/// How much the peer may send, and how much of that its reader has not taken yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// What it is to be when everything was taken.
    target: u32,
    /// What the peer has left. Below zero when the target was made smaller behind its back (section 6.9.2).
    left: i64,
    /// Received, and not taken.
    held: u32,
}

impl Window {
    /// One that the peer believes to be of this size.
    pub(crate) fn new(size: u32) -> Self {
        Self { target: size, left: size.into(), held: 0 }
    }

    /// The connection's: section 6.9.2 begins all of them with 65,535 bytes.
    pub(crate) fn of_connection(target: u32) -> Self {
        Self { target, left: DEFAULT_WINDOW.into(), held: 0 }
    }

    /// The peer has sent so much. False: more than it may.
    #[must_use]
    pub(crate) fn receive(&mut self, bytes: u32) -> bool {
        if i64::from(bytes) > self.left {
            return false;
        }
        self.left -= i64::from(bytes);
        self.held += bytes;
        true
    }

    /// Its reader has taken so much.
    pub(crate) fn release(&mut self, bytes: u32) {
        self.held = self.held.saturating_sub(bytes);
    }

    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// Another target, which the peer learns of by WINDOW_UPDATE.
    pub(crate) fn set_target(&mut self, target: u32) {
        self.target = target.min(MOST_WINDOW);
    }

    /// Another size, which the peer has learnt of by SETTINGS (section 6.9.2).
    pub(crate) fn resize(&mut self, size: u32) {
        self.left += i64::from(size) - i64::from(self.target);
        self.target = size;
    }

    /// By how much a WINDOW_UPDATE should open it now: not before that doubles what the peer has left, so that a frame is not
    /// answered with a frame. While everything is taken at once, that is half of the window. What somebody holds must not keep
    /// back what is free: it may be held until more has come.
    pub(crate) fn update(&mut self) -> Option<u32> {
        let free = i64::from(self.target) - i64::from(self.held);
        let room = free - self.left;
        if free <= 0 || room <= 0 || room < self.left {
            return None;
        }
        self.left += room;
        u32::try_from(room).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_it_is_free_before_it_is_opened_again() {
        let mut window = Window::new(100);
        assert!(window.receive(49));
        assert_eq!(window.update(), None, "nothing was taken");
        window.release(49);
        assert_eq!(window.update(), None);
        assert!(window.receive(1));
        window.release(1);
        assert_eq!(window.update(), Some(50));
        assert_eq!(window.update(), None);
        assert!(window.receive(100));
        assert!(!window.receive(1));
    }

    #[test]
    fn what_is_held_keeps_back_nothing_else() {
        let mut window = Window::new(100);
        assert!(window.receive(70));
        window.release(29);
        assert_eq!(window.update(), None, "as much is left");
        assert!(window.receive(10));
        assert_eq!(window.update(), Some(29), "nobody has taken any more, and less is left");
        assert!(window.receive(49));
        assert_eq!(window.update(), None);
        window.release(1);
        assert_eq!(window.update(), Some(1));
    }

    #[test]
    fn the_connections_grows_to_its_target_at_once() {
        let mut window = Window::of_connection(1 << 20);
        assert_eq!(window.update(), Some((1 << 20) - DEFAULT_WINDOW));
        assert_eq!(window.update(), None);
    }

    #[test]
    fn a_smaller_one_takes_back_what_was_given() {
        let mut window = Window::new(100);
        assert!(window.receive(80));
        window.resize(50);
        assert!(!window.receive(1));
        window.release(80);
        assert_eq!(window.update(), Some(80));
        assert!(window.receive(50));
    }
}
