//! Does Postgres agree with itself about seats?

use sqlx::PgConnection;

use super::table;
use crate::error::Error;
use crate::redis::Shard;

/// A sentence for each seat that is held and sold, and each reservation whose seats are not what it says.
pub async fn differences(pg: &mut PgConnection, shard: Shard) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for (show, seat) in table::seats_with_two_owners(pg, shard).await? {
        found.push(format!("show {show} seat {seat}: it has two owners"));
    }
    for reservation in table::reservations_without_their_seats(pg, shard).await? {
        found.push(format!("reservation {reservation}: confirmed, and its seats are not sold to it"));
    }
    Ok(found)
}
