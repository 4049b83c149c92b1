//! Passwords: bcrypt, on threads of its own that come last, a few at a time.
//!
//! A hash costs about 90 ms, a poll 10 µs: a flood of sign-ins must not cost those who wait in line. One
//! thread for each two cores hashes, at a low priority, from a short queue; what does not fit is refused at
//! once and costs nothing, and whom nobody waits for any more is not hashed.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{Code, Error};
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
    jobs: SyncSender<Job>,
    /// Compared with where there is no account, so that an unknown e-mail takes as long.
    nobody: String,
}

impl Passwords {
    /// bcrypt of this cost; so many may wait. The threads end with it.
    pub fn new(cost: u32, waiting_max: usize) -> Result<Self, Error> {
        let nobody = hash("nobody's password", cost)?;
        let (jobs, waiting) = sync_channel::<Job>(waiting_max);
        let waiting = Arc::new(Mutex::new(waiting));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for at in 0..(cores / 2).max(1) {
            let waiting = waiting.clone();
            let thread = std::thread::Builder::new().name(format!("passwords-{at}"));
            thread.spawn(move || work(&waiting)).map_err(Error::internal)?;
        }
        Ok(Self { cost, jobs, nobody })
    }

    /// The hash to store.
    pub async fn hash(&self, password: String) -> Result<String, Error> {
        let cost = self.cost;
        self.wait_for(move || hash(&password, cost)).await?
    }

    /// Whether the password is the one that was hashed; false, after as long, where there is no hash.
    pub async fn matches(&self, password: String, hash: Option<String>) -> Result<bool, Error> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        // What is too long was never set, and takes as long to refuse.
        let fits = password.len() <= PASSWORD_BYTES_MAX;
        let compare = move || {
            metrics::hashed();
            bcrypt::verify(password, &hash).unwrap_or(false)
        };
        Ok(self.wait_for(compare).await? && known && fits)
    }

    async fn wait_for<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let busy = || Error::Unavailable(Code::Busy, "too many passwords are being hashed".into());
        let (tell, told) = oneshot::channel();
        let job = move || {
            if !tell.is_closed() {
                // Who has just gone away does not hear it.
                drop(tell.send(compute()));
            }
        };
        self.jobs.try_send(Box::new(job)).map_err(|_| busy())?;
        let told = tokio::time::timeout(WAIT_MAX, told).await.map_err(|_| busy())?;
        told.map_err(Error::internal)
    }
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
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_that_was_hashed_matches() {
        let passwords = Passwords::new(4, 4).unwrap();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(passwords.matches("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.matches("wrong horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.matches("nobody's password".into(), None).await.unwrap());
        let long = "x".repeat(72);
        let hash = passwords.hash(long.clone()).await.unwrap();
        assert!(!passwords.matches(format!("{long}y"), Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn who_does_not_fit_in_is_refused_and_not_hashed() {
        let passwords = Passwords::new(4, 1).unwrap();
        let (start, started) = sync_channel(0);
        let (go, wait) = sync_channel::<()>(0);
        let wait = Arc::new(Mutex::new(wait));
        let threads = (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1);
        for _ in 0..threads {
            let (start, wait) = (start.clone(), wait.clone());
            let job = move || {
                start.send(()).unwrap();
                wait.lock().unwrap().recv().unwrap();
            };
            passwords.jobs.send(Box::new(job)).unwrap();
            started.recv().unwrap();
        }
        // All threads are held up; one job waits, the next does not fit.
        passwords.jobs.try_send(Box::new(|| {})).unwrap();
        let refused = passwords.wait_for(|| panic!("was hashed")).await;
        assert_eq!(refused.err().map(|error| error.code()), Some(Code::Busy));
        (0..threads).for_each(|_| go.send(()).unwrap());
    }
}
