//! What a round of the writer changes: the facts of its entries, folded to their net effect, feature by
//! feature.

use sqlx::PgConnection;

use super::entry::{BadEntry, Entry};
use super::event::Event;
use super::table::statements::Statements;
use crate::audit::event::AuditEvent;
use crate::coupons::codes::Codes;
use crate::delivery::notice::Notice;
use crate::delivery::table::Outbox;
use crate::error::Error;
use crate::orders::event::OrderEvent;
use crate::payments::event::PaymentEvent;
use crate::{audit, concerts, coupons, orders, payments, queue, ranking, rewards, seats, wallet};

/// The changes of one round.
#[derive(Default)]
pub struct Changes {
    wallet: wallet::table::Changes,
    queue: queue::table::Changes,
    concerts: concerts::table::Changes,
    seats: seats::table::Changes,
    payments: payments::table::Changes,
    orders: orders::table::Changes,
    ranking: ranking::table::Changes,
    coupons: coupons::table::Changes,
    rewards: rewards::table::Changes,
    audit: audit::table::Changes,
    outbox: Outbox,
}

/// What the world outside is told of a fact.
fn notice_of(entry: &Entry, event: &Event) -> Option<Notice> {
    Some(match event {
        Event::Order(OrderEvent::OrderPlaced(fact)) => orders::notice::placed(entry, fact),
        Event::Seat(event) => seats::notice::of(entry, event),
        Event::Payment(PaymentEvent::PaymentConfirmed(fact)) => payments::notice::confirmed(entry, fact),
        Event::Reward(event) => rewards::notice::of(entry, event)?,
        _ => return None,
    })
}

/// All that is to be told of entries, as if they had just happened.
pub fn notices(entries: &[Entry]) -> Result<Outbox, BadEntry> {
    let mut outbox = Outbox::default();
    for entry in entries {
        entry.facts.events()?.iter().filter_map(|event| notice_of(entry, event)).for_each(|n| outbox.push(n));
    }
    Ok(outbox)
}

impl Changes {
    /// Folds entries, each shard's in order.
    pub fn fold(entries: &[&Entry]) -> Result<Self, BadEntry> {
        let mut changes = Self::default();
        for entry in entries {
            for event in entry.facts.events()? {
                if let Some(notice) = notice_of(entry, &event) {
                    changes.outbox.push(notice);
                }
                match event {
                    Event::Journal(_) => {}
                    Event::Audit(AuditEvent::Acted(acted)) => changes.audit.fold(entry, acted)?,
                    Event::Wallet(event) => changes.wallet.fold(entry, event),
                    Event::Order(OrderEvent::OrderPlaced(fact)) => {
                        changes.wallet.spend(entry, &fact);
                        changes.ranking.fold(entry, &fact);
                        changes.orders.fold(entry, fact);
                    }
                    Event::Queue(event) => changes.queue.fold(entry, event),
                    Event::Coupon(event) => changes.coupons.fold(entry, event),
                    Event::Reward(event) => changes.rewards.fold(entry, event),
                    Event::Concert(event) => changes.concerts.fold(entry, event),
                    Event::Seat(event) => changes.seats.fold(entry, event),
                    Event::Payment(event) => {
                        if let PaymentEvent::PaymentConfirmed(fact) = &event {
                            changes.seats.sell(entry, fact);
                        }
                        changes.payments.fold(entry, event);
                    }
                }
            }
        }
        Ok(changes)
    }

    /// Learns what has to be known before they can be said.
    pub async fn learn(&self, pg: &mut PgConnection, codes: &Codes) -> Result<(), Error> {
        self.coupons.learn(pg, codes).await
    }

    /// Says them, each table once.
    pub fn say(&self, to: &mut Statements, codes: &Codes) -> Result<(), Error> {
        self.wallet.say(to);
        self.concerts.say(to);
        self.queue.say(to);
        self.seats.say(to);
        self.payments.say(to);
        self.orders.say(to);
        self.ranking.say(to);
        self.coupons.say(to, codes)?;
        self.rewards.say(to)?;
        self.outbox.say(to);
        self.audit.say(to);
        Ok(())
    }

    /// Writes them, one statement after the other.
    pub async fn make(&self, pg: &mut PgConnection, codes: &Codes) -> Result<(), Error> {
        self.learn(&mut *pg, codes).await?;
        let mut each = Statements::each();
        self.say(&mut each, codes)?;
        each.make(pg).await
    }

    /// Who is told what happened, once it is durable.
    pub fn outbox(self) -> Outbox {
        self.outbox
    }
}
