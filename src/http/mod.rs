//! HTTP: extractors, the edge, problems, the table of routes. Nothing here decides anything.

pub mod access;
pub mod answer;
pub mod api;
pub mod body;
pub mod edge;
pub mod guard;
pub mod headers;
pub mod identity;
pub mod limits;
pub mod meter;
pub mod name;
pub mod object;
pub mod openapi;
pub mod page;
pub mod path;
pub mod peer;
pub mod plain;
pub mod problem;
pub mod server;
pub mod shares;
pub mod upload;
pub mod version;
