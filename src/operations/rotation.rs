//! Whether requests should come here: an operator's switch, and the way out.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether load balancers should send requests here.
#[derive(Debug, Default)]
pub struct Rotation {
    is_out: AtomicBool,
    draining: AtomicBool,
}

impl Rotation {
    /// An operator's switch.
    pub fn set(&self, in_rotation: bool) {
        self.is_out.store(!in_rotation, Ordering::Release);
    }

    /// The instance is on its way out.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether it is switched on and the instance is not on its way out.
    pub fn is_in(&self) -> bool {
        !self.is_out.load(Ordering::Acquire) && !self.is_draining()
    }

    /// Whether the instance is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
