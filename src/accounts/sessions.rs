//! What changed since tokens were given out: sign-ins that ended, and roles that are others now.
//!
//! An access token is good by itself for its ten minutes. So that a logout and a change of role hold at once,
//! each instance keeps the short list of what has changed within the longest life of a token; it writes its
//! own changes in at once and reads the others' from Postgres, more often than once a second. The list is
//! read at the start, so a restart forgets nothing.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::keys::TOKEN_LIFETIME_MAX;
use super::model::Role;
use super::table;
use crate::error::Error;
use crate::http::identity::Identity;
use crate::ids::UserId;

/// Changes are read again from so long before the last one: transactions end in another order than they
/// began.
const OVERLAP: chrono::Duration = chrono::Duration::seconds(10);

/// A change, as it is stored.
pub enum Change {
    /// A sign-in ended.
    Ended(Uuid),
    /// A user's role is another.
    Role(UserId, Role),
}

#[derive(Default)]
struct Known {
    ended: HashMap<Uuid, DateTime<Utc>>,
    roles: HashMap<UserId, (Role, DateTime<Utc>)>,
    last: Option<DateTime<Utc>>,
}

/// The list.
#[derive(Default)]
pub struct Sessions(RwLock<Known>);

impl Sessions {
    fn known(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change that was stored at this time, by Postgres' clock.
    pub fn apply(&self, change: Change, at: DateTime<Utc>) {
        let mut known = self.known();
        match change {
            Change::Ended(family) => {
                known.ended.insert(family, at);
            }
            Change::Role(user, role) => {
                if known.roles.get(&user).is_none_or(|(_, since)| *since <= at) {
                    known.roles.insert(user, (role, at));
                }
            }
        }
    }

    /// Who a token speaks for now; `None` when its sign-in has ended.
    pub fn now(&self, token: Identity) -> Option<Identity> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if known.ended.contains_key(&token.session) {
            return None;
        }
        let role = known.roles.get(&token.user).map_or(token.role, |(role, _)| *role);
        Some(Identity { role, ..token })
    }

    /// Reads what others changed, and forgets what concerns no token any more. `lifetime` is how long a
    /// sign-in's access tokens live; those that no sign-in gave out live longer, and have roles as well.
    pub async fn refresh(&self, pool: &PgPool, lifetime: chrono::Duration) -> Result<(), Error> {
        let last = self.0.read().unwrap_or_else(PoisonError::into_inner).last;
        let changes = table::session_changes(pool, last.map(|last| last - OVERLAP), lifetime).await?;
        let newest = changes.iter().map(|(_, at)| *at).max();
        changes.into_iter().for_each(|(change, at)| self.apply(change, at));
        let mut known = self.known();
        known.last = known.last.max(newest);
        // A generous hour for clocks that differ.
        let oldest = |life: chrono::Duration| Utc::now() - life - chrono::Duration::hours(1);
        known.ended.retain(|_, at| *at > oldest(lifetime));
        known.roles.retain(|_, (_, at)| *at > oldest(TOKEN_LIFETIME_MAX));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_holds_for_tokens_that_are_out() {
        let (sessions, user) = (Sessions::default(), UserId::mint());
        let token = Identity { user, role: Role::User, session: Uuid::now_v7() };
        assert_eq!(sessions.now(token), Some(token));
        sessions.apply(Change::Role(user, Role::Operator), Utc::now());
        assert_eq!(sessions.now(token).map(|now| now.role), Some(Role::Operator));
        let before = Utc::now() - chrono::Duration::seconds(1);
        sessions.apply(Change::Role(user, Role::Admin), before);
        assert_eq!(sessions.now(token).map(|now| now.role), Some(Role::Operator), "the later one counts");
        sessions.apply(Change::Ended(token.session), Utc::now());
        assert_eq!(sessions.now(token), None);
        let other = Identity { session: Uuid::now_v7(), ..token };
        assert!(sessions.now(other).is_some(), "another sign-in goes on");
    }
}
