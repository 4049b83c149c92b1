//! Many small questions asked as one: whatever waits while a call is under way goes out with the next.
//!
//! A lone question goes out at once, so an idle system has no added delay; a busy one asks in large batches.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::error::Error;

/// Questions that may wait; beyond them `ask` waits for room.
const WAITING_MAX: usize = 10_000;

type Waiting<Q, A> = (Q, oneshot::Sender<Result<A, Arc<Error>>>);

/// Sends questions `Q` to one task, which answers them in batches with `A`.
#[derive(Debug)]
pub struct Batcher<Q, A> {
    sender: mpsc::Sender<Waiting<Q, A>>,
    answer_max: Duration,
}

impl<Q, A> Batcher<Q, A>
where
    Q: Send + 'static,
    A: Send + 'static,
{
    /// Starts the task, which ends when the batcher is dropped. `answer` gives one answer for each question,
    /// in order; a batch holds at most `batch_max`. A batch may take `answer_max`, and so may a question,
    /// however many batches are before it.
    pub fn spawn<F, Fut>(batch_max: usize, answer_max: Duration, answer: F) -> Self
    where
        F: Fn(Vec<Q>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Vec<A>, Error>> + Send + 'static,
    {
        Self::spawn_overlapping(batch_max, answer_max, answer_max, answer)
    }

    /// The same, but a batch that takes longer than `next_after` does not hold up the next: where who answers
    /// hangs, each question waits for its own answer and for hardly more.
    pub fn spawn_overlapping<F, Fut>(
        batch_max: usize,
        answer_max: Duration,
        next_after: Duration,
        answer: F,
    ) -> Self
    where
        F: Fn(Vec<Q>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Vec<A>, Error>> + Send + 'static,
    {
        let (sender, mut receiver) = mpsc::channel::<Waiting<Q, A>>(WAITING_MAX);
        tokio::spawn(async move {
            let mut waiting = Vec::with_capacity(batch_max);
            while receiver.recv_many(&mut waiting, batch_max).await > 0 {
                // Who asked may have given up while the last batch was under way.
                waiting.retain(|(_, reply)| !reply.is_closed());
                if waiting.is_empty() {
                    continue;
                }
                let (questions, replies): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
                let answers = tokio::time::timeout(answer_max, answer(questions));
                let answering = tokio::spawn(async move {
                    deliver(answers.await.unwrap_or_else(|_| Err(late())), replies);
                });
                drop(tokio::time::timeout(next_after, answering).await);
            }
        });
        Self { sender, answer_max }
    }

    /// Asks and waits for the answer.
    pub async fn ask(&self, question: Q) -> Result<A, Error> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Error::Unavailable(crate::error::Code::Draining, "the batcher has stopped".into());
        let asked = async {
            if let Err(mpsc::error::TrySendError::Full(waits)) = self.sender.try_send((question, reply)) {
                // Boxed: there is room nearly always, and each question would carry this along.
                Box::pin(self.sender.send(waits)).await.map_err(|_| stopped())?;
            }
            answer.await.map_err(|_| stopped())?.map_err(|error| copy(&error))
        };
        tokio::time::timeout(self.answer_max, asked).await.unwrap_or_else(|_| Err(late()))
    }
}

fn late() -> Error {
    Error::unavailable("a batch of questions was not answered in time")
}

fn deliver<A>(answers: Result<Vec<A>, Error>, replies: Vec<oneshot::Sender<Result<A, Arc<Error>>>>) {
    let answers = answers.and_then(|answers| {
        let (got, asked) = (answers.len(), replies.len());
        let same = got == asked;
        same.then_some(answers)
            .ok_or_else(|| Error::internal(format_args!("{got} answers to {asked} questions")))
    });
    match answers {
        // Who asked may have gone; then nobody reads the answer.
        Ok(answers) => {
            replies.into_iter().zip(answers).for_each(|(reply, answer)| drop(reply.send(Ok(answer))))
        }
        Err(error) => {
            let error = Arc::new(error);
            replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
        }
    }
}

/// A failure is told to all who waited.
pub fn copy(error: &Error) -> Error {
    match error {
        Error::Refused(refusal) => Error::Refused(refusal.clone()),
        Error::Unavailable(code, why) => Error::Unavailable(*code, why.clone()),
        Error::Internal(what) => Error::Internal(what.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn each_question_gets_its_own_answer() {
        let batcher = Batcher::spawn(7, PATIENCE, async |questions: Vec<u64>| {
            tokio::task::yield_now().await;
            Ok(questions.into_iter().map(|question| question * 2).collect())
        });
        let asked = (0..100).map(|number| batcher.ask(number));
        for (number, answer) in futures::future::join_all(asked).await.into_iter().enumerate() {
            assert_eq!(answer.unwrap(), number as u64 * 2);
        }
    }

    #[tokio::test]
    async fn a_batch_that_hangs_does_not_hold_up_the_next() {
        let answer = async |questions: Vec<u64>| {
            if questions.contains(&0) {
                std::future::pending::<()>().await;
            }
            Ok(questions)
        };
        let batcher = Batcher::spawn_overlapping(7, PATIENCE, Duration::from_millis(1), answer);
        let hung = batcher.ask(0);
        tokio::pin!(hung);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut hung).await.is_err());
        assert_eq!(batcher.ask(1).await.unwrap(), 1);
        assert!(tokio::time::timeout(Duration::from_millis(1), hung).await.is_err());
    }

    #[tokio::test]
    async fn a_failure_reaches_all_who_wait() {
        let batcher: Batcher<u64, u64> =
            Batcher::spawn(7, PATIENCE, async |_| Err(Error::unavailable("gone")));
        let asked = (0..3).map(|number| batcher.ask(number));
        assert!(futures::future::join_all(asked).await.iter().all(Result::is_err));
    }
}
