//! What must hold whenever somebody is let in, and after each step.

use super::super::Violation;
use super::super::scripts::{ACTIVE_MAX, ADMITTED_PER_WINDOW, WINDOW};
use super::{Model, USERS};

impl Model<'_> {
    /// Nobody who kept polling with a lower number, and still wants in, may be waiting or lost.
    pub fn judge_admission(&mut self, number: u64) -> Result<(), Violation> {
        let Some(redis) = &self.redis else { return Ok(()) };
        let room = &redis.room;
        let overtaken = self.tabs.iter().any(|tab| {
            tab.number < number
                && tab.kept_polling
                && !room.ended.contains(&tab.number)
                && !room.active.contains_key(&tab.number)
                && !room.is_superseded(tab.user, tab.number, self.issued[&tab.number].epoch)
        });
        if overtaken {
            return Err(Violation::Overtaken);
        }
        let in_window = self.admissions.iter().rev().take_while(|&&at| at + WINDOW > self.now).count();
        if in_window > ADMITTED_PER_WINDOW {
            return Err(Violation::RateExceeded);
        }
        let active = room.active.values().filter(|pass| self.now < pass.deadline).count();
        if active > ACTIVE_MAX {
            return Err(Violation::CapExceeded);
        }
        Ok(())
    }

    pub fn judge_places(&self) -> Result<(), Violation> {
        let Some(redis) = &self.redis else { return Ok(()) };
        let mut places = [0; USERS];
        let waiting = redis.room.waiting.values().map(|place| place.user);
        for user in waiting.chain(redis.room.active.values().map(|pass| pass.user)) {
            places[user] += 1;
        }
        if places.iter().any(|&count| count > 1) {
            return Err(Violation::TwoPlaces);
        }
        let all_is_durable = redis.journal.is_empty() && redis.buffer.is_empty();
        let same = redis.room.waiting == self.durable.waiting && redis.room.active == self.durable.active;
        if all_is_durable && !same { Err(Violation::StoresDiffer) } else { Ok(()) }
    }
}
