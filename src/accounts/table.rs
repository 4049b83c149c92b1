//! Accounts in Postgres.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use super::model::{Role, User};
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
    let role: &str = row.try_get("role")?;
    Ok(User {
        user_id: row.try_get("user_id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        role: Role::from_word(role)
            .ok_or_else(|| Error::internal(format_args!("postgres holds {role:?} as a role")))?,
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

/// Begins a family of refresh tokens, at generation 1.
pub async fn begin_family(
    pool: &PgPool,
    family: Uuid,
    user: UserId,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(
        "insert into refresh_families (family_id, user_id, generation, rotated_at, expires_at)
         values ($1, $2, 1, $3, $4)",
    )
    .bind(family)
    .bind(user)
    .bind(now)
    .bind(expires_at)
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

/// Ends a family.
pub async fn end_family(pool: &PgPool, family: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query("update refresh_families set ended_at = $2 where family_id = $1 and ended_at is null")
        .bind(family)
        .bind(now)
        .execute(pool)
        .await?;
    Ok(())
}
