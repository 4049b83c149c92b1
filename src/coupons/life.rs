//! What becomes of a coupon after it was made. Postgres decides: requests that wait while a transaction is
//! under way go into the next one together, which locks their coupons in the order of codes, decides one
//! request after the other, and writes the outcome, its history and the records of keys at once.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::model::{Coupon, Status};
use super::table::life;
use crate::app::App;
use crate::audit::model::Act;
use crate::batch::Batcher;
use crate::clock::Clock;
use crate::error::{Code, Error};
use crate::http::identity::{Actor, Identity};
use crate::ids::{InstanceId, UserId};
use crate::journal::{IdempotencyKey, Request};
use crate::metrics;

/// Requests that one transaction decides.
const BATCH_MAX: usize = 500;

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Action {
    /// ASSIGNED → USED, by its owner.
    Use,
    /// USED → ASSIGNED.
    CancelUse,
    /// CREATED → ASSIGNED.
    Assign(UserId),
    /// No more; not when it is USED.
    Delete,
}

impl Action {
    fn operation(&self) -> &'static str {
        match self {
            Self::Use => "coupons.use",
            Self::CancelUse => "coupons.cancel_use",
            Self::Assign(_) => "coupons.assign",
            Self::Delete => "coupons.delete",
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Change {
    /// The canonical code.
    pub code: String,
    /// What is asked for.
    pub action: Action,
    /// Who asks.
    pub me: Identity,
    /// With its key, and what the audit log will say.
    pub request: Request,
}

/// What a request came to: the coupon as it is now, whether an earlier request with the same key did it.
pub type Changed = Result<(Coupon, bool), Code>;

/// The task that changes coupons.
pub type Life = Batcher<Change, Changed>;

/// Starts the task.
pub fn start(pool: PgPool, clock: Clock, me: InstanceId, patience: std::time::Duration) -> Life {
    // Rows of one counter are written by some instances, not by all.
    let slot = (me.uuid().as_u128() & 15) as i16;
    Batcher::spawn(BATCH_MAX, patience * 2, move |changes: Vec<Change>| {
        let (pool, now) = (pool.clone(), clock.now());
        async move {
            let deciding = life::decide_all(&pool, &changes, now, slot);
            let late = || Err(Error::outcome_unknown("postgres did not change coupons in time"));
            let decided = tokio::time::timeout(patience, deciding).await.unwrap_or_else(|_| late())?;
            let is_use = |(change, changed): &(&Change, &Changed)| {
                matches!((&change.action, changed), (Action::Use, Ok((_, false))))
            };
            metrics::coupon("used", changes.iter().zip(&decided).filter(is_use).count() as u64);
            Ok(decided)
        }
    })
}

/// Changes one coupon.
pub async fn change(
    app: &App,
    by: &Actor,
    code: String,
    action: Action,
    key: Option<IdempotencyKey>,
) -> Result<(Coupon, bool), Error> {
    let body = match &action {
        Action::Assign(user) => Some(user.to_string()),
        _ => None,
    };
    let mut request = Request::new(by.me.user, action.operation(), &code, &body, key);
    let is_act = !matches!(action, Action::Use);
    if is_act && by.me.role.operates() {
        let after = body.map(|user| serde_json::json!({"userId": user}));
        request = request.audited(Act::new(by, format_args!("coupons/{code}"), after.as_ref()));
    }
    let _turn = app.journal.turn(&request).await?;
    let change = Change { code, action, me: by.me, request };
    app.life.ask(change).await?.map_err(Error::refused)
}

/// Decides one request: the coupon's new state, or why not. `user_exists` is asked of whom it is to be given.
pub fn decide(
    coupon: &Coupon,
    change: &Change,
    now: DateTime<Utc>,
    user_exists: impl Fn(UserId) -> bool,
) -> Result<Coupon, Code> {
    let is_his = coupon.user_id == Some(change.me.user);
    let may = match change.action {
        Action::Use => is_his,
        Action::CancelUse => is_his || change.me.role.operates(),
        Action::Assign(_) | Action::Delete => true,
    };
    if !may {
        return Err(Code::CouponNotFound);
    }
    if coupon.expires_at <= now {
        return Err(Code::CouponExpired);
    }
    let mut next = coupon.clone();
    match (&change.action, coupon.status) {
        (Action::Use, Status::Assigned) => {
            next.status = Status::Used;
            next.used_at = Some(now);
        }
        (Action::CancelUse, Status::Used) => {
            next.status = Status::Assigned;
            next.used_at = None;
        }
        (Action::Assign(user), Status::Created) => {
            if !user_exists(*user) {
                return Err(Code::UserNotFound);
            }
            next.status = Status::Assigned;
            next.user_id = Some(*user);
            next.assigned_at = Some(now);
        }
        (Action::Delete, Status::Created | Status::Assigned) => next.status = Status::Deleted,
        _ => return Err(Code::CouponState),
    }
    Ok(next)
}
