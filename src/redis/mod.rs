//! The only place that names the Redis client, so that it can be replaced.
//!
//! What must always hold: no command waits without a limit; a reconnection is tried for ever; a command whose
//! answer did not come is an *unknown* outcome (whoever sends it again may have it twice, which is why every
//! write script carries its operation); a command reaches the run of the server that its keys were named for,
//! or nobody; a script that Redis does not know is sent whole, once.

mod args;
mod call;
mod cluster;
pub mod compose;
mod connection;
pub mod keys;
mod line;
pub mod reply;
mod report;
pub mod script;
mod server;
mod streams;
mod walk;

pub use args::{Args, Bits, by_commas};
pub use call::{Call, Run};
pub use connection::Redis;
pub use keys::{Key, Shard, Space};
pub use line::server_number;
pub use reply::Reply;
pub use report::ServerReport;
pub(crate) use script::script;
pub use script::{Script, Scripts, Source, or_empty};
pub use streams::StreamEntry;
pub use walk::ScanPlace;

use std::fmt;

/// Why a command failed.
#[derive(Clone, Debug)]
pub enum RedisError {
    /// Nothing was sent: no connection, or the buffer is full.
    Away(String),
    /// Sent, and no answer: it may have happened.
    Unknown(String),
    /// The server refused it before doing anything (out of memory, loading, read-only).
    Refused(String),
    /// A script failed, or the answer had another shape: our bug. A script may have stopped half-way.
    Broken(String),
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, why) = match self {
            Self::Away(why) => ("away", why),
            Self::Unknown(why) => ("no answer", why),
            Self::Refused(why) => ("refused", why),
            Self::Broken(why) => ("broken", why),
        };
        write!(f, "redis {word}: {why}")
    }
}

impl std::error::Error for RedisError {}

impl From<RedisError> for crate::error::Error {
    /// For reads and for writes that nobody waits for: whatever failed, later it may work.
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::Broken(_) => Self::internal(error),
            _ => Self::unavailable(error),
        }
    }
}
