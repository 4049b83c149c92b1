//! What stock, requests, grants, ledgers and coupons must agree in.

use sqlx::{PgConnection, Row};

use crate::error::Error;
use crate::redis::Shard;

/// Each row is a sentence about a shard's rewards and requests.
const REQUESTS: &[&str] = &[
    "select format('reward %s: %s of its stock are taken, %s requests stand', r.reward_id, r.taken,
         count(q.request_id))
     from rewards r left join reward_requests q on q.reward_id = r.reward_id and q.state <> 'REJECTED'
     where r.shard = $1
     group by r.reward_id
     having count(q.request_id) <> r.taken",
    "select format('request %s: %s, and its grant is %s', q.request_id, q.state,
         coalesce(g.outcome, 'missing'))
     from reward_requests q left join reward_grants g on g.request_id = q.request_id
     where q.shard = $1 and not q.is_adopted and case q.state
         when 'PENDING' then g.request_id is not null
         when 'GRANTED' then (q.type = 'ITEM') = (g.request_id is not null) or g.outcome = 'REFUSED'
         when 'REJECTED' then g.outcome = 'MADE'
         else false end",
];

/// About the grants of a shard: each is what its request was for, and is there.
const GRANTS: &[&str] = &[
    "select format('request %s: its points are in the ledger %s times', g.request_id, count(l.*))
     from reward_grants g
     join reward_requests q on q.request_id = g.request_id
     left join ledger l on l.user_id = g.user_id and l.type = 'REWARD' and l.reference = g.request_id
         and l.amount = q.amount
     where g.shard = $1 and q.type = 'POINTS' and not q.is_adopted and not g.is_adopted
     group by g.request_id, g.outcome
     having count(l.*) <> case g.outcome when 'MADE' then 1 else 0 end",
    "select format('request %s: its coupon is not the user''s', g.request_id)
     from reward_grants g
     join coupon_campaigns c on c.campaign_id = g.campaign_id
     where g.shard = $1 and g.outcome = 'MADE' and not exists (
         select from coupon_claims k
         where k.ordinal = c.ordinal and k.user_id = g.user_id and k.number = g.number
     )",
    "select format('transaction %s: a reward that no request was granted', l.transaction_id)
     from balances b
     join ledger l on l.user_id = b.user_id and l.type = 'REWARD'
     left join reward_grants g on g.request_id = l.reference and g.outcome = 'MADE'
     where b.shard = $1 and g.request_id is null",
];

/// What does not add up.
pub async fn differences(pg: &mut PgConnection, shard: Shard) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for sql in REQUESTS.iter().chain(GRANTS) {
        found.extend(sqlx::query(*sql).bind(shard.as_i32()).fetch_all(&mut *pg).await?);
    }
    found.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
