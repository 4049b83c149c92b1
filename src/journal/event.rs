//! All that a journal may say: the features' facts, and who asked.

use super::facts::{Text, events};
use crate::audit::event::AuditEvent;
use crate::concerts::event::ConcertEvent;
use crate::coupons::event::CouponEvent;
use crate::ids::UserId;
use crate::orders::event::OrderEvent;
use crate::payments::event::PaymentEvent;
use crate::queue::event::QueueEvent;
use crate::rewards::event::RewardEvent;
use crate::seats::event::SeatEvent;
use crate::wallet::event::WalletEvent;

events! {
    /// Facts of the journal itself.
    JournalEvent {
        /// A client asked, with an idempotency key. It stands first in an operation's first step.
        Requested = "op.requested" {
            /// Who.
            user: UserId,
            /// Which operation (`points.charge`).
            operation: Text,
            /// The client's key.
            key: Text,
            /// What the request names.
            target: Text,
            /// Of the parsed request.
            fingerprint: Text,
        }
    }
}

/// Declares the union of the features' events.
macro_rules! union {
    ($($feature:ident($event:ident)),+ $(,)?) => {
        /// A thing that happened, by feature.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Event {
            $(
                #[doc = concat!("A fact of ", stringify!($event), ".")]
                $feature($event)
            ),+
        }

        impl Event {
            /// How the lines of all facts begin, for the contract test.
            pub fn kinds() -> Vec<&'static str> {
                [$($event::KINDS),+].concat()
            }

            /// Reads a line.
            pub fn from_line(line: &str) -> Result<Self, String> {
                $(if let Some(event) = $event::from_line(line) {
                    return event.map(Self::$feature);
                })+
                Err(format!("no fact begins like {line:?}"))
            }
        }
    };
}

union!(
    Journal(JournalEvent),
    Wallet(WalletEvent),
    Queue(QueueEvent),
    Concert(ConcertEvent),
    Seat(SeatEvent),
    Payment(PaymentEvent),
    Order(OrderEvent),
    Coupon(CouponEvent),
    Reward(RewardEvent),
    Audit(AuditEvent),
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TransactionId;

    #[test]
    fn a_line_is_read_whole_or_not_at_all() {
        let line = format!("points.charged|{}|{}|100|250", TransactionId::mint(), UserId::mint());
        let event = Event::from_line(&line).unwrap();
        assert!(
            matches!(event, Event::Wallet(WalletEvent::PointsCharged(charged)) if charged.amount.get() == 100)
        );
        assert!(Event::from_line(&format!("{line}|more")).is_err());
        assert!(Event::from_line("points.charged|x").is_err());
        assert!(Event::from_line("nothing").is_err());
    }

    #[test]
    fn no_two_facts_begin_alike() {
        let mut kinds = Event::kinds();
        kinds.sort_unstable();
        let count = kinds.len();
        kinds.dedup();
        assert_eq!(kinds.len(), count);
    }
}
