//! Menus: what can be ordered, and for how much.
//!
//! Postgres decides; nothing is in Redis. What must always hold: a menu's id is never given again; one that
//! is removed is off every list and stays readable for what names it.

pub mod model;
pub mod ops;
pub mod routes;
pub mod table;
