//! Menus: what can be ordered, and for how much.
//!
//! Postgres decides; nothing is in Redis; each instance remembers all of them ([`board`]). What must always
//! hold: a menu's id is never given again; one that is removed is off every list and stays readable for what
//! names it; a change holds here at once and on every instance within a second.

pub mod board;
pub mod model;
pub mod ops;
pub mod routes;
pub mod table;
