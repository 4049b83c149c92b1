//! A user's points in his shard.

use crate::ids::{ConcertId, PaymentId, Points, ReservationId, TransactionId, UserId};
use crate::redis::{Key, Space, script};

/// User → balance. One field a user of the shard.
pub fn balances(space: &Space) -> Key {
    space.key("wallet", &[&"balances"])
}

/// User → points set aside. Fields of users who pay, or did once.
pub fn reserved(space: &Space) -> Key {
    space.key("wallet", &[&"reserved"])
}

/// Operation → `user|amount` set aside; until closed or voided.
pub fn transfers(space: &Space) -> Key {
    space.key("wallet", &[&"transfers"])
}

/// The same operations by age.
pub fn ages(space: &Space) -> Key {
    space.key("wallet", &[&"ages"])
}

script! {
    /// Adds points.
    Charge = "wallet/charge" {
        keys { balances, reserved }
        args { user: UserId, amount: Points, transaction: TransactionId, balance_max: i64 }
    }

    /// Adds points to many of one shard.
    ChargeMany = "wallet/charge_many" {
        keys { balances, reserved }
        args { charges: String, balance_max: i64 }
    }

    /// Sets points aside.
    Reserve = "wallet/reserve" {
        keys { balances, reserved, transfers, ages }
        args {
            user: UserId, amount: Points, transaction: TransactionId, payment: PaymentId,
            reservation: ReservationId, concert: ConcertId,
        }
    }

    /// Gives points back.
    Void = "wallet/void" {
        keys { balances, reserved, transfers, ages }
        args { transaction: TransactionId, payment: PaymentId }
    }

    /// Forgets a transfer that was paid.
    Close = "wallet/close" { keys { reserved, transfers, ages } args { transfer: uuid::Uuid } }

    /// Old transfers.
    Pending = "wallet/pending" { keys { ages } args { older_ms: i64, limit: u32 } }
}
