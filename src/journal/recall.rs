//! What a request came to before.

use uuid::Uuid;

use super::request::Request;
use super::table::recall::{self, Recalled};
use super::{Done, Journal, OpStep};
use crate::error::{Code, Error};
use crate::redis::Space;

impl Journal {
    /// The committed steps of a request that came before with the same key; none without a key. A key that
    /// was used for something else is refused.
    pub async fn recall(&self, request: &Request) -> Result<Vec<Recalled>, Error> {
        match self.age_if_new(request, None) {
            Some(_) => Ok(Vec::new()),
            None => self.asked_before(request).await,
        }
    }

    /// Milliseconds since a look-up by which the request's key is new, to be used in `space`; `None` where
    /// Postgres has to be asked.
    pub(super) fn age_if_new(&self, request: &Request, space: Option<&Space>) -> Option<i64> {
        self.familiar.age_if_new(request.scope.as_ref()?, space)
    }

    /// The same, by Postgres' word.
    pub(super) async fn asked_before(&self, request: &Request) -> Result<Vec<Recalled>, Error> {
        let Some(scope) = request.scope.clone() else { return Ok(Vec::new()) };
        let mut steps = self.recall.ask(scope).await?;
        steps.sort_by_key(|step| (step.op.op != request.op, step.op.step));
        let first = steps.first().and_then(|step| step.requested.as_ref());
        if first.is_some_and(|asked| !request.is_what_was(asked)) {
            return Err(Error::refused(Code::IdempotencyKeyReused));
        }
        steps.retain(|step| step.op.op == request.op);
        Ok(steps)
    }

    /// Boxed, like all that is rare, so that the futures of those who write stay small.
    pub(super) async fn committed_step(&self, op: OpStep) -> Result<Option<Done>, Error> {
        let steps = Box::pin(self.steps_of(op.op)).await?;
        Ok(steps.into_iter().find(|step| step.op == op).map(Done::recalled))
    }

    /// The committed steps of an operation, whoever asked for it.
    pub async fn steps_of(&self, op: Uuid) -> Result<Vec<Recalled>, Error> {
        recall::by_op(&self.pool, op).await
    }
}
