//! One run: people who join, poll, leave and pay, ticks, and losses, in an order that the seed decides.

mod judge;

use super::room::{Gap, Room};
use super::scripts::{Answer, POLL_EVERY, Redis};
use super::{Defences, Outcome, Pause, Violation};
use fastrand::Rng;
use std::collections::BTreeMap;

const USERS: usize = 6;
const STEPS: usize = 300;
const STEPS_TO_REST: usize = 300;
const JUMP: u64 = 1_000;
const DOWN_MAX: u64 = 10;
const TABS_MAX: usize = 12;

/// A ticket in somebody's hands. One user may have several, each in a browser tab of its own.
#[derive(Clone, Copy, Debug)]
struct Tab {
    user: usize,
    number: u64,
    polls_by: u64,
    is_silent: bool,
    /// It has polled in time since it was issued or came back, whenever there was somebody to answer.
    kept_polling: bool,
}

#[derive(Clone, Copy, Debug)]
struct Issue {
    user: usize,
    epoch: u64,
}

struct Model<'run> {
    rng: Rng,
    defences: &'run Defences,
    now: u64,
    epoch: u64,
    durable: Room,
    /// None while Redis is down or being rebuilt.
    redis: Option<Redis>,
    up_at: u64,
    tabs: Vec<Tab>,
    /// Of each hundred steps, in how many the writer commits. Slow in some runs.
    commits_of_hundred: u8,
    budgets_read: [Option<usize>; 2],
    issued: BTreeMap<u64, Issue>,
    admissions: Vec<u64>,
    outcome: Outcome,
}

pub fn play(seed: u64, defences: &Defences) -> Outcome {
    let mut model = Model::new(seed, defences);
    let result = model.run().and_then(|()| model.come_to_rest());
    model.outcome.violation = result.err();
    model.outcome
}

