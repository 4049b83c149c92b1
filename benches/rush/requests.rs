//! Each request of Onrush that a load sends, written onto a connection. Paths and headers are here alone.

use crate::connection::Connection;
use crate::stats::Kind;
use crate::work::{Browse, Seat, Work};

/// What precedes a ticket, in the answers to joins and polls.
pub const TOKEN: &str = r#""token":""#;
/// What says that somebody is let in.
pub const ACTIVE: &str = r#""status":"ACTIVE""#;
/// What precedes the pause until the next poll.
pub const POLL_AFTER_MS: &str = r#""pollAfterMs":"#;
/// What precedes the id of a hold.
pub const RESERVATION: &str = r#""reservationId":""#;

/// A request that stands for itself. False when there is nothing left to ask for.
pub fn single(to: &mut Connection, work: &Work, kind: Kind, turn: u64) -> bool {
    let key = (work.run.as_str(), kind.name(), turn);
    match kind {
        Kind::Livez => to.begin("GET", &["/livez"]).empty(),
        Kind::Bare => to.begin("GET", &["/bare"]).empty(),
        Kind::PostgresCharge => {
            let user = (turn % work.postgres_users).to_string();
            to.begin("POST", &["/charge/", &user]).key(key.0, key.1, key.2).json(&[r#"{"amount":100}"#]);
        }
        Kind::Join => join(to, &work.join_queue, work.users.in_turn(turn).token),
        Kind::Poll => poll(to, &work.queue, work.tickets.in_turn(turn)),
        Kind::Leave => {
            if turn >= work.tickets.len() as u64 {
                return false;
            }
            let path = ["/v1/queues/", &work.queue, "/tickets/me"];
            to.begin("DELETE", &path).header("Queue-Token", &[work.tickets.in_turn(turn)]).empty();
        }
        Kind::Charge => {
            let user = work.users.in_turn(turn);
            to.begin("POST", &["/v1/users/", user.id, "/points/charge"]);
            bearer(to, user.token).key(key.0, key.1, key.2).json(&[r#"{"amount":100}"#]);
        }
        Kind::Order => {
            bearer(to.begin("POST", &["/v1/orders"]), work.users.in_turn(turn).token);
            let items = [r#"{"items":[{"menuId":""#, &work.menu, r#"","quantity":1}]}"#];
            to.key(key.0, key.1, key.2).json(&items);
        }
        Kind::Claim => {
            to.begin("POST", &["/v1/coupon-campaigns/", &work.campaign, "/claims"]);
            bearer(to, work.users.in_turn(turn).token).key(key.0, key.1, key.2).empty();
        }
        Kind::Hold => {
            let Some(seat) = work.seat(turn) else { return false };
            let holder = &work.holders[turn as usize % work.holders.len()];
            hold(to, &work.run, turn, (&holder.token, &holder.ticket), &seat);
        }
        Kind::PollAgain | Kind::Browse | Kind::Pay | Kind::Purchase => unreachable!("a step of a purchase"),
    }
    true
}

fn bearer<'a>(to: &'a mut Connection, token: &str) -> &'a mut Connection {
    to.header("Authorization", &["Bearer ", token])
}

/// A place in a queue.
pub fn join(to: &mut Connection, queue: &str, token: &str) {
    bearer(to.begin("POST", &["/v1/queues/", queue, "/tickets"]), token).empty();
}

/// How that place stands.
pub fn poll(to: &mut Connection, queue: &str, ticket: &str) {
    to.begin("GET", &["/v1/queues/", queue, "/tickets/me"]).header("Queue-Token", &[ticket]).empty();
}

/// What can be had. `who` is an access token and a ticket, here and below.
pub fn browse(to: &mut Connection, what: Browse, who: (&str, &str), seat: &Seat) {
    match what {
        Browse::Dates => to.begin("GET", &["/v1/concerts/", seat.concert, "/dates"]),
        Browse::Seats => to.begin("GET", &["/v1/concerts/", seat.concert, "/seats?date=", seat.date]),
    };
    bearer(to, who.0).header("Queue-Token", &[who.1]).empty();
}

/// A seat is held.
pub fn hold(to: &mut Connection, run: &str, turn: u64, who: (&str, &str), seat: &Seat) {
    bearer(to.begin("POST", &["/v1/reservations"]), who.0).header("Queue-Token", &[who.1]);
    let number = seat.number.to_string();
    let concert = [r#"{"concertId":""#, seat.concert, r#"","date":""#, seat.date];
    let body = [concert.as_slice(), &[r#"","seatNumber":"#, &number, "}"]].concat();
    to.key(run, Kind::Hold.name(), turn).json(&body);
}

/// A hold is paid.
pub fn pay(to: &mut Connection, run: &str, turn: u64, who: (&str, &str), reservation: &str) {
    bearer(to.begin("POST", &["/v1/payments"]), who.0).header("Queue-Token", &[who.1]);
    to.key(run, Kind::Pay.name(), turn).json(&[r#"{"reservationId":""#, reservation, r#""}"#]);
}
