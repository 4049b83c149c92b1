//! What many do at once in an on-sale: most wait, some arrive, few of them are at the till.

use std::io;

use anyhow::{Context, ensure};
use tokio::time::{Duration, sleep};

use crate::connection::{Answer, Connection, Server};
use crate::lines::Users;
use crate::requests::{self, ACTIVE, TOKEN};
use crate::stats::Kind;
use crate::work::{Holder, Turns};

/// Shares of a hundred requests; the rest are charges, orders and claims.
const POLLS: u64 = 80;
const JOINS: u64 = 5;
const HOLDS: u64 = 5;
/// Prime to a hundred: each hundred turns have each remainder once, and like ones do not come in a row.
const STRIDE: u64 = 37;
/// How often it is looked whether somebody is let in, and how many times.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS_MAX: usize = 100;

/// What comes next: exactly the shares, evenly spread.
pub fn next(turns: &Turns) -> Kind {
    // No request is a purchase here, so its numbers are free to count all.
    let turn = turns.next(Kind::Purchase);
    let place = turn * STRIDE % 100;
    if place < POLLS {
        Kind::Poll
    } else if place < POLLS + JOINS {
        Kind::Join
    } else if place < POLLS + JOINS + HOLDS {
        Kind::Hold
    } else {
        // Ten of a hundred are no thirds: with each hundred the next one has the fourth.
        [Kind::Charge, Kind::Order, Kind::Claim][((place + turn / 100) % 3) as usize]
    }
}

/// The last users of the file are let into the concerts' queue before the load begins. Seats are held for
/// them: to be let in is measured by purchases.
pub async fn let_in(
    server: &Server,
    users: &Users,
    concert: &str,
    count: usize,
) -> anyhow::Result<Vec<Holder>> {
    ensure!(count > 0, "--holders is at least 1");
    let mut connection = Connection::open(server).await?;
    let mut holders = Vec::new();
    for at in 0..count.min(users.len()) {
        let token = users.in_turn((users.len() - 1 - at) as u64).token;
        requests::join(&mut connection, concert, token);
        let answer = good(connection.send().await)?;
        let ticket = answer.text(TOKEN).context("a join gives no ticket")?.to_owned();
        holders.push(Holder { token: token.to_owned(), ticket });
    }
    for holder in &mut holders {
        await_turn(&mut connection, concert, holder).await?;
    }
    Ok(holders)
}

async fn await_turn(connection: &mut Connection, concert: &str, holder: &mut Holder) -> anyhow::Result<()> {
    for _ in 0..LOOKS_MAX {
        requests::poll(connection, concert, &holder.ticket);
        let answer = good(connection.send().await)?;
        if let Some(again) = answer.text(TOKEN) {
            holder.ticket = again.to_owned();
        }
        if answer.has(ACTIVE) {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    anyhow::bail!("nobody is let into the concert's queue")
}

fn good(answer: io::Result<Answer<'_>>) -> anyhow::Result<Answer<'_>> {
    let answer = answer?;
    let body = String::from_utf8_lossy(answer.body);
    ensure!(answer.status < 300, "{} {body}", answer.status);
    Ok(answer)
}
