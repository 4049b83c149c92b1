//! Failed sign-ins, counted for all instances.

use uuid::Uuid;

use crate::redis::{Key, Space, script};

/// How many sign-ins have failed, until when the next must wait, how many are tried now. It expires when all
/// of it is over; a loss of Redis forgets it.
pub fn failures(space: &Space, of: Uuid) -> Key {
    space.key("accounts", &[&of, &"failures"])
}

script! {
    /// May a sign-in be tried?
    Attempt = "accounts/attempt" {
        keys { failures }
        args { free: u32, decay_ms: u128, try_ms: u128, keep_ms: u128 }
    }

    /// How it ended.
    Settle = "accounts/settle" {
        keys { failures }
        args { outcome: String, free: u32, wait_max_ms: u128, decay_ms: u128, keep_ms: u128 }
    }
}
