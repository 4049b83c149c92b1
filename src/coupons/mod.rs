//! Coupons: first come first served, ten billion of them.
//!
//! Claims are decided in the campaign's shard by one script: window, limit, what is left. The coupon's row is
//! written with the claim, its code is computed (see [`codes`]). What becomes of a coupon later is decided by
//! Postgres ([`life`]); so are generated ([`batches`]) and imported ones ([`imports`]), which no campaign's
//! `quantity` counts.
//!
//! ```text
//! claimed ──────────────────▶ ASSIGNED ◀──use taken back── USED
//! generated, imported ▶ CREATED ─assign─▲ └──────use─────────▲
//!                          └────delete────▶ DELETED ◀─delete─ ASSIGNED      expired: by time, no state
//! ```
//!
//! What must always hold: a campaign gives out at most `quantity` coupons, numbers 1 to `claimed`, each to
//! one user, none more than `perUser`; each claim has its coupon and each such coupon its claim; a code
//! means one coupon. A campaign takes the same space whatever its `quantity`.
//!
//! Keys of a campaign: `campaign` (a hash of seven fields), `claimants` (a field a user who has claimed).

pub mod batches;
pub mod codes;
pub mod csv;
pub mod event;
mod ff1;
pub mod imports;
pub mod latch;
pub mod life;
pub mod model;
pub mod ops;
pub mod reminders;
pub mod routes;
pub mod store;
pub mod table;
pub mod verify;
