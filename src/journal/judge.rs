//! Whether Redis and Postgres follow each other: what a look at a shard comes to.

use uuid::Uuid;

use super::store::Standing;
use super::table::cursor::{Cursor, ShardState};

/// What a look at a shard came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The two stores follow each other.
    Fine,
    /// Redis lost something, or a script died half-way.
    Rebuild(&'static str),
    /// Redis has more than Postgres ever confirmed having: an operator decides which to believe.
    Fence(&'static str),
    /// Not live in Redis; a rebuild may be under way.
    NotLive,
    /// Much time has passed, or a clock has jumped.
    ClockJumped,
    /// This Redis belongs to another deployment.
    Foreign,
}

/// Compares how a shard stands in Redis with its cursor in Postgres. What tells of a Postgres that went back
/// comes first: it may have come back together with another Redis.
pub fn judge(standing: &Standing, cursor: &Cursor, deployment: Uuid, redis_run: &str) -> Verdict {
    let first_seq = super::entry::parse_id(&standing.first).map(|(_, seq)| seq).ok();
    if !standing.deployment.is_empty() && standing.deployment != deployment.to_string() {
        return Verdict::Foreign;
    }
    match standing.epoch {
        None => return Verdict::Rebuild("redis is empty"),
        Some(epoch) if epoch < cursor.epoch => return Verdict::Rebuild("redis is of an older epoch"),
        Some(epoch) if epoch > cursor.epoch => {
            return Verdict::Fence("redis is of a newer epoch: postgres was restored from an older backup");
        }
        Some(_) => {}
    }
    if cursor.state == ShardState::Rebuilding {
        // Left tidy, never alive, or its rebuilder died.
        return Verdict::Rebuild("it was not live");
    }
    if first_seq.is_some_and(|first| first > cursor.seq + 1) {
        return Verdict::Fence(
            "the journal is trimmed beyond the cursor: postgres was restored from an older backup",
        );
    }
    if standing.state != "live" {
        return Verdict::NotLive;
    }
    if redis_run != cursor.redis_run {
        return Verdict::Rebuild("another redis server answers, or it was restarted");
    }
    if standing.last < cursor.seq {
        return Verdict::Rebuild("redis lacks entries that postgres has");
    }
    match first_seq {
        Some(first) if first == cursor.seq + 1 => {}
        _ if standing.cursor_hash != cursor.hash.to_string() => {
            return Verdict::Rebuild("the entry at the cursor is another");
        }
        _ => {}
    }
    if standing.head != standing.last_hash {
        return Verdict::Rebuild("a script died half-way");
    }
    if standing.clock_jumped { Verdict::ClockJumped } else { Verdict::Fine }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::entry::marker_hash;
    use crate::redis::Shard;

    fn cursor() -> Cursor {
        Cursor {
            shard: Shard(0),
            epoch: 5,
            seq: 7,
            hash: marker_hash(7),
            state: ShardState::Live,
            redis_run: "run".into(),
            reason: String::new(),
        }
    }

    fn standing() -> Standing {
        Standing {
            epoch: Some(5),
            state: "live".into(),
            head: marker_hash(9).to_string(),
            last: 9,
            committed: 7,
            deployment: Uuid::nil().to_string(),
            last_hash: marker_hash(9).to_string(),
            cursor_hash: marker_hash(7).to_string(),
            first: "5-0".into(),
            now_ms: 1_000,
            seen_ms: 1_000,
            clock_jumped: false,
            pending_since_ms: None,
        }
    }

    fn verdict(change: impl FnOnce(&mut Standing)) -> Verdict {
        let mut standing = standing();
        change(&mut standing);
        judge(&standing, &cursor(), Uuid::nil(), "run")
    }

    #[test]
    fn two_stores_that_follow_each_other_are_fine() {
        assert_eq!(verdict(|_| {}), Verdict::Fine);
        assert_eq!(
            verdict(|s| {
                s.first = "5-8".into();
                s.cursor_hash = String::new();
            }),
            Verdict::Fine
        );
    }

    #[test]
    fn what_redis_lost_is_rebuilt() {
        let rebuilt = [
            verdict(|s| {
                s.epoch = None;
                s.deployment = String::new();
            }),
            verdict(|s| s.epoch = Some(4)),
            verdict(|s| s.last = 6),
            verdict(|s| s.cursor_hash = marker_hash(1).to_string()),
            verdict(|s| s.cursor_hash = String::new()),
            verdict(|s| s.head = marker_hash(8).to_string()),
            judge(&standing(), &cursor(), Uuid::nil(), "another run"),
        ];
        assert!(rebuilt.iter().all(|verdict| matches!(verdict, Verdict::Rebuild(_))), "{rebuilt:?}");
    }

    #[test]
    fn a_postgres_from_an_old_backup_is_never_believed_by_itself() {
        assert!(matches!(verdict(|s| s.epoch = Some(6)), Verdict::Fence(_)));
        assert!(matches!(verdict(|s| s.first = "5-9".into()), Verdict::Fence(_)));
    }

    #[test]
    fn a_backup_that_came_back_with_another_redis_is_not_believed_either() {
        let mut standing = standing();
        standing.first = "5-9".into();
        assert!(matches!(judge(&standing, &cursor(), Uuid::nil(), "another run"), Verdict::Fence(_)));
        standing.state = "fenced".into();
        assert!(matches!(judge(&standing, &cursor(), Uuid::nil(), "run"), Verdict::Fence(_)));
    }

    #[test]
    fn a_shard_that_is_not_open_is_opened_unless_redis_knows_more() {
        let rebuilding = Cursor { state: ShardState::Rebuilding, ..cursor() };
        let mut standing = standing();
        assert!(matches!(judge(&standing, &rebuilding, Uuid::nil(), "run"), Verdict::Rebuild(_)));
        standing.epoch = Some(6);
        assert!(matches!(judge(&standing, &rebuilding, Uuid::nil(), "run"), Verdict::Fence(_)));
        standing.deployment = Uuid::max().to_string();
        assert_eq!(judge(&standing, &rebuilding, Uuid::nil(), "run"), Verdict::Foreign);
    }

    #[test]
    fn a_foreign_redis_and_a_jumped_clock_are_told_apart() {
        assert_eq!(verdict(|s| s.deployment = Uuid::max().to_string()), Verdict::Foreign);
        assert_eq!(verdict(|s| s.clock_jumped = true), Verdict::ClockJumped);
        assert_eq!(verdict(|s| s.state = "loading".into()), Verdict::NotLive);
    }
}
