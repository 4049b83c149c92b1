//! What operators, load balancers and Prometheus ask an instance.

pub mod model;
pub mod ops;
pub mod rotation;
pub mod routes;
