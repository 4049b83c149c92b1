//! A user's points in his shard.

use super::model::SetAside;
use crate::ids::{
    ConcertId, POINTS_MAX, PaymentId, Points, ReservationId, RewardRequestId, TransactionId, UserId,
};
use crate::redis::{Key, Space, script};

/// User → balance. One field a user of the shard.
pub fn balances(space: &Space) -> Key {
    space.key("wallet", &[&"balances"])
}

/// User → points set aside. Fields of users who pay, or did once.
pub fn reserved(space: &Space) -> Key {
    space.key("wallet", &[&"reserved"])
}

/// Operation → `user|amount|balance|payment|reservation|concert` of what is set aside; until closed or
/// voided.
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

    /// Adds a reward's points, or says that they cannot be held.
    Reward = "wallet/reward" {
        keys { balances, reserved }
        args {
            granted: RewardRequestId, user: UserId, amount: Points, transaction: TransactionId,
            balance_max: i64,
        }
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

    /// Forgets transfers that were paid.
    Close = "wallet/close" { keys { reserved, transfers, ages } args { closed: String } }

    /// Old transfers.
    Pending = "wallet/pending" { keys { ages } args { older_ms: i64, limit: u32 } }
}

/// Adds points to a user.
pub fn charge(space: &Space, user: UserId, amount: Points, transaction: TransactionId) -> Charge {
    Charge {
        balances: balances(space),
        reserved: reserved(space),
        user,
        amount,
        transaction,
        balance_max: POINTS_MAX,
    }
}

/// Adds a reward's points to a user, or says that they cannot be held.
pub fn reward(
    space: &Space,
    granted: RewardRequestId,
    user: UserId,
    amount: Points,
    transaction: TransactionId,
) -> Reward {
    let (balances, reserved) = (balances(space), reserved(space));
    Reward { balances, reserved, granted, user, amount, transaction, balance_max: POINTS_MAX }
}

/// Adds points to many; `charges` is `user:amount:transaction` by commas.
pub fn charge_many(space: &Space, charges: String) -> ChargeMany {
    ChargeMany { balances: balances(space), reserved: reserved(space), charges, balance_max: POINTS_MAX }
}

/// Sets points aside.
pub fn reserve(space: &Space, aside: &SetAside) -> Reserve {
    Reserve {
        balances: balances(space),
        reserved: reserved(space),
        transfers: transfers(space),
        ages: ages(space),
        user: aside.user,
        amount: aside.amount,
        transaction: aside.transaction,
        payment: aside.payment,
        reservation: aside.reservation,
        concert: aside.concert,
    }
}

/// Gives points back.
pub fn void(space: &Space, transaction: TransactionId, payment: PaymentId) -> Void {
    Void {
        balances: balances(space),
        reserved: reserved(space),
        transfers: transfers(space),
        ages: ages(space),
        transaction,
        payment,
    }
}

/// Forgets transfers that were paid; `closed` by commas.
pub fn close(space: &Space, closed: String) -> Close {
    Close { reserved: reserved(space), transfers: transfers(space), ages: ages(space), closed }
}
