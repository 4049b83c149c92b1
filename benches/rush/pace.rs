//! When requests are sent: as soon as the connection is free, or when they are due.
//!
//! At a rate, what is due does not wait for answers: each request has its time from the start, is taken by
//! whichever connection is free, and is measured from that time. So a server that stalls is charged with all
//! who would have come meanwhile (no coordinated omission).

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::client::Client;
use crate::stats::Stats;

/// Who is later than this is not sent any more.
const DROPPED: Duration = Duration::from_secs(1);
/// Who is later than this is counted.
pub const LATE: Duration = Duration::from_millis(10);
/// The timer does not go off more often: at higher rates some are sent together.
const TICK_MIN: Duration = Duration::from_micros(100);

/// Sends the next request when the last is answered, until the end.
pub async fn closed(mut client: Client, end: Instant) {
    loop {
        let now = Instant::now();
        if now >= end || !client.once(now).await {
            return;
        }
    }
}

/// The times of one thread's requests.
pub struct Slots {
    first: Instant,
    spacing: Duration,
    total: u64,
    due: Cell<u64>,
    taken: Cell<u64>,
    changed: Notify,
}

impl Slots {
    /// `total` of them.
    pub fn new(first: Instant, spacing: Duration, total: u64) -> Slots {
        Slots { first, spacing, total, due: Cell::new(0), taken: Cell::new(0), changed: Notify::new() }
    }

    /// How many nobody has taken.
    pub fn left(&self) -> u64 {
        self.total - self.taken.get()
    }

    /// Says what is due, until all is.
    pub async fn tell(&self) -> io::Result<()> {
        let timer = timer(self.first, self.spacing.max(TICK_MIN))?;
        while self.due.get() < self.total {
            ticked(&timer).await?;
            let since_first = Instant::now().saturating_duration_since(self.first);
            let due = (since_first.as_nanos() / self.spacing.as_nanos().max(1)) as u64 + 1;
            let due = due.min(self.total);
            for _ in self.due.replace(due)..due {
                self.changed.notify_one();
            }
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// The time of the next that is due; none after the last.
    async fn take(&self) -> Option<Instant> {
        loop {
            let taken = self.taken.get();
            if taken < self.due.get() {
                self.taken.set(taken + 1);
                return Some(self.first + Duration::from_nanos(self.spacing.as_nanos() as u64 * taken));
            }
            if taken == self.total {
                return None;
            }
            self.changed.notified().await;
        }
    }
}

/// Sends what is due, until nothing is left.
pub async fn open(mut client: Client, slots: Rc<Slots>, stats: Rc<RefCell<Stats>>) {
    while let Some(due) = slots.take().await {
        let late = Instant::now().saturating_duration_since(due);
        if late > DROPPED {
            stats.borrow_mut().dropped += 1;
            continue;
        }
        stats.borrow_mut().late += u64::from(late > LATE);
        if !client.once(due).await {
            return;
        }
    }
}

/// A timer of the kernel: those of tokio go by whole milliseconds, which is more than many answers take.
fn timer(first: Instant, interval: Duration) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
    // Nothing would mean never.
    let until_first = first.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
    let times = Itimerspec { it_interval: timespec(interval), it_value: timespec(until_first) };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    // Deprecated for types whose descriptor may change or close, which an `OwnedFd` cannot; what replaces it
    // is an unsafe function, and this crate has no unsafe code.
    #[allow(deprecated)]
    AsyncFd::new(timer)
}

async fn ticked(timer: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut ready = timer.readable().await?;
        let mut times = [0; 8];
        if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut times)?)) {
            return read.map(drop);
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}
