//! Accounts in Postgres.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::keys::{StoredKey, TOKEN_LIFETIME_MAX};
use super::model::{Role, User};
use super::sessions::Change;
use crate::error::Error;
use crate::http::page::{Page, PageRequest};
use crate::ids::UserId;

/// An account with its password's hash.
pub struct Account {
    /// The account.
    pub user: User,
    /// `None` for users who cannot sign in with one.
    pub password_hash: Option<String>,
}

fn user(row: &sqlx::postgres::PgRow) -> Result<User, Error> {
    Ok(User {
        user_id: row.try_get("user_id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        role: Role::stored(row.try_get("role")?)?,
        created_at: row.try_get("created_at")?,
    })
}

/// Inserts an account; `None` when the e-mail is taken.
pub async fn insert(
    pg: &mut PgConnection,
    id: UserId,
    (email, name): (&str, &str),
    role: Role,
    password_hash: Option<&str>,
) -> Result<Option<User>, Error> {
    let row = sqlx::query(
        "insert into users (user_id, email, name, role, password_hash) values ($1, $2, $3, $4, $5)
         on conflict (lower(email)) do nothing
         returning user_id, email, name, role, created_at",
    )
    .bind(id)
    .bind(email)
    .bind(name)
    .bind(role.word())
    .bind(password_hash)
    .fetch_optional(pg)
    .await?;
    row.as_ref().map(user).transpose()
}

/// Inserts users without a password, for load tests: `loadNNN@load.invalid`.
pub async fn insert_many(pg: &mut PgConnection, ids: &[UserId]) -> Result<(), Error> {
    sqlx::query(
        "insert into users (user_id, email, name, role)
         select id, id || '@load.invalid', 'load', 'USER' from unnest($1::uuid[]) id",
    )
    .bind(ids)
    .execute(pg)
    .await?;
    Ok(())
}

/// Gives an account another password.
pub async fn set_password(pg: &mut PgConnection, id: UserId, password_hash: &str) -> Result<(), Error> {
    sqlx::query("update users set password_hash = $2 where user_id = $1")
        .bind(id)
        .bind(password_hash)
        .execute(pg)
        .await?;
    Ok(())
}

/// The account of an e-mail address, compared without case.
pub async fn by_email(pool: &PgPool, email: &str) -> Result<Option<Account>, Error> {
    let row = sqlx::query(
        "select user_id, email, name, role, created_at, password_hash from users where lower(email) = lower($1)",
    )
    .bind(email)
    .fetch_optional(pool)
    .await?;
    row.map(|row| Ok(Account { user: user(&row)?, password_hash: row.try_get("password_hash")? })).transpose()
}

/// Whether the account's owner has signed in from there lately.
pub async fn is_known_at(pool: &PgPool, email: &str, client: Uuid) -> Result<bool, Error> {
    let row = sqlx::query(
        "select exists (select from users u join refresh_families f on f.user_id = u.user_id
                        where lower(u.email) = lower($1) and f.client = $2)",
    );
    Ok(row.bind(email).bind(client).fetch_one(pool).await?.try_get(0)?)
}

/// An account.
pub async fn by_id(pool: &PgPool, id: UserId) -> Result<Option<User>, Error> {
    let row = sqlx::query("select user_id, email, name, role, created_at from users where user_id = $1")
        .bind(id)
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(user).transpose()
}

/// A page of all accounts, newest first.
pub async fn page(pool: &PgPool, page: &PageRequest) -> Result<Page<User>, Error> {
    let rows = sqlx::query(
        "select user_id, email, name, role, created_at from users where user_id < $1
         order by user_id desc limit $2",
    )
    .bind(page.after_id()?.unwrap_or(Uuid::max()))
    .bind(page.fetch())
    .fetch_all(pool)
    .await?;
    page.cut(rows, |row| Ok(row.try_get::<Uuid, _>("user_id")?.to_string()), user)
}

/// Begins a family of refresh tokens, at generation 1, and notes that the user signed in on this day.
pub async fn begin_family(
    pool: &PgPool,
    family: Uuid,
    (user, client): (UserId, Uuid),
    (now, day): (DateTime<Utc>, NaiveDate),
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(
        "with day as (
             insert into login_days (user_id, day, last_at) values ($2, $6, $3)
             on conflict (user_id, day) do update set last_at = greatest(login_days.last_at, excluded.last_at)
         )
         insert into refresh_families (family_id, user_id, generation, rotated_at, expires_at, client)
         values ($1, $2, 1, $3, $4, $5)",
    )
    .bind(family)
    .bind(user)
    .bind(now)
    .bind(expires_at)
    .bind(client)
    .bind(day)
    .execute(pool)
    .await?;
    Ok(())
}

/// A family as it stands.
pub struct Family {
    /// Whose sign-in.
    pub user: User,
    /// The newest generation.
    pub generation: i32,
    /// When it became that.
    pub rotated_at: DateTime<Utc>,
    /// When it can no longer be refreshed.
    pub expires_at: DateTime<Utc>,
}

/// Moves a family from `generation` to the next, if it stands there: the one conditional update.
pub async fn rotate(pool: &PgPool, family: Uuid, generation: i32, now: DateTime<Utc>) -> Result<bool, Error> {
    let rotated = sqlx::query(
        "update refresh_families set generation = generation + 1, rotated_at = $3
         where family_id = $1 and generation = $2 and ended_at is null and expires_at > $3",
    )
    .bind(family)
    .bind(generation)
    .bind(now)
    .execute(pool)
    .await?;
    Ok(rotated.rows_affected() == 1)
}

