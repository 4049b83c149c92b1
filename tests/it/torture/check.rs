//! What must be true when all faults are over: what clients were told, what Postgres says and what the
//! journal says are one story.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use serde_json::json;
use sqlx::{PgPool, Row};

use super::load::{Done, POINTS, What};

/// Every difference, as a sentence.
pub async fn check(pool: &PgPool, done: &[Done]) -> Vec<String> {
    let mut wrong = Vec::new();
    charges(pool, done, &mut wrong).await;
    orders(pool, done, &mut wrong).await;
    claims(pool, done, &mut wrong).await;
    rewards(pool, done, &mut wrong).await;
    seats(pool, done, &mut wrong).await;
    payments(pool, done, &mut wrong).await;
    journal(pool, &mut wrong).await;
    wrong
}

/// When a charge was sent, when it was answered, and where it stands (epoch, number).
type Seen = (Instant, Instant, (i64, i64));

/// Each charge that was answered stands in the ledger as it was told, and no other does; in each shard in an
/// order that a watch would confirm.
async fn charges(pool: &PgPool, done: &[Done], wrong: &mut Vec<String>) {
    let rows = sqlx::query(
        "select l.transaction_id::text, l.user_id::text, l.amount, l.balance_after, l.epoch, l.seq, b.shard
         from ledger l join balances b using (user_id) where l.type = 'CHARGE' and l.amount <> $1",
    );
    let mut ledger = HashMap::new();
    for row in rows.bind(POINTS).fetch_all(pool).await.unwrap() {
        let place: (i32, i64, i64) = (row.get("shard"), row.get("epoch"), row.get("seq"));
        let value = (row.get::<String, _>(1), row.get::<i64, _>(2), row.get::<i64, _>(3), place);
        ledger.insert(row.get::<String, _>(0), value);
    }
    let mut seen: BTreeMap<i32, Vec<Seen>> = BTreeMap::new();
    for told in done.iter().filter(|told| told.status == 201) {
        let What::Charge(amount) = told.what else { continue };
        let transaction = told.body["transactionId"].as_str().unwrap_or_default();
        match ledger.remove(transaction) {
            Some((user, kept, balance, (shard, epoch, seq)))
                if user == told.user && kept == amount && told.body["balance"] == json!(balance) =>
            {
                seen.entry(shard).or_default().push((told.sent, told.answered, (epoch, seq)));
            }
            found => wrong.push(format!("{told:?} stands in the ledger as {found:?}")),
        }
    }
    wrong.extend(ledger.iter().map(|(id, row)| format!("nobody was told of charge {id} {row:?}")));
    for (shard, mut told) in seen {
        // What was answered before another was sent must stand before it.
        told.sort_by_key(|(_, answered, _)| *answered);
        let mut by_sent: Vec<_> = told.iter().map(|(sent, _, place)| (*sent, *place)).collect();
        by_sent.sort();
        let (mut answered, mut highest) = (told.iter().peekable(), (0, 0));
        for (sent, place) in by_sent {
            while answered.peek().is_some_and(|(_, at, _)| *at < sent) {
                highest = answered.next().map_or(highest, |(.., before)| highest.max(*before));
            }
            if place <= highest {
                wrong.push(format!("shard {shard}: {place:?} was sent after {highest:?} was answered"));
            }
        }
    }
}

/// Each order that was answered is there as it was told, and no other.
async fn orders(pool: &PgPool, done: &[Done], wrong: &mut Vec<String>) {
    let rows = sqlx::query("select order_id::text, user_id::text, items, total, balance_after from orders");
    let mut kept: HashMap<String, (String, serde_json::Value, i64, i64)> = HashMap::new();
    for row in rows.fetch_all(pool).await.unwrap() {
        kept.insert(row.get(0), (row.get(1), row.get(2), row.get(3), row.get(4)));
    }
    for told in done.iter().filter(|told| told.status == 201) {
        let What::Order(menu, quantity) = &told.what else { continue };
        let number = |member: &str| told.body[member].as_i64().unwrap_or(-1);
        let is_told =
            told.body["items"][0]["menuId"] == **menu && number("totalPrice") == i64::from(*quantity);
        match kept.remove(told.body["orderId"].as_str().unwrap_or_default()) {
            Some((user, items, total, balance))
                if is_told
                    && user == told.user
                    && items == told.body["items"]
                    && (total, balance) == (number("totalPrice"), number("balance")) => {}
            found => wrong.push(format!("{told:?} stands as {found:?}")),
        }
    }
    wrong.extend(kept.iter().map(|(id, row)| format!("nobody was told of order {id} {row:?}")));
}

