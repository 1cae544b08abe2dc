//! What all clients together may hold of the server's memory.
//!
//! A connection holds requests that are not whole or not answered and replies that are not read.
//! The first [`crate::limits::CLIENT_FREE`] bytes are its own; what is beyond needs a [`Share`] of
//! the one [`Room`] there is. Whoever gets none is told so at once: nobody waits here, so nobody can
//! be kept waiting by clients that hold their shares for ever.
//!
//! INVARIANT: the shares together are what `used` says, and never more than `max`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// All there is.
#[derive(Debug)]
pub(crate) struct Room {
    used: AtomicUsize,
    max: usize,
}

impl Room {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    /// Bytes that are held.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// What one holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Room>,
    bytes: usize,
}

impl Share {
    /// An empty one.
    pub(crate) fn of(room: &Arc<Room>) -> Self {
        Self { room: Arc::clone(room), bytes: 0 }
    }

    /// Makes it so large. False, and nothing changes, if there is no room for that.
    #[must_use]
    pub(crate) fn resize(&mut self, bytes: usize) -> bool {
        if let Some(less) = self.bytes.checked_sub(bytes) {
            self.room.used.fetch_sub(less, Ordering::Relaxed);
        } else {
            let (more, max) = (bytes - self.bytes, self.room.max);
            let grow = |used: usize| used.checked_add(more).filter(|used| *used <= max);
            if self.room.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).is_err() {
                return false;
            }
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_never_exceed_the_room_and_come_back() {
        let room = Room::new(100);
        let (mut one, mut other) = (Share::of(&room), Share::of(&room));
        assert!(one.resize(60) && !other.resize(41) && other.resize(40));
        assert!(!one.resize(61) && !one.resize(usize::MAX) && one.resize(60));
        assert_eq!(room.used(), 100);
        assert!(one.resize(10) && other.resize(90));
        drop(one);
        assert_eq!(room.used(), 90);
        drop(other);
        assert_eq!(room.used(), 0);
    }
}
