//! The whole way of a buyer, on one connection: join, poll until let in, look, hold, pay. The first step is
//! measured from when the purchase was due, the others from when they were sent, since they wait for answers.
//! A buyer who waits keeps his connection, so the connections are the most who buy at once.

use std::io;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::requests::{self, ACTIVE, POLL_AFTER_MS, RESERVATION, TOKEN};
use crate::stats::Kind;

/// Polls until a buyer gives up.
const POLLS_MAX: usize = 120;

/// One purchase, as far as it is not refused. False when all seats were given out.
pub async fn once(client: &mut Client, since: Instant) -> io::Result<bool> {
    let work = client.work.clone();
    let turn = client.turns.next(Kind::Purchase);
    let Some(seat) = work.seat(turn) else { return Ok(false) };
    let token = work.users.in_turn(turn).token;
    let Some(ticket) = enter(client, since, seat.concert, token).await? else { return Ok(true) };
    let who = (token, ticket.as_str());

    requests::browse(&mut client.connection, work.browse, who, &seat);
    if client.ask(Kind::Browse, Instant::now()).await?.status != 200 {
        return Ok(true);
    }
    requests::hold(&mut client.connection, &work.run, turn, who, &seat);
    let answer = client.ask(Kind::Hold, Instant::now()).await?;
    let Some(reservation) = (answer.status == 201).then(|| answer.text(RESERVATION)).flatten() else {
        return Ok(true);
    };
    let reservation = reservation.to_owned();
    requests::pay(&mut client.connection, &work.run, turn, who, &reservation);
    if client.ask(Kind::Pay, Instant::now()).await?.status == 201 {
        client.stats.borrow_mut().purchased(since);
    }
    Ok(true)
}

/// Joins, and polls as often as the server asks for: the ticket of who was let in. Everybody polls once, as
/// somebody who was let in at once would to see it.
async fn enter(client: &mut Client, since: Instant, queue: &str, token: &str) -> io::Result<Option<String>> {
    requests::join(&mut client.connection, queue, token);
    let answer = client.ask(Kind::Join, since).await?;
    let Some(mut ticket) = answer.text(TOKEN).map(str::to_owned) else { return Ok(None) };
    let mut pause = if answer.has(ACTIVE) { None } else { answer.number(POLL_AFTER_MS) };
    let mut kind = Kind::Poll;
    for _ in 0..POLLS_MAX {
        if let Some(pause) = pause {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        requests::poll(&mut client.connection, queue, &ticket);
        let answer = client.ask(kind, Instant::now()).await?;
        if answer.status != 200 {
            return Ok(None);
        }
        if let Some(again) = answer.text(TOKEN) {
            ticket = again.to_owned();
        }
        if answer.has(ACTIVE) {
            return Ok(Some(ticket));
        }
        pause = answer.number(POLL_AFTER_MS);
        kind = Kind::PollAgain;
    }
    Ok(None)
}