impl<'run> Model<'run> {
    fn new(seed: u64, defences: &'run Defences) -> Model<'run> {
        let mut rng = Rng::with_seed(seed);
        let commits_of_hundred = [3, 10, 30][rng.usize(..3)];
        let durable = Room::default();
        let redis = Some(Redis::new(&durable, 1, 0));
        Model {
            rng,
            defences,
            now: 0,
            epoch: 1,
            durable,
            redis,
            up_at: 0,
            tabs: Vec::new(),
            commits_of_hundred,
            budgets_read: [None, None],
            issued: BTreeMap::new(),
            admissions: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        for _ in 0..STEPS {
            self.pass_time()?;
            match self.rng.u8(..100) {
                0..16 => self.somebody_joins()?,
                16..22 => self.some_tab_polls()?,
                22..24 => self.somebody_leaves(),
                24..26 => self.somebody_falls_silent(),
                26..29 => self.somebody_wakes()?,
                29..37 => self.somebody_pays(),
                37..62 => self.an_instance_ticks()?,
                62..66 => self.an_instance_reads_the_budget(),
                66..67 => self.redis_is_lost(),
                67..68 => self.redis_falls_back(),
                _ => {}
            }
            if self.rng.u8(..100) < self.commits_of_hundred {
                let count = self.rng.usize(1..=6);
                self.commit(count);
            }
            self.judge_places()?;
        }
        Ok(())
    }

    /// Redis comes up, and who is due polls. While it is down they try in vain, and try again in time.
    fn pass_time(&mut self) -> Result<(), Violation> {
        self.now += 1;
        if self.redis.is_none() && self.now >= self.up_at {
            self.redis = Some(Redis::new(&self.durable, self.epoch, self.now));
        }
        let due: Vec<u64> = self
            .tabs
            .iter()
            .filter(|tab| !tab.is_silent && tab.polls_by <= self.now)
            .map(|tab| tab.number)
            .collect();
        for number in due {
            self.poll(number)?;
        }
        self.settle_gaps();
        Ok(())
    }

    /// The ablation: a gap counts as settled once its pause has elapsed, and that is recorded for good.
    fn settle_gaps(&mut self) {
        let Some(redis) = &mut self.redis else { return };
        if self.defences.pause == Pause::UntilAGapIsSettled && redis.has_rested(self.now) {
            for gap in redis.room.gaps.iter_mut().chain(&mut self.durable.gaps) {
                gap.settled = true;
            }
        }
    }

    fn next_poll(&mut self) -> u64 {
        self.now + self.rng.u64(1..=POLL_EVERY)
    }

    fn somebody_joins(&mut self) -> Result<(), Violation> {
        let user = self.rng.usize(..USERS);
        let Some(redis) = &mut self.redis else {
            return Ok(());
        };
        if self.tabs.len() >= TABS_MAX {
            return Ok(());
        }
        let is_new = redis.room.number_of(user).is_none();
        let number = redis.join(user, self.now);
        if is_new {
            let earlier = self.issued.insert(number, Issue { user, epoch: self.epoch });
            if earlier.is_some_and(|earlier| earlier.user != user) {
                return Err(Violation::NumberIssuedTwice);
            }
        }
        if !self.tabs.iter().any(|tab| tab.number == number) {
            let polls_by = self.next_poll();
            self.tabs.push(Tab { user, number, polls_by, is_silent: false, kept_polling: true });
        }
        Ok(())
    }

    fn random_tab(&mut self) -> Option<usize> {
        (!self.tabs.is_empty()).then(|| self.rng.usize(..self.tabs.len()))
    }

    fn some_tab_polls(&mut self) -> Result<(), Violation> {
        match self.random_tab() {
            Some(index) if !self.tabs[index].is_silent => self.poll(self.tabs[index].number),
            _ => Ok(()),
        }
    }

    fn poll(&mut self, number: u64) -> Result<(), Violation> {
        let polls_by = self.next_poll();
        let Some(index) = self.tabs.iter().position(|tab| tab.number == number) else {
            return Ok(());
        };
        let tab = &mut self.tabs[index];
        tab.polls_by = polls_by;
        let Some(redis) = &mut self.redis else {
            return Ok(());
        };
        let (user, issued_in) = (tab.user, self.issued[&number].epoch);
        let room = &redis.room;
        let is_over = room.ended.contains(&number);
        let is_superseded = room.is_superseded(user, number, issued_in);
        let ended_later = room.last_end.get(&user).is_some_and(|&epoch| epoch > issued_in);
        let was_here = room.waiting.contains_key(&number) || room.active.contains_key(&number);
        let has_expired = room.active.get(&number).is_some_and(|pass| self.now >= pass.deadline);
        match redis.poll(user, number, self.now, self.defences) {
            Answer::Gone if !is_over && !is_superseded && !has_expired => return Err(Violation::PlaceLost),
            Answer::Gone => drop(self.tabs.remove(index)),
            Answer::Waiting(given) | Answer::Active(given) if given > number => {
                return Err(Violation::HigherNumberGiven);
            }
            Answer::Waiting(_) if !was_here && is_over => return Err(Violation::EndedTicketCameBack),
            Answer::Waiting(_) if !was_here && ended_later => return Err(Violation::SecondTurn),
            Answer::Waiting(_) => self.outcome.restored += usize::from(!was_here),
            Answer::Active(_) => {}
        }
        Ok(())
    }

    fn somebody_leaves(&mut self) {
        if let (Some(index), Some(redis)) = (self.random_tab(), &mut self.redis) {
            let tab = self.tabs.remove(index);
            redis.leave(tab.user, tab.number, self.defences);
        }
    }

    fn somebody_falls_silent(&mut self) {
        if let Some(index) = self.random_tab() {
            self.tabs[index].is_silent = true;
            self.tabs[index].kept_polling = false;
        }
    }

    /// Who comes back late and finds his place again is one who keeps polling, from then on.
    fn somebody_wakes(&mut self) -> Result<(), Violation> {
        match self.random_tab() {
            Some(index) if self.tabs[index].is_silent && self.redis.is_some() => {
                self.tabs[index].is_silent = false;
                self.tabs[index].kept_polling = true;
                self.poll(self.tabs[index].number)
            }
            _ => Ok(()),
        }
    }

    fn somebody_pays(&mut self) {
        if let (Some(index), Some(redis)) = (self.random_tab(), &mut self.redis) {
            let tab = self.tabs[index];
            redis.spend(tab.user, tab.number, self.now);
        }
    }

    /// Only the ablation uses what was read: the script takes the budget itself.
    fn an_instance_reads_the_budget(&mut self) {
        let instance = self.rng.usize(..2);
        self.budgets_read[instance] = self.redis.as_ref().map(|redis| redis.budget(self.now, self.defences));
    }

    fn an_instance_ticks(&mut self) -> Result<(), Violation> {
        let instance = self.rng.usize(..2);
        let Some(redis) = &mut self.redis else {
            return Ok(());
        };
        let read_before = self.budgets_read[instance].take().unwrap_or(0);
        let budget = (!self.defences.the_script_takes_the_budget).then_some(read_before);
        let (silent, admitted) = redis.tick(self.now, budget, self.defences);
        if self.tabs.iter().any(|tab| tab.kept_polling && silent.contains(&tab.number)) {
            return Err(Violation::EndedThoughPolling);
        }
        self.outcome.admitted += admitted.len();
        for number in admitted {
            self.admissions.push(self.now);
            self.judge_admission(number)?;
        }
        Ok(())
    }

    fn commit(&mut self, count: usize) {
        let Some(redis) = &mut self.redis else { return };
        for change in redis.journal.drain(..count.min(redis.journal.len())) {
            self.durable.apply(&change);
        }
    }

    /// A fail-over to a replica that lags, or a restart that lost the last second. It is a loss like any
    /// other: a server serves only the epoch that went live on its own run. In the ablation it goes on
    /// serving.
    fn redis_falls_back(&mut self) {
        if self.defences.a_run_serves_one_epoch {
            return self.redis_is_lost();
        }
        if let Some(redis) = &mut self.redis {
            let kept = self.rng.usize(..=redis.journal.len());
            redis.fall_back(&self.durable, kept);
        }
    }

    /// Redis is lost: what is not durable is gone, but for what the writer still drained. The epoch begins
    /// and the gap is recorded in one transaction of Postgres. While a rebuild runs it may start again.
    fn redis_is_lost(&mut self) {
        let highest_before_the_fence = self.durable.counter;
        let journaled = self.redis.as_ref().map_or(0, |redis| redis.journal.len());
        let drained = self.rng.usize(..=journaled);
        self.commit(drained);
        self.outcome.losses += 1;
        self.redis = None;
        self.up_at = self.now + 1 + self.rng.u64(..=DOWN_MAX);
        let low = if self.defences.the_gap_is_taken_with_the_fence {
            self.durable.counter
        } else {
            highest_before_the_fence
        };
        if !self.defences.every_gap_is_kept {
            self.durable.gaps.clear();
        }
        let high = low + JUMP;
        self.durable.gaps.push(Gap { low, high, epoch: self.epoch, recorded_at: self.now, settled: false });
        if self.defences.numbers_jump {
            self.durable.counter = high;
        }
        self.epoch += 1;
    }

    /// No more losses and no more joins: whoever keeps polling gets in, and both stores end up the same.
    fn come_to_rest(&mut self) -> Result<(), Violation> {
        for _ in 0..STEPS_TO_REST {
            self.pass_time()?;
            if self.redis.is_some() {
                self.an_instance_reads_the_budget();
                self.an_instance_ticks()?;
            }
            self.commit(usize::MAX);
            self.judge_places()?;
        }
        if self.tabs.iter().any(|tab| tab.kept_polling) {
            return Err(Violation::NeverAdmitted);
        }
        Ok(())
    }
}
