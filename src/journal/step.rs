//! One step of an operation, and what it came to.

use std::time::Duration;

use uuid::Uuid;

use super::entry::{Facts, OpStep, Receipt};
use super::request::Request;
use super::table::recall::Recalled;
use crate::error::{Code, Error};
use crate::redis::Reply;
use crate::sabotage::Sabotage;

/// How long things may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A handler waits so long for Postgres.
    pub ack_timeout: Duration,
    /// A shard refuses new durable operations when its oldest entry has waited longer.
    pub busy_after: Duration,
    /// A shard refuses joins when its oldest entry has waited longer.
    pub join_busy_after: Duration,
    /// Nothing, but in a negative control.
    pub sabotage: Sabotage,
}

/// Whether a step may be refused because Postgres is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The first step of a new durable operation.
    Durable,
    /// A join.
    Join,
    /// Later steps, voids, sweeps: never refused.
    Exempt,
}

/// One step of an operation, ready to be sent.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is the effect of.
    pub op: OpStep,
    /// Whether it may be refused as `busy`.
    pub gate: Gate,
    /// The journal's lines of who asked and who acted; empty on later steps.
    pub lines: String,
    /// Of the request.
    pub fingerprint: String,
}

impl Step {
    /// The first step of a client's request.
    pub fn first(request: &Request) -> Self {
        Self {
            op: OpStep { op: request.op, step: 1 },
            gate: Gate::Durable,
            lines: request.lines(),
            fingerprint: request.fingerprint.clone(),
        }
    }

    /// A later step, or the system's own doing.
    pub fn exempt(op: Uuid, step: u8) -> Self {
        Self { op: OpStep { op, step }, gate: Gate::Exempt, lines: String::new(), fingerprint: String::new() }
    }
}

/// A step that took effect, now or before.
#[derive(Clone, Debug)]
pub struct Done {
    /// Where it stands.
    pub receipt: Receipt,
    /// When, in milliseconds.
    pub at_ms: i64,
    /// What happened: the answer is made from this and nothing else.
    pub facts: Facts,
    /// It had happened before this call.
    pub replayed: bool,
}

impl Done {
    /// A committed step, told again.
    pub fn recalled(step: Recalled) -> Self {
        Self { receipt: step.receipt, at_ms: step.at_ms, facts: step.facts, replayed: true }
    }
}

/// What a script came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It took effect, and is durable where that was waited for.
    Done(Done),
    /// It changed nothing; the word says why.
    Refused(Reply),
}

impl Outcome {
    /// A refusal as the client is told it; its word is a code of the contract.
    pub fn done(self) -> Result<Done, Error> {
        match self {
            Self::Done(done) => Ok(done),
            Self::Refused(reply) => Err(refusal(&reply)),
        }
    }
}

/// A script's refusal as an error.
pub fn refusal(reply: &Reply) -> Error {
    match Code::from_word(reply.word()) {
        Some(code) if code.status() >= 500 => Error::Unavailable(code, "a script said so".into()),
        Some(code) => Error::refused(code),
        None => Error::internal(format_args!("a script answered {:?}", reply.word())),
    }
}
