//! Events: when which rewards are to be had, under which condition, by whose leave and how often.
//!
//! Their texts are Postgres' alone: one change at a time, as it was read (`If-Match`). Whether a user meets
//! an event's condition is asked of what Postgres remembers of him inside the event's window: sign-ins,
//! orders, payments, coupons. A request for a reward freezes the answer, with the event's version.
//!
//! Keys: none.

pub mod condition;
pub mod model;
pub mod ops;
pub mod routes;
pub mod table;
