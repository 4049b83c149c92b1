//! Keys that codes are made with, and what stands for a campaign in them.

use sqlx::{PgConnection, PgPool, Row};

use crate::error::{Code, Error};
use crate::ids::CampaignId;
use crate::journal::table::statements::Statements;

/// All keys, the oldest first: version, sealed key.
pub async fn all(pg: &mut PgConnection) -> Result<Vec<(i16, Vec<u8>)>, Error> {
    let rows = sqlx::query("select version, sealed from coupon_keys order by version").fetch_all(pg).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// The version of the next key; until the transaction ends nobody else gets one.
pub async fn next_version(pg: &mut PgConnection) -> Result<i16, Error> {
    sqlx::query("lock table coupon_keys in share row exclusive mode").execute(&mut *pg).await?;
    let row = sqlx::query("select coalesce(max(version), 0) + 1 from coupon_keys").fetch_one(pg).await?;
    i16::try_from(row.try_get::<i32, _>(0)?).map_err(Error::internal)
}

/// Adds a key, if none has its version.
pub async fn insert(pg: &mut PgConnection, version: i16, sealed: &[u8]) -> Result<(), Error> {
    sqlx::query("insert into coupon_keys (version, sealed) values ($1, $2) on conflict do nothing")
        .bind(version)
        .bind(sealed)
        .execute(pg)
        .await?;
    Ok(())
}

/// What stands for a campaign in its codes; the same whenever it is asked for.
pub async fn ordinal(pool: &PgPool, campaign: CampaignId) -> Result<i32, Error> {
    for _ in 0..2 {
        let row = sqlx::query(
            "with known as (
                 select ordinal from coupon_ordinals where campaign_id = $1
             ), made as (
                 insert into coupon_ordinals (campaign_id) select $1 where not exists (select from known)
                 on conflict (campaign_id) do nothing
                 returning ordinal
             )
             select ordinal from known union all select ordinal from made",
        )
        .bind(campaign)
        .fetch_optional(pool)
        .await
        .map_err(exhausted)?;
        if let Some(row) = row {
            return Ok(row.try_get(0)?);
        }
    }
    Err(Error::unavailable("a campaign is made by somebody else"))
}

/// Makes sure that this stands for a campaign, in the transaction that makes the campaign: a Postgres that
/// went back may have forgotten it, or have given it to one that did not come to be.
pub fn say_ordinal(to: &mut Statements, ordinal: i32, campaign: CampaignId) {
    to.say("free_ordinals", "delete from coupon_ordinals where campaign_id = $2 and ordinal <> $1")
        .bind(ordinal)
        .bind(campaign);
    to.say(
        "keep_ordinal",
        "insert into coupon_ordinals (ordinal, campaign_id) values ($1, $2)
         on conflict (ordinal) do update set campaign_id = excluded.campaign_id
         where coupon_ordinals.campaign_id <> excluded.campaign_id",
    )
    .bind(ordinal)
    .bind(campaign);
    to.say(
        "raise_ordinals",
        "select setval('coupon_ordinals_seq', $1) from coupon_ordinals_seq where last_value < $1",
    )
    .bind(i64::from(ordinal));
}

/// Sixteen bits are 65 535 campaigns.
fn exhausted(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    match code.as_deref() {
        Some("2200H") => Error::Unavailable(Code::Unavailable, "all 65 535 campaigns are made".into()),
        _ => error.into(),
    }
}

/// Takes the next numbers that are not claimed; the first of them, or `None` where they have run out.
pub async fn take_numbers(pg: &mut PgConnection, ordinal: i32, count: i64) -> Result<Option<i64>, Error> {
    let row = sqlx::query(
        "update coupon_ordinals set generated = generated + $2 where ordinal = $1 and generated + $2 <= $3
         returning generated - $2 + 1 + $4",
    )
    .bind(ordinal)
    .bind(count)
    .bind(super::super::codes::GENERATED_MAX as i64)
    .bind(super::super::codes::QUANTITY_MAX as i64)
    .fetch_optional(pg)
    .await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}
