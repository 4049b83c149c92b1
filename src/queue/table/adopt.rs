//! Taking over what Redis knows of queues, where Postgres was restored from an older backup.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::error::Error;
use crate::ids::{QueueId, UserId};
use crate::journal::adopt::Kept;
use crate::queue::store;

/// Settings, places, gaps and ends become those of Redis. A queue that the backup does not know has lost its
/// name; its id stands for it.
pub async fn adopt(pg: &mut PgConnection, kept: &Kept) -> Result<(), Error> {
    for (queue, room) in kept.hashes::<QueueId>("queue", "room") {
        adopt_room(pg, kept, queue, &room).await?;
        adopt_places(pg, kept, queue).await?;
        let ends = kept.hash::<UserId, i64>(&store::ended(&kept.space, queue))?;
        sqlx::query("delete from queue_ends where queue_id = $1").bind(queue).execute(&mut *pg).await?;
        sqlx::query(
            "insert into queue_ends (queue_id, user_id, epoch)
             select $1, * from unnest($2::uuid[], $3::bigint[])",
        )
        .bind(queue)
        .bind(ends.keys().copied().collect::<Vec<_>>())
        .bind(ends.values().copied().collect::<Vec<_>>())
        .execute(&mut *pg)
        .await?;
    }
    Ok(())
}

async fn adopt_room(
    pg: &mut PgConnection,
    kept: &Kept,
    queue: QueueId,
    room: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let number = |field: &str| room.get(field).and_then(|value| value.parse::<i64>().ok());
    let needed = |field: &str| {
        number(field).ok_or_else(|| Error::internal(format_args!("queue {queue} has no {field} in redis")))
    };
    sqlx::query(
        "insert into queues (queue_id, shard, name, state, rate_tenths, max_active, active_seconds, max_waiting,
             number, closed_below, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         on conflict (queue_id) do update set state = excluded.state, rate_tenths = excluded.rate_tenths,
             max_active = excluded.max_active, active_seconds = excluded.active_seconds,
             max_waiting = excluded.max_waiting, number = excluded.number,
             closed_below = excluded.closed_below",
    )
    .bind(queue)
    .bind(kept.space.shard.as_i32())
    .bind(queue.to_string())
    .bind(room.get("state"))
    .bind(needed("rate")?)
    .bind(needed("max_active")?)
    .bind(needed("active_ms")? / 1_000)
    .bind(number("max_waiting"))
    .bind(needed("number")?)
    .bind(needed("closed_below")?)
    .bind(crate::clock::from_millis(kept.now_ms))
    .execute(&mut *pg)
    .await?;
    let gaps = room.get("gaps").map(String::as_str).unwrap_or_default();
    let gap = |text: &str| {
        let mut parts = text.split('-').map(str::parse::<i64>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
    };
    let gaps: Vec<(i64, i64, i64)> = gaps.split(',').filter_map(gap).collect();
    sqlx::query("delete from queue_gaps where queue_id = $1").bind(queue).execute(&mut *pg).await?;
    sqlx::query(
        "insert into queue_gaps (queue_id, low, high, epoch)
         select $1, * from unnest($2::bigint[], $3::bigint[], $4::bigint[])",
    )
    .bind(queue)
    .bind(gaps.iter().map(|gap| gap.0).collect::<Vec<_>>())
    .bind(gaps.iter().map(|gap| gap.1).collect::<Vec<_>>())
    .bind(gaps.iter().map(|gap| gap.2).collect::<Vec<_>>())
    .execute(pg)
    .await?;
    Ok(())
}

async fn adopt_places(pg: &mut PgConnection, kept: &Kept, queue: QueueId) -> Result<(), Error> {
    let waiting = kept.hash::<UserId, i64>(&store::waiting(&kept.space, queue))?;
    let passes = kept.hash::<UserId, i64>(&store::passes(&kept.space, queue))?;
    let ends = kept.hash::<UserId, i64>(&store::active(&kept.space, queue))?;
    let waiting = waiting.into_iter().map(|(user, number)| (user, number, None));
    let inside = passes.into_iter().map(|(user, number)| (user, number, ends.get(&user).copied()));
    let places: Vec<(UserId, i64, Option<i64>)> = waiting.chain(inside).collect();
    sqlx::query("delete from queue_places where queue_id = $1").bind(queue).execute(&mut *pg).await?;
    sqlx::query(
        "insert into queue_places (queue_id, user_id, number, deadline_ms)
         select $1, * from unnest($2::uuid[], $3::bigint[], $4::bigint[])",
    )
    .bind(queue)
    .bind(places.iter().map(|place| place.0).collect::<Vec<_>>())
    .bind(places.iter().map(|place| place.1).collect::<Vec<_>>())
    .bind(places.iter().map(|place| place.2).collect::<Vec<_>>())
    .execute(pg)
    .await?;
    Ok(())
}
