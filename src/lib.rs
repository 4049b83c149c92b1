//! Onrush: the engine behind an on-sale. A crowd waits in a fair queue, is let in at the rate that the shop
//! can bear, holds seats and pays for them with points. **Redis decides, Postgres remembers.**
//!
//! # The one way to write
//!
//! ```text
//! route → op → store → Lua script   one shard: checks, journal entry, state, record      Redis decides
//!                          │
//!                    shard's journal   a stream with dense ids, each entry hashed onto the one before
//!                          │
//!                       writer         one transaction a round: cursor, entries, tables   Postgres remembers
//!                          │
//!                         ack          the handler that waits for this very entry, then the HTTP answer
//! ```
//!
//! Data moves along this arrow, and imports point the same way. A handler extracts, calls one operation and
//! wraps its answer; an operation decides what to ask; a script decides what happens and changes it; a table
//! remembers. None does another's work. To add a feature, copy `seats`.
//!
//! **Shards.** What must be decided together lives in one shard: a concert with its queue, seats and holds;
//! a user with his points, his orders and what they count in the ranking; a coupon campaign with its claims;
//! a reward with its stock and who asked for it. The shard is the hash tag of each of its keys and the epoch
//! stands in the name (`onrush:{s07}:5:journal`), so one script touches one slot of a cluster, and a write of
//! an older epoch lands on keys that nobody reads.
//!
//! **Scripts** say in their header what they are called with, what they return and which facts they journal;
//! `contract` compares that with this crate. After the checks the journal entry is the first of all writes
//! and the chain's head the last: a script that dies half-way breaks the chain, which is noticed, and the
//! shard is rebuilt from Postgres.
//!
//! **The writer** reads journals in order, checks epoch, number and hash of each entry, and commits a round
//! for many shards in one transaction that begins with a compare-and-set on each shard's cursor. Two writers
//! are harmless: the one whose cursor has moved loses.
//!
//! **Calls go together.** A script call costs Redis and the connection much the same for one as for many, so
//! what is asked of a shard while a call is under way goes in with the next: joins (`queue::door`), writes
//! (`journal::desk`). A lone call goes at once.
//!
//! **Keys** that clients send are looked up in Postgres before the script is called, which itself finds what
//! was done since. A look-up asks for all keys of a user and holds for minutes, as long as its instance is
//! the writer of all shards and so sees which keys are used meanwhile (`journal::familiar`).
//!
//! **Acknowledged** means: this very entry (shard, epoch, number, hash) is committed. Number alone would
//! also be true of another history. A wait that takes too long answers `outcome_unknown`, never "failed".
//!
//! **Operations take effect once.** A write is named by (operation, step); the operation is derived from
//! user, target and idempotency key. The script keeps a record for fifteen minutes, Postgres for seven days,
//! and a replay is made from the journal entry, so there is no table of answers.
//!
//! # Joining
//!
//! ```mermaid
//! sequenceDiagram
//!     participant C as Client
//!     participant O as Onrush
//!     participant R as Redis (concert's shard)
//!     participant P as Postgres
//!     C->>O: POST /v1/queues/{id}/tickets
//!     O->>R: queue/join: INCR, ZADD waiting
//!     R-->>O: number, position
//!     O-->>C: 201, signed ticket, pollAfterMs (Onrush-Durability: redis)
//!     loop each 100 ms, on the instance that has the shard's lease
//!         O->>R: shard/tick: admit within rate and cap, lapse, expire
//!         R->>R: one journal entry for all joins and admissions since the last tick
//!         O->>P: the writer commits it
//!     end
//!     C->>O: GET …/tickets/me (Queue-Token)
//!     O->>R: queue/line, at most ten times a second for all polls: who waits, a bit each
//!     Note over O: position = bits up to mine; who is not in the line is asked of Redis (queue/poll)
//!     O-->>C: 200 WAITING position 12, or ACTIVE until expiresAt
//! ```
//!
//! # Holding
//!
//! ```mermaid
//! sequenceDiagram
//!     participant C as Client
//!     participant O as Onrush
//!     participant R as Redis (concert's shard)
//!     participant P as Postgres
//!     C->>O: POST /v1/reservations (Queue-Token, Idempotency-Key)
//!     O->>P: does this key have an operation? (asked only for keys that Redis does not know)
//!     O->>R: seats/hold: pass, seats, limit; then XADD, changes, head
//!     R-->>O: entry (shard, epoch, number, hash)
//!     O->>P: writer: cursor, journal_entries, operations, reservations
//!     P-->>O: committed
//!     O-->>C: 201 RESERVED until expiresAt (Onrush-Durability: postgres)
//! ```
//!
//! # Paying
//!
//! ```mermaid
//! sequenceDiagram
//!     participant C as Client
//!     participant O as Onrush
//!     participant U as Redis (user's shard)
//!     participant S as Redis (concert's shard)
//!     participant P as Postgres
//!     C->>O: POST /v1/payments (Queue-Token, Idempotency-Key)
//!     O->>S: seats/held: is he in, and is the hold his? Else Postgres says what is in the way
//!     O->>U: 1 wallet/reserve: balance − amount, transfer PENDING
//!     U->>P: durable
//!     O->>S: 2 payments/decide: SOLD and confirmed, or why not; said once
//!     S->>P: durable
//!     alt confirmed
//!         O-->>C: 201 PAID
//!         O->>U: wallet/close (clean-up, a few times a second, for all that were paid)
//!     else refused
//!         O->>U: 3 wallet/void: the points go back
//!         U->>P: durable
//!         O-->>C: 410 hold_expired, 409 reservation_closed …
//!     end
//!     Note over O,S: for a transfer that nobody drives, payments/abort decides no if nothing is decided
//! ```
//!
//! # Ordering, and telling others
//!
//! ```mermaid
//! sequenceDiagram
//!     participant C as Client
//!     participant O as Onrush
//!     participant U as Redis (user's shard)
//!     participant P as Postgres
//!     participant D as Data platform
//!     C->>O: POST /v1/orders (Idempotency-Key)
//!     O->>O: names and prices from the menu that each instance remembers, a second old at most
//!     O->>U: orders/place: balance, entry, ranking (totals and this hour)
//!     O->>P: writer: orders, ledger, popular_hours, and the outbox: deliveries, delivery_lanes
//!     P-->>O: committed
//!     O-->>C: 201, the order
//!     loop a relay on every instance
//!         O->>P: claim lanes that are due (FOR UPDATE SKIP LOCKED): a user's orders are one lane
//!         O->>D: POST, signed, with the message's id
//!         O->>P: DELIVERED, or when to try again
//!     end
//! ```
//!
//! # Claiming a coupon
//!
//! ```mermaid
//! sequenceDiagram
//!     participant C as Client
//!     participant O as Onrush
//!     participant R as Redis (campaign's shard)
//!     participant P as Postgres
//!     C->>O: POST /v1/coupon-campaigns/{id}/claims (Idempotency-Key)
//!     alt this instance knows that it is sold out, and the user has none of it
//!         O-->>C: 410 coupon_sold_out
//!     else
//!         O->>R: coupons/claim: window, limit, what is left; the next number
//!         R-->>O: number, key version
//!         O->>P: writer: coupon_claims, coupons (the code is made of campaign and number), the counter
//!         P-->>O: committed
//!         O-->>C: 201 code, rank, remaining
//!     end
//!     C->>O: PUT /v1/coupons/{code}/use
//!     O->>P: with all changes that wait: lock coupons, decide in turn, write, history
//!     O-->>C: 200 USED
//! ```
//!
//! # Asking for a reward
//!
//! ```mermaid
//! sequenceDiagram
//!     participant C as Client
//!     participant O as Onrush
//!     participant R as Redis (reward's shard)
//!     participant T as Redis (user's or campaign's shard)
//!     participant P as Postgres
//!     C->>O: POST /v1/reward-requests (Idempotency-Key)
//!     O->>P: the event, and how far the user is in its window
//!     O->>R: 1 rewards/request: stock, and once a user, event and period
//!     R->>P: durable
//!     alt the event asks for an operator's leave
//!         O-->>C: 201 PENDING
//!         Note over O,R: PUT …/approve: rewards/approve, then on as below; …/reject: rewards/settle
//!     else
//!         O->>T: 2 wallet/reward or coupons/grant: given, or why not; said once for a request
//!         T->>P: durable
//!         O->>R: 3 rewards/settle: granted, or rejected and the stock goes back
//!         R->>P: durable
//!         O-->>C: 201 GRANTED or REJECTED
//!     end
//!     Note over O,T: recovery takes the next step of a request that nobody drives; none is taken twice
//! ```
//!
//! # Loss
//!
//! Each shard's keeper compares Redis with the cursor each 100 ms. When Redis is another one, was emptied,
//! restored, or its chain does not follow, the shard is rebuilt: Postgres counts the epoch up (older writers
//! can commit no more), the shard's rows are read in one snapshot and loaded under the new epoch, and it
//! goes live. The ticket counter jumps by a million, so that numbers given before the loss never meet new
//! ones; who comes with a ticket that Postgres had not seen yet is put back at his own number.
//!
//! A command line never outlives its connection, a new one is asked which run of which server it reaches, and
//! keys say for which they were named (`redis::line`): a Redis that came back older is told nothing before it
//! has been noticed. In a cluster (`redis::cluster`) each shard is bound to the server that answers for its
//! slot, and redirections are not followed: a slot that moved is a shard that is rebuilt where it is. Where
//! Postgres went back instead, an operator may have it take over what Redis knows (`journal::adopt`).
//! `tests/it/torture` plays all this on real servers under load, and compares what clients
//! were told with what is there.
//!
//! # The rooms
//!
//! | room | what is in it |
//! | --- | --- |
//! | [`app`], `router`, [`config`] | an instance; every URL; settings |
//! | [`error`], [`ids`], [`clock`], `metrics` | the table of codes; newtypes; time; what Prometheus sees |
//! | [`cli`] | one file a command |
//! | `http` | extractors, the edge, problems, the table that routes and OpenAPI are made from |
//! | `redis` | the only place that names the Redis client: servers, keys, scripts |
//! | `journal` | the one way to write: entry, writer, ack, cursor, lease, keeper, rebuild, adopt, verify |
//! | `schedule` | ticks (100 ms) and calendar jobs |
//! | `accounts` `wallet` `queue` `concerts` `seats` `payments` `coupons` | features |
//! | `menus` `orders` `ranking` `events` `rewards` | features |
//! | `delivery` | an outbox, relays and sinks: what happened is told to other systems |
//! | `operations` | what operators, load balancers and Prometheus ask |
//! | [`sabotage`] | what negative controls take out; empty in a plain build |
//! | [`servers`] | Redis and Postgres as children, for the demo and the tests |
//!
//! A feature has the rooms that it needs: `mod` (what it is, what must hold, its keys), `model` (words),
//! `routes` (handlers), `ops` (decides), `store` (keys and scripts), `event` (journaled facts), `table`
//! (SQL: apply, read, load), `verify` (what must agree).

