//! Menus: what can be ordered. Postgres decides; nothing is in Redis.

pub mod model;
pub mod routes;
pub mod table;
