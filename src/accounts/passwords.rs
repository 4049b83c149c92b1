//! Passwords: bcrypt, on threads of its own that come last, a few at a time.
//!
//! A hash costs about 90 ms, a poll 10 µs: a flood of sign-ins must not cost those who wait in line. One
//! thread for each two cores hashes, at a low priority, from a short queue; what does not fit is refused at
//! once and costs nothing, and whom nobody waits for any more is not hashed.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::{Code, Error};
use crate::http::peer;
use crate::http::shares::{Share, Shares};
use crate::metrics;

/// How long one may wait.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The threads' niceness: about a tenth of a core's time where all of it is wanted, all where it is not.
const NICENESS: i32 = 10;

/// What bcrypt reads of a password, in bytes. The crate's `non_truncating` calls refuse 72 as well, for the
/// NUL that the specification appends; a password of 72 bytes loses nothing but that NUL, so the limit is
/// checked here.
pub const PASSWORD_BYTES_MAX: usize = 72;

/// The hash of a password, in the calling thread. Refuses what bcrypt would cut off.
pub fn hash(password: &str, cost: u32) -> Result<String, Error> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Error::invalid("password", "must have at most 72 bytes"));
    }
    metrics::hashed();
    bcrypt::hash(password, cost).map_err(Error::internal)
}

type Job = Box<dyn FnOnce() + Send>;

/// Hashes and compares.
pub struct Passwords {
    cost: u32,
    jobs: Sender<Job>,
    /// Places in the queue, and at the threads.
    room: Arc<Semaphore>,
    by_address: Arc<Shares<IpAddr>>,
    address_max: Option<usize>,
    /// Compared with where there is no account, so that an unknown e-mail takes as long.
    nobody: String,
}

/// The right to have one password hashed.
pub struct Place {
    _room: OwnedSemaphorePermit,
    _share: Option<Share<IpAddr>>,
}

impl Passwords {
    /// bcrypt of this cost; so many may wait, half of them of one address where `shared` is asked for.
    /// The threads end with it.
    pub fn new(cost: u32, waiting_max: usize, shared: bool) -> Result<Self, Error> {
        let nobody = hash("nobody's password", cost)?;
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let threads = threads();
        for at in 0..threads {
            let waiting = waiting.clone();
            let thread = std::thread::Builder::new().name(format!("passwords-{at}"));
            thread.spawn(move || work(&waiting)).map_err(Error::internal)?;
        }
        let room = Arc::new(Semaphore::new(waiting_max + threads));
        let address_max = shared.then_some(waiting_max.div_ceil(2));
        Ok(Self { cost, jobs, room, by_address: Arc::default(), address_max, nobody })
    }

    /// A place, for a client's address if it is one's; busy at once when there is none.
    pub fn place(&self, client: Option<IpAddr>) -> Result<Place, Error> {
        let busy = || Error::Unavailable(Code::Busy, "too many passwords are being hashed".into());
        let room = self.room.clone().try_acquire_owned().map_err(|_| busy())?;
        let share = match client.map(peer::counted) {
            Some(client) => Some(self.by_address.take(client, self.address_max).ok_or_else(busy)?),
            None => None,
        };
        Ok(Place { _room: room, _share: share })
    }

    /// The hash to store.
    pub async fn hash(&self, place: Place, password: String) -> Result<String, Error> {
        let cost = self.cost;
        self.wait_for(place, move || hash(&password, cost)).await?
    }