mod accounts;
pub mod app;
mod audit;
mod batch;
#[doc(hidden)]
pub mod bench;
pub mod cli;
pub mod clock;
mod concerts;
pub mod config;
#[cfg(test)]
mod contract;
mod coupons;
pub mod database;
mod delivery;
mod doctor;
pub mod error;
mod events;
mod http;
pub mod ids;
mod journal;
mod menus;
mod metrics;
mod operations;
mod orders;
mod payments;
mod queue;
mod ranking;
mod recent;
mod redis;
mod rewards;
mod router;
pub mod sabotage;
mod schedule;
mod seal;
mod seats;
pub mod servers;
mod wallet;
mod words;

pub use accounts::model::Role;
pub use http::identity::Identity;

/// All scripts, for the loader and the contract test.
fn scripts() -> Vec<&'static redis::Source> {
    let mut all = vec![&journal::store::LOAD, &journal::store::SNAPSHOT];
    for feature in [
        accounts::store::SCRIPTS,
        journal::store::SCRIPTS,
        wallet::store::SCRIPTS,
        queue::store::SCRIPTS,
        concerts::store::SCRIPTS,
        seats::store::SCRIPTS,
        payments::store::SCRIPTS,
        orders::store::SCRIPTS,
        ranking::store::SCRIPTS,
        coupons::store::SCRIPTS,
        rewards::store::SCRIPTS,
    ] {
        all.extend(feature);
    }
    all
}
