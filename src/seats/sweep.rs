//! Frees seats whose hold was not paid in time, ten times a second, independent of who asks.

use std::collections::BTreeMap;

use super::event::SeatEvent;
use super::store;
use crate::app::App;
use crate::error::Error;
use crate::ids::{ConcertId, ShowId};
use crate::journal::Outcome;
use crate::journal::event::Event;
use crate::metrics;
use crate::redis::{Shard, Space};

/// Holds that one call looks at.
const DUE_MAX: u32 = 200;

/// Sweeps one shard; returns how many holds were freed.
pub async fn sweep(app: &App, shard: Shard) -> Result<usize, Error> {
    let due = |space: &Space| store::Due { deadlines: store::deadlines(space), limit: DUE_MAX };
    let due = app.journal.ask(shard, due).await?.list(0)?;
    let mut by_show: BTreeMap<(ConcertId, ShowId), Vec<&str>> = BTreeMap::new();
    for member in &due {
        let parts = member.split('|').collect::<Vec<_>>();
        if let [concert, show, reservation] = parts[..]
            && let (Ok(concert), Ok(show)) = (concert.parse(), show.parse())
        {
            by_show.entry((concert, show)).or_default().push(reservation);
        }
    }
    let mut freed = 0;
    for ((concert, show), reservations) in by_show {
        freed += sweep_show(app, shard, concert, show, &reservations.join(",")).await?;
    }
    metrics::lapsed(freed);
    Ok(freed)
}

async fn sweep_show(
    app: &App,
    shard: Shard,
    concert: ConcertId,
    show: ShowId,
    reservations: &str,
) -> Result<usize, Error> {
    let script = |space: &Space| store::sweep(space, concert, show, reservations);
    match app.journal.unawaited(shard, script).await? {
        Outcome::Done(done) => {
            let events = done.facts.events().map_err(Error::internal)?;
            Ok(events.iter().filter(|event| matches!(event, Event::Seat(SeatEvent::HoldLapsed(_)))).count())
        }
        Outcome::Refused(_) => Ok(0),
    }
}
