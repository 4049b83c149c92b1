//! One connection with those who share its thread: their numbers, their counts.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connection::{Answer, Connection};
use crate::flow;
use crate::stats::{Kind, Stats};
use crate::work::{Turns, Work};

/// A pause after a connection broke: a server that is away is not asked a million times a second.
const BROKEN_PAUSE: Duration = Duration::from_millis(10);

/// Sends one request at a time.
pub struct Client {
    pub work: Arc<Work>,
    pub connection: Connection,
    pub turns: Rc<Turns>,
    pub stats: Rc<RefCell<Stats>>,
}

impl Client {
    /// Sends what was written onto the connection, and counts the answer. `since` is when it was due.
    pub async fn ask(&mut self, kind: Kind, since: Instant) -> io::Result<Answer<'_>> {
        let answer = self.connection.send().await?;
        self.stats.borrow_mut().answered(kind, since, answer.status, answer.body);
        Ok(answer)
    }

    /// A request, or a purchase, that was due at `since`. False when there is nothing left to ask for.
    pub async fn once(&mut self, since: Instant) -> bool {
        self.stats.borrow_mut().unfinished += 1;
        let result = flow::once(self, since).await;
        let is_broken = {
            let mut stats = self.stats.borrow_mut();
            stats.unfinished -= 1;
            if let Err(error) = &result {
                stats.broken += 1;
                if stats.broken == 1 {
                    eprintln!("a connection broke: {error}");
                }
            }
            stats.is_used_up |= matches!(result, Ok(false));
            result.is_err()
        };
        if is_broken {
            tokio::time::sleep(BROKEN_PAUSE).await;
        }
        !self.stats.borrow().is_used_up
    }
}