    /// Whether the password is the one that was hashed; false, after as long, where there is no hash.
    pub async fn matches(&self, place: Place, password: String, hash: Option<String>) -> Result<bool, Error> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        // What is too long was never set, and takes as long to refuse.
        let fits = password.len() <= PASSWORD_BYTES_MAX;
        let compare = move || {
            metrics::hashed();
            bcrypt::verify(password, &hash).unwrap_or(false)
        };
        Ok(self.wait_for(place, compare).await? && known && fits)
    }

    async fn wait_for<T: Send + 'static>(
        &self,
        place: Place,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        let job = move || {
            if !tell.is_closed() {
                // Who has just gone away does not hear it.
                drop(tell.send(compute()));
            }
            drop(place);
        };
        self.jobs.send(Box::new(job)).map_err(|_| Error::internal("no thread hashes passwords any more"))?;
        match tokio::time::timeout(WAIT_MAX, told).await {
            Ok(told) => told.map_err(|_| Error::internal("hashing a password panicked")),
            Err(_) => Err(Error::Unavailable(Code::Busy, "a password waited for long to be hashed".into())),
        }
    }
}

/// One for each two cores.
fn threads() -> usize {
    (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1)
}

/// One thread's work, until nobody can ask any more.
fn work(waiting: &Mutex<Receiver<Job>>) {
    // On Linux this is the calling thread's own.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::warn!(%error, "passwords are hashed at the usual priority");
    }
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            // The thread outlives a job that does not end well; who waits for it hears nothing.
            Ok(job) => drop(catch_unwind(AssertUnwindSafe(job))),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_that_was_hashed_matches() {
        let passwords = Passwords::new(4, 4, false).unwrap();
        let place = || passwords.place(None).unwrap();
        let matches = async |password: &str, hash: Option<&String>| {
            passwords.matches(place(), password.into(), hash.cloned()).await.unwrap()
        };
        let hash = passwords.hash(place(), "correct horse".into()).await.unwrap();
        assert!(matches("correct horse", Some(&hash)).await);
        assert!(!matches("wrong horse", Some(&hash)).await);
        assert!(!matches("nobody's password", None).await);
        let long = "x".repeat(72);
        let hash = passwords.hash(place(), long.clone()).await.unwrap();
        assert!(!matches(&format!("{long}y"), Some(&hash)).await);
    }

    #[tokio::test]
    async fn who_does_not_fit_in_is_refused_and_one_address_takes_half() {
        let passwords = Passwords::new(4, 4, true).unwrap();
        let (one, other) = ("1.1.1.1".parse().ok(), "2.2.2.2".parse().ok());
        let held = [passwords.place(one).unwrap(), passwords.place(one).unwrap()];
        assert_eq!(passwords.place(one).err().map(|error| error.code()), Some(Code::Busy));
        let mut others = vec![passwords.place(other).unwrap(), passwords.place(other).unwrap()];
        while let Ok(place) = passwords.place(None) {
            others.push(place);
        }
        assert_eq!(held.len() + others.len(), 4 + threads());
        drop(others.pop());
        passwords.hash(passwords.place(None).unwrap(), "a password".into()).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_hashes_comes_last() {
        let passwords = Passwords::new(4, 4, false).unwrap();
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let theirs = passwords.wait_for(passwords.place(None).unwrap(), niceness).await.unwrap();
        assert_eq!((theirs, niceness()), (NICENESS, 0), "the threads', and not the process's");
    }

    #[tokio::test]
    async fn a_panic_ends_no_thread_and_who_went_away_is_not_hashed() {
        let passwords = Passwords::new(4, 4, false).unwrap();
        for _ in 0..threads() + 1 {
            let place = passwords.place(None).unwrap();
            assert!(passwords.wait_for(place, || panic!("a job that does not end well")).await.is_err());
        }
        // Held up until who asked has gone away.
        let (go, wait) = channel::<()>();
        let hold = passwords.wait_for(passwords.place(None).unwrap(), move || wait.recv().is_ok());
        let gone = passwords.wait_for(passwords.place(None).unwrap(), || panic!("was hashed"));
        let gone = tokio::time::timeout(Duration::from_millis(1), gone);
        let ended = tokio::join!(hold, async {
            assert!(gone.await.is_err() || threads() > 1);
            go.send(()).unwrap();
        });
        assert!(ended.0.unwrap());
    }
}
