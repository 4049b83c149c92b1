//! Failed sign-ins, counted for all instances.

use uuid::Uuid;

use crate::redis::{Key, Space, script};

/// How many sign-ins of an account or an address have failed, and until when the next must wait. A minute or
/// two after the wait is over it is gone; a loss of Redis forgets it.
pub fn failures(space: &Space, of: Uuid) -> Key {
    space.key("accounts", &[&of, &"failures"])
}

script! {
    /// May a sign-in be tried?
    Attempt = "accounts/attempt" {
        keys { failures }
        args { free: u32, wait_max_ms: u128 }
    }

    /// It was no failure.
    Withdraw = "accounts/withdraw" {
        keys { failures }
        args { till: i64, all: u8 }
    }
}
