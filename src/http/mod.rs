//! HTTP: extractors, layers, problems, the table of routes. Nothing here decides anything.

pub mod answer;
pub mod api;
pub mod body;
pub mod headers;
pub mod identity;
pub mod layers;
pub mod object;
pub mod openapi;
pub mod page;
pub mod path;
pub mod problem;
pub mod server;
