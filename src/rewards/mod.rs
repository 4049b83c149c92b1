//! Rewards, their stock, and requests for them.
//!
//! Three steps, each of which takes effect once and is durable before the next:
//! 1. `rewards/request` in the reward's shard: one of the stock is the user's, once for an event and period.
//!    Where the event asks for an operator's leave, that waits for him (`rewards/approve`, `rewards/settle`).
//! 2. `wallet/reward` in the user's shard or `coupons/grant` in the campaign's: the points or the coupon, or
//!    why not; **said once, for ever**. A thing (ITEM) needs no such step.
//! 3. `rewards/settle` in the reward's shard: granted, or rejected and the stock goes back.
//!
//! It goes forward only: whoever finds a request that nobody drives (recovery, on any instance) takes the
//! next step. Steps 2 and 3 are named by the request, not by who drives it, so two drivers do no harm.
//!
//! What must always hold: of a reward no more is taken than its stock; what is taken is asked for and not
//! rejected; a request is GRANTED exactly when what it is for was given once; each row of a ledger that says
//! REWARD is of one request.
//!
//! Keys of a reward: `reward` (version, stock, taken), `marks` (a field a request, for ever) and, for daily
//! events, `marks-<day>` (until two days later), `open` (requests that have not ended). Of a shard: `days`
//! (which of those there are).

pub mod event;
pub mod model;
pub mod notice;
pub mod ops;
pub mod recovery;
pub mod requests;
pub mod routes;
pub mod store;
pub mod table;
