//! A place as a stream of events: `position` on change and at least each 15 seconds, then `active` or `gone`.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::Event;
use futures::Stream;
use tokio::time::Instant;

use super::model::{PlaceStatus, PlaceView};
use super::ops;
use super::ticket::Ticket;
use crate::app::AppState;
use crate::error::{Code, Error};

/// Pause between two looks of a stream.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest silence.
const SAY_EVERY: Duration = Duration::from_secs(14);

enum Stage {
    Looking { ticket: Ticket, last: Option<PlaceView>, said: Instant },
    Ended,
}

/// The stream of a ticket; 429 for a user who has several. It ends with the instance: the client's
/// `EventSource` comes back elsewhere.
pub fn stream(app: AppState, ticket: Ticket) -> Result<impl Stream<Item = Result<Event, Infallible>>, Error> {
    // Each looks once a second, however often he may poll.
    let max = app.config.limits.streams_user_max;
    let share = app.streams.take(ticket.user, max).ok_or_else(|| Error::rate_limited(SAY_EVERY))?;
    let start = Stage::Looking { ticket, last: None, said: Instant::now() };
    Ok(futures::stream::unfold((app, share, start), |(app, share, stage)| async move {
        let Stage::Looking { ticket, last, said } = stage else { return None };
        let stop = app.stop.clone();
        tokio::select! {
            next = next(&app, ticket, last, said) => {
                next.map(|(event, stage)| (Ok(event), (app, share, stage)))
            }
            () = stop.cancelled() => None,
        }
    }))
}

/// Waits until there is something to say.
async fn next(
    app: &AppState,
    mut ticket: Ticket,
    mut last: Option<PlaceView>,
    said: Instant,
) -> Option<(Event, Stage)> {
    loop {
        if last.is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        match ops::poll(app, &ticket).await {
            Ok(view) if view.status == PlaceStatus::Active => {
                return Some((event("active", &view), Stage::Ended));
            }
            Ok(view) => {
                // Signed anew: the old one would be, each time.
                ticket = view.token.as_deref().and_then(|token| app.tickets.read(token)).unwrap_or(ticket);
                let news = last.as_ref().is_none_or(|last| last.position != view.position);
                if news || view.token.is_some() || said.elapsed() >= SAY_EVERY {
                    let said = Instant::now();
                    return Some((
                        event("position", &view),
                        Stage::Looking { ticket, last: Some(view), said },
                    ));
                }
                last = Some(view);
            }
            Err(error) if error.code() == Code::QueueTicketGone => {
                return Some((
                    event("gone", &serde_json::json!({"code": "queue_ticket_gone"})),
                    Stage::Ended,
                ));
            }
            // A shard that is being rebuilt comes back; the stream waits with it.
            Err(Error::Unavailable(..)) => tokio::time::sleep(LOOK_EVERY).await,
            Err(error) => {
                tracing::warn!(%error, "an event stream ends");
                return None;
            }
        }
    }
}

fn event<T: serde::Serialize>(name: &str, body: &T) -> Event {
    let event = Event::default().event(name);
    event.json_data(body).unwrap_or_else(|_| Event::default().event(name))
}