/// Each claim that was answered is there as it was told, with its coupon, and no other.
async fn claims(pool: &PgPool, done: &[Done], wrong: &mut Vec<String>) {
    let rows = sqlx::query(
        "select c.code, c.user_id::text, c.number, o.campaign_id::text
         from coupons c join coupon_ordinals o using (ordinal)
         join coupon_claims k on k.ordinal = c.ordinal and k.user_id = c.user_id and k.number = c.number",
    );
    let mut kept: HashMap<String, (String, i64, String)> = HashMap::new();
    for row in rows.fetch_all(pool).await.unwrap() {
        kept.insert(row.get(0), (row.get(1), row.get(2), row.get(3)));
    }
    for told in done.iter().filter(|told| told.status == 201) {
        let What::Claim(campaign) = &told.what else { continue };
        let code = told.body["code"].as_str().unwrap_or_default().replace('-', "");
        let expected = (told.user.clone(), told.body["number"].as_i64().unwrap_or(-1), campaign.clone());
        match kept.remove(&code) {
            Some(found) if found == expected => {}
            found => wrong.push(format!("{told:?} stands as {found:?}")),
        }
    }
    wrong.extend(kept.iter().map(|(code, row)| format!("nobody was told of coupon {code} {row:?}")));
}

/// Each request that was answered as granted is there, with its points where it is for points, and no other.
async fn rewards(pool: &PgPool, done: &[Done], wrong: &mut Vec<String>) {
    let rows = sqlx::query(
        "select q.request_id::text, q.user_id::text, q.reward_id::text, q.state,
             (select count(*) from ledger l where l.user_id = q.user_id and l.reference = q.request_id
                  and l.type = 'REWARD' and l.amount = q.amount) = (q.type = 'POINTS')::int
         from reward_requests q",
    );
    let mut kept: HashMap<String, (String, String, String, bool)> = HashMap::new();
    for row in rows.fetch_all(pool).await.unwrap() {
        kept.insert(row.get(0), (row.get(1), row.get(2), row.get(3), row.get(4)));
    }
    for told in done.iter().filter(|told| told.status == 201) {
        let What::Reward(reward) = &told.what else { continue };
        let expected = (told.user.clone(), reward.clone(), "GRANTED".to_owned(), true);
        match kept.remove(told.body["requestId"].as_str().unwrap_or_default()) {
            Some(found) if found == expected => {}
            found => wrong.push(format!("{told:?} stands as {found:?}")),
        }
    }
    wrong.extend(kept.iter().map(|(id, row)| format!("nobody was told of request {id} {row:?}")));
}

/// Each hold that was answered is a reservation with these seats, and there is no other; what became of it is
/// what its owner was told.
async fn seats(pool: &PgPool, done: &[Done], wrong: &mut Vec<String>) {
    let rows = sqlx::query("select reservation_id::text, user_id::text, seats, status from reservations");
    let mut kept: HashMap<String, (String, Vec<i32>, String)> = HashMap::new();
    for row in rows.fetch_all(pool).await.unwrap() {
        kept.insert(row.get(0), (row.get(1), row.get(2), row.get(3)));
    }
    let ended = |wanted: &dyn Fn(&What) -> Option<String>, status: u16| -> BTreeSet<String> {
        done.iter().filter(|told| told.status == status).filter_map(|told| wanted(&told.what)).collect()
    };
    let of_payment = |what: &What| if let What::Pay(id) = what { Some(id.clone()) } else { None };
    let of_cancel = |what: &What| if let What::Cancel(id) = what { Some(id.clone()) } else { None };
    let (paid, cancelled) = (ended(&of_payment, 201), ended(&of_cancel, 204));
    for told in done.iter().filter(|told| told.status == 201) {
        let What::Hold(seats) = &told.what else { continue };
        let id = told.body["reservationId"].as_str().unwrap_or_default();
        let Some((user, kept_seats, status)) = kept.remove(id) else {
            wrong.push(format!("{told:?} is no reservation"));
            continue;
        };
        let mut seats: Vec<i32> = seats.iter().map(|seat| *seat as i32).collect();
        seats.sort_unstable();
        let wanted = match (paid.contains(id), cancelled.contains(id)) {
            (true, _) => "CONFIRMED",
            (_, true) => "CANCELLED",
            _ => "RESERVED",
        };
        if user != told.user || kept_seats != seats || status != wanted {
            wrong.push(format!("{told:?} is {status}, with {kept_seats:?}, and should be {wanted}"));
        }
    }
    wrong.extend(kept.iter().map(|(id, row)| format!("nobody was told of reservation {id} {row:?}")));
}

