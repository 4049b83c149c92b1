//! What claims, counters and coupons must agree in.

use sqlx::{PgConnection, Row};

use crate::error::Error;
use crate::ids::CampaignId;
use crate::redis::Shard;

/// Each row is a campaign and a sentence about it.
const CLAIMS: &[&str] = &[
    // Ranks are the numbers 1 to `claimed`, each once.
    "select c.campaign_id, format('%s claims, numbers up to %s, %s different, %s counted', count(k.*),
         coalesce(max(k.number), 0), count(distinct k.number), c.claimed)
     from coupon_campaigns c left join coupon_claims k on k.ordinal = c.ordinal
     where c.shard = $1
     group by c.campaign_id
     having count(k.*) <> c.claimed or count(distinct k.number) <> c.claimed
         or coalesce(max(k.number), 0) <> c.claimed",
    "select c.campaign_id, format('%s claims have no coupon', count(*))
     from coupon_campaigns c
     join coupon_claims k on k.ordinal = c.ordinal
     where c.shard = $1 and not exists (
         select from coupons q
         where q.code = k.code and q.ordinal = k.ordinal and q.number = k.number
             and q.user_id = k.user_id and q.status in (1, 2, 3)
     )
     group by c.campaign_id",
];

/// Of all coupons at once, so in one shard only.
const COUPONS: &[&str] = &[
    "select c.campaign_id, format('%s coupons of %s claims', coalesce(n.count, 0), c.claimed)
     from coupon_campaigns c
     left join (
         select ordinal, count(*) as count from coupons where number <= 10000000000 group by ordinal
     ) n on n.ordinal = c.ordinal
     where coalesce(n.count, 0) <> c.claimed",
    "select o.campaign_id, format('%s coupons are used, %s are counted', coalesce(n.used, 0),
         coalesce(u.used, 0))
     from coupon_ordinals o
     left join (select ordinal, count(*) as used from coupons where status = 2 group by ordinal) n
         on n.ordinal = o.ordinal
     left join (select ordinal, sum(used)::bigint as used from coupon_uses group by ordinal) u
         on u.ordinal = o.ordinal
     where coalesce(n.used, 0) <> coalesce(u.used, 0)",
    // The last that was written of a coupon is how it stands.
    "select o.campaign_id, format('%s coupons are not what became of them', count(*))
     from coupon_history h
     join coupons c on c.code = h.code
     join coupon_ordinals o on o.ordinal = c.ordinal
     where c.status <> h.status
         and not exists (select from coupon_history l where l.code = h.code and l.place > h.place)
     group by o.campaign_id",
];

/// What does not add up: in which campaign, and how.
pub async fn differences(
    pg: &mut PgConnection,
    shard: Shard,
) -> Result<Vec<(Option<CampaignId>, String)>, Error> {
    let mut found = Vec::new();
    for sql in CLAIMS {
        found.extend(sqlx::query(*sql).bind(shard.as_i32()).fetch_all(&mut *pg).await?);
    }
    if shard == Shard(0) {
        for sql in COUPONS {
            found.extend(sqlx::query(*sql).fetch_all(&mut *pg).await?);
        }
    }
    found.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