/// A family that has neither ended nor expired.
pub async fn live_family(pool: &PgPool, family: Uuid, now: DateTime<Utc>) -> Result<Option<Family>, Error> {
    let row = sqlx::query(
        "select u.user_id, u.email, u.name, u.role, u.created_at, f.generation, f.rotated_at, f.expires_at
         from refresh_families f join users u on u.user_id = f.user_id
         where f.family_id = $1 and f.ended_at is null and f.expires_at > $2",
    )
    .bind(family)
    .bind(now)
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        Ok(Family {
            user: user(&row)?,
            generation: row.try_get("generation")?,
            rotated_at: row.try_get("rotated_at")?,
            expires_at: row.try_get("expires_at")?,
        })
    })
    .transpose()
}

/// Ends a family, for its access tokens as well: when that was. `None` where it had ended.
pub async fn end_family(
    pool: &PgPool,
    family: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let row = sqlx::query(
        "with ended as (
             update refresh_families set ended_at = $2 where family_id = $1 and ended_at is null
             returning family_id
         )
         insert into session_changes (family_id) select family_id from ended returning at",
    )
    .bind(family)
    .bind(now)
    .fetch_optional(pool)
    .await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// Gives a user another role: the account as it is now, what it was before, and when. `None` where there is
/// no such user.
pub async fn set_role(
    pg: &mut PgConnection,
    id: UserId,
    role: Role,
) -> Result<Option<(User, User, DateTime<Utc>)>, Error> {
    let before =
        sqlx::query("select user_id, email, name, role, created_at from users where user_id = $1 for update")
            .bind(id)
            .fetch_optional(&mut *pg)
            .await?;
    let Some(before) = before.as_ref().map(user).transpose()? else { return Ok(None) };
    sqlx::query("update users set role = $2 where user_id = $1")
        .bind(id)
        .bind(role.word())
        .execute(&mut *pg)
        .await?;
    let at = sqlx::query("insert into session_changes (user_id, role) values ($1, $2) returning at")
        .bind(id)
        .bind(role.word())
        .fetch_one(pg)
        .await?
        .try_get(0)?;
    Ok(Some((User { role, ..before.clone() }, before, at)))
}

/// Changes of sessions since a time, or all that concern tokens which are out; oldest first.
pub async fn session_changes(
    pool: &PgPool,
    since: Option<DateTime<Utc>>,
    lifetime: chrono::Duration,
) -> Result<Vec<(Change, DateTime<Utc>)>, Error> {
    let rows = sqlx::query(
        "select family_id, user_id, role, at from session_changes
         where at > coalesce($1,
             now() - make_interval(secs => case when family_id is null then $3 else $2 end))
         order by at",
    )
    .bind(since)
    .bind(lifetime.num_seconds() as f64)
    .bind(TOKEN_LIFETIME_MAX.num_seconds() as f64)
    .fetch_all(pool)
    .await?;
    let change = |row: &sqlx::postgres::PgRow| -> Result<(Change, DateTime<Utc>), Error> {
        let at = row.try_get("at")?;
        if let Some(family) = row.try_get("family_id")? {
            return Ok((Change::Ended(family), at));
        }
        Ok((Change::Role(row.try_get("user_id")?, Role::stored(row.try_get("role")?)?), at))
    };
    rows.iter().map(change).collect()
}

/// Keys that sign or may still verify, newest first.
pub async fn signing_keys(pool: &PgPool) -> Result<Vec<StoredKey>, Error> {
    let rows = sqlx::query(
        "select kid, public, sealed, retired_at is not null as retired from signing_keys
         where retired_at is null or retired_at > now() - make_interval(secs => $1)
         order by created_at desc, kid desc",
    )
    .bind(TOKEN_LIFETIME_MAX.num_seconds() as f64)
    .fetch_all(pool)
    .await?;
    let key = |row: &sqlx::postgres::PgRow| {
        Ok(StoredKey {
            kid: row.try_get("kid")?,
            public: row.try_get("public")?,
            sealed: row.try_get("sealed")?,
            is_retired: row.try_get("retired")?,
        })
    };
    rows.iter().map(key).collect()
}

/// Stores a key; where it is asked for, all others are retired with it.
pub async fn insert_signing_key(
    pool: &PgPool,
    kid: &str,
    public: &[u8],
    sealed: &[u8],
    retire_others: bool,
) -> Result<(), Error> {
    sqlx::query(
        "with retired as (
             update signing_keys set retired_at = clock_timestamp() where $4 and retired_at is null
         )
         insert into signing_keys (kid, public, sealed) values ($1, $2, $3)",
    )
    .bind(kid)
    .bind(public)
    .bind(sealed)
    .bind(retire_others)
    .execute(pool)
    .await?;
    Ok(())
}

/// Drops keys that are retired: whatever they signed is good no more. How many.
pub async fn drop_retired_keys(pool: &PgPool) -> Result<u64, Error> {
    let dropped = sqlx::query("delete from signing_keys where retired_at is not null").execute(pool).await?;
    Ok(dropped.rows_affected())
}

/// Drops changes that concern no token any more.
pub async fn drop_session_changes(pool: &PgPool) -> Result<(), Error> {
    sqlx::query("delete from session_changes where at < now() - make_interval(secs => $1)")
        .bind(TOKEN_LIFETIME_MAX.num_seconds() as f64)
        .execute(pool)
        .await?;
    Ok(())
}