/// Each payment that was answered is there as it was told, and no other; the points of refused ones are back.
async fn payments(pool: &PgPool, done: &[Done], wrong: &mut Vec<String>) {
    let rows =
        sqlx::query("select payment_id::text, reservation_id::text, amount, balance_after from payments");
    let mut kept: HashMap<String, (String, i64, i64)> = HashMap::new();
    for row in rows.fetch_all(pool).await.unwrap() {
        kept.insert(row.get(0), (row.get(1), row.get(2), row.get(3)));
    }
    for told in done.iter().filter(|told| told.status == 201) {
        let What::Pay(reservation) = &told.what else { continue };
        let id = told.body["paymentId"].as_str().unwrap_or_default();
        let wanted =
            (told.body["amount"].as_i64().unwrap_or(-1), told.body["balance"].as_i64().unwrap_or(-1));
        match kept.remove(id) {
            Some((of, amount, balance)) if of == *reservation && (amount, balance) == wanted => {}
            found => wrong.push(format!("{told:?} stands as {found:?}")),
        }
    }
    wrong.extend(kept.iter().map(|(id, row)| format!("nobody was told of payment {id} {row:?}")));
    let open: i64 = sqlx::query_scalar("select count(*) from transfers where state = 'PENDING'")
        .fetch_one(pool)
        .await
        .unwrap();
    if open > 0 {
        wrong.push(format!("{open} transfers were never closed"));
    }
}

/// The journal itself: dense and chained in each epoch, and every fact legal where it stands.
async fn journal(pool: &PgPool, wrong: &mut Vec<String>) {
    let rows =
        sqlx::query("select shard, epoch, seq, p, h, facts from journal_entries order by shard, epoch, seq");
    let (mut at, mut last) = ((-1, -1), (0_i64, String::new()));
    let mut balances: HashMap<String, i64> = HashMap::new();
    let mut holds: HashMap<String, Vec<String>> = HashMap::new();
    let mut taken: HashMap<String, String> = HashMap::new();
    let mut claimed: HashMap<String, i64> = HashMap::new();
    for row in rows.fetch_all(pool).await.unwrap() {
        let here: (i32, i64) = (row.get("shard"), row.get("epoch"));
        let (seq, previous, hash): (i64, String, String) = (row.get("seq"), row.get("p"), row.get("h"));
        let follows = if here == at { seq == last.0 + 1 && previous == last.1 } else { seq == 1 };
        if !follows {
            wrong.push(format!("{here:?}-{seq} with p {previous} follows {last:?}"));
        }
        (at, last) = (here, (seq, hash));
        for line in row.get::<&str, _>("facts").lines() {
            let fields: Vec<&str> = line.split('|').collect();
            let legal = match fields[..] {
                ["points.charged" | "points.refunded" | "points.rewarded", _, user, amount, balance, ..] => {
                    moves(&mut balances, user, amount, 1, balance)
                }
                ["points.reserved", _, user, amount, balance, ..] => {
                    moves(&mut balances, user, amount, -1, balance)
                }
                ["order.placed", _, _, user, total, balance, ..] => {
                    moves(&mut balances, user, total, -1, balance)
                }
                ["coupon.claimed", campaign, _, _, _, number, ..] => {
                    let last = claimed.entry(campaign.to_owned()).or_default();
                    *last += 1;
                    *last == number.parse().unwrap_or(-1)
                }
                ["seats.held", reservation, _, show, _, _, seats, ..] => {
                    let seats: Vec<String> = seats.split(',').map(|seat| format!("{show}/{seat}")).collect();
                    let free = seats.iter().all(|seat| !taken.contains_key(seat));
                    for seat in &seats {
                        taken.insert(seat.clone(), reservation.to_owned());
                    }
                    free && holds.insert(reservation.to_owned(), seats).is_none()
                }
                ["seats.lapsed" | "seats.cancelled", reservation] => match holds.remove(reservation) {
                    Some(seats) => {
                        seats.iter().all(|seat| taken.remove(seat).as_deref() == Some(reservation))
                    }
                    None => false,
                },
                // Sold seats stay taken.
                ["payment.confirmed", _, _, reservation, ..] => holds.remove(reservation).is_some(),
                _ => true,
            };
            if !legal {
                wrong.push(format!("{here:?}-{seq}: {line} is not legal there"));
            }
        }
    }
    for row in sqlx::query("select user_id::text, balance from balances").fetch_all(pool).await.unwrap() {
        let (user, balance): (String, i64) = (row.get(0), row.get(1));
        if balances.get(&user) != Some(&balance) {
            wrong.push(format!("{user} has {balance}, the journal says {:?}", balances.get(&user)));
        }
    }
}

fn moves(balances: &mut HashMap<String, i64>, user: &str, amount: &str, sign: i64, after: &str) -> bool {
    let balance = balances.entry(user.to_owned()).or_default();
    let (amount, after): (i64, i64) = (amount.parse().unwrap_or(i64::MIN / 2), after.parse().unwrap_or(-1));
    *balance += sign * amount;
    *balance == after && after >= 0
}
