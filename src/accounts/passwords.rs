//! Passwords: bcrypt, off the threads that serve, a few at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::{Code, Error};

/// Hashings that may wait for their turn.
const WAITING_MAX: usize = 64;
/// How long one may wait.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What bcrypt reads of a password, in bytes. The crate's `non_truncating` calls refuse 72 as well, for the
/// NUL that the specification appends; a password of 72 bytes loses nothing but that NUL, so the limit is
/// checked here.
pub const PASSWORD_BYTES_MAX: usize = 72;

/// The hash of a password, in the calling thread. Refuses what bcrypt would cut off.
pub fn hash(password: &str, cost: u32) -> Result<String, Error> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Error::invalid("password", "must have at most 72 bytes"));
    }
    bcrypt::hash(password, cost).map_err(Error::internal)
}

/// Hashes and compares.
pub struct Passwords {
    cost: u32,
    running: Arc<Semaphore>,
    waiting: Semaphore,
    /// Compared with where there is no account, so that an unknown e-mail takes as long.
    nobody: String,
}

impl Passwords {
    /// bcrypt of this cost; half of the machine's cores work for it.
    pub fn new(cost: u32) -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let nobody = hash("nobody's password", cost)?;
        Ok(Self {
            cost,
            running: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: Semaphore::new(WAITING_MAX),
            nobody,
        })
    }

    /// The hash to store.
    pub async fn hash(&self, password: String) -> Result<String, Error> {
        let cost = self.cost;
        self.work(move || hash(&password, cost)).await?
    }

    /// Whether the password is the one that was hashed; false, after as long, where there is no hash.
    pub async fn matches(&self, password: String, hash: Option<String>) -> Result<bool, Error> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        // What is too long was never set, and takes as long to refuse.
        let fits = password.len() <= PASSWORD_BYTES_MAX;
        let same = self.work(move || bcrypt::verify(password, &hash).unwrap_or(false)).await?;
        Ok(same && known && fits)
    }

    async fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let busy = || Error::Unavailable(Code::Busy, "too many passwords are being hashed".into());
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = tokio::time::timeout(WAIT_MAX, self.running.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| busy())?.map_err(Error::internal)?;
        let job = tokio::task::spawn_blocking(move || {
            let result = job();
            drop(turn);
            result
        });
        job.await.map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_that_was_hashed_matches() {
        let passwords = Passwords::new(4).unwrap();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(passwords.matches("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.matches("wrong horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.matches("nobody's password".into(), None).await.unwrap());
        let long = "x".repeat(72);
        let hash = passwords.hash(long.clone()).await.unwrap();
        assert!(!passwords.matches(format!("{long}y"), Some(hash)).await.unwrap());
    }
}
