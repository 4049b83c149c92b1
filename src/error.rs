//! Every way in which a request can fail, in one table: word, HTTP status, retry hint, meaning.
//!
//! `Refused` tells the caller, `Unavailable` says "later", `Internal` says "mend us". The same word stands in
//! Lua, in Rust, in the problem's `code`, in metrics and on the page `/problems/{code}`.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

/// Declares the codes: `Variant "word" status "Title" "What it means and what to do."`.
macro_rules! codes {
    ($($variant:ident $word:literal $status:literal $title:literal $meaning:literal;)+) => {
        /// A problem's code. The word is the contract; the variant is how the code names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each variant's meaning stands in the table")]
        pub enum Code { $($variant),+ }

        impl Code {
            /// All codes, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant),+];

            /// The word that clients compare with.
            pub fn word(self) -> &'static str {
                match self { $(Code::$variant => $word),+ }
            }

            /// The HTTP status that the code always comes with.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => $status),+ }
            }

            /// A short human title, the same for each occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),+ }
            }

            /// What it means and what the caller may do.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning),+ }
            }

            /// The code of a word; scripts refuse with these words.
            pub fn from_word(word: &str) -> Option<Code> {
                match word { $($word => Some(Code::$variant),)+ _ => None }
            }
        }
    };
}

codes! {
    InvalidRequest "invalid_request" 400 "The request is not valid"
        "The body, a query parameter or a header could not be read or is out of range; `errors` names the fields. Mend it and send it again.";
    IdempotencyKeyMissing "idempotency_key_missing" 400 "Idempotency-Key is missing"
        "This write needs an `Idempotency-Key` header (1–255 visible ASCII characters), so that a repeat takes effect once.";
    Unauthenticated "unauthenticated" 401 "Not signed in"
        "The bearer token is missing, malformed, expired or revoked. Sign in again.";
    CredentialsInvalid "credentials_invalid" 401 "E-mail or password is wrong"
        "No account matches. The answer is the same, and takes as long, whether or not the e-mail is known.";
    RefreshTokenInvalid "refresh_token_invalid" 401 "The refresh token is not valid"
        "It is malformed, expired or of a family that has ended. Sign in again.";
    RefreshTokenReused "refresh_token_reused" 401 "The refresh token was used before"
        "A spent refresh token came back, so the whole family has ended: it may have been stolen. Sign in again.";
    QueueTokenInvalid "queue_token_invalid" 401 "The queue token is not valid"
        "The `Queue-Token` header is missing, was not signed by us, or belongs to another queue. Join the queue.";
    Forbidden "forbidden" 403 "Not allowed"
        "You are signed in, but your role or account may not do this.";
    NotFound "not_found" 404 "No such page" "No route has this path.";
    UserNotFound "user_not_found" 404 "No such user" "There is no user with this id.";
    ConcertNotFound "concert_not_found" 404 "No such concert" "There is no concert with this id.";
    ShowNotFound "show_not_found" 404 "No such show" "The concert has no show on this date.";
    SeatNotFound "seat_not_found" 404 "No such seat" "The show has no seat with this number.";
    QueueNotFound "queue_not_found" 404 "No such queue" "There is no queue with this id.";
    ReservationNotFound "reservation_not_found" 404 "No such reservation"
        "There is no reservation with this id that you may see.";
    PaymentNotFound "payment_not_found" 404 "No such payment"
        "There is no payment with this id that you may see.";
    MenuNotFound "menu_not_found" 404 "No such menu" "Nothing on the menu has this id.";
    OrderNotFound "order_not_found" 404 "No such order" "There is no order with this id that you may see.";
    CampaignNotFound "campaign_not_found" 404 "No such campaign" "There is no coupon campaign with this id.";
    CouponNotFound "coupon_not_found" 404 "No such coupon"
        "There is no coupon with this code that you may see.";
    ImportNotFound "import_not_found" 404 "No such import" "There is no import of coupons with this id.";
    EventNotFound "event_not_found" 404 "No such event" "There is no event with this id.";
    RewardNotFound "reward_not_found" 404 "No such reward"
        "There is no reward with this id, or the event does not give it out.";
    RewardRequestNotFound "reward_request_not_found" 404 "No such request"
        "There is no request for a reward with this id.";
    MethodNotAllowed "method_not_allowed" 405 "Method not allowed"
        "The path exists, but not with this method; `Allow` lists those that do.";
    EmailTaken "email_taken" 409 "E-mail is taken" "An account with this e-mail exists. Sign in instead.";
    ShowExists "show_exists" 409 "Show exists" "The concert already has a show on this date.";
    SeatTaken "seat_taken" 409 "Seat is taken"
        "At least one of the seats is held or sold; none was given to you. Choose others.";
    SeatLimit "seat_limit" 409 "Seat limit reached"
        "What you hold and have bought, with this request, would exceed the seats a user may have in a show.";
    ShowNotOpen "show_not_open" 409 "Show is not on sale"
        "The sale has not begun, has ended, or the day is past.";
    ReservationClosed "reservation_closed" 409 "Reservation is closed"
        "The reservation was paid or cancelled; nothing is left to do with it.";
    BalanceInsufficient "balance_insufficient" 409 "Not enough points"
        "The balance does not cover the amount. Charge points and send the same request again.";
    BalanceLimit "balance_limit" 409 "Balance limit reached"
        "The balance would exceed 9 007 199 254 740 991 points.";
    PaymentAborted "payment_aborted" 409 "Payment was aborted"
        "The payment was given up half-way and the points are back. Try again with a new key.";
    CouponAlreadyClaimed "coupon_already_claimed" 409 "Claimed already"
        "You have as many coupons of this campaign as one user may have.";
    CouponState "coupon_state" 409 "The coupon's state does not allow it"
        "It is not ASSIGNED (to use it), USED (to take the use back), CREATED (to assign it), or it is USED (to delete it).";
    CampaignNotOpen "campaign_not_open" 409 "Campaign is not open"
        "Claiming has not begun, has ended, or the campaign's coupons have expired.";
    RewardAlreadyRequested "reward_already_requested" 409 "Requested already"
        "You have asked for this reward in this event before; in a daily event, today.";
    EventNotOpen "event_not_open" 409 "Event is not open"
        "It has not begun, has ended, or is switched off.";
    ConditionNotMet "condition_not_met" 409 "The condition is not met"
        "The event asks for more; `progress` says how far you are.";
    RewardRequestClosed "reward_request_closed" 409 "Request is closed"
        "It was granted or rejected, or is being granted; nothing is left to decide.";
    QueueClosed "queue_closed" 409 "Queue is closed" "The queue takes nobody in.";
    IdempotencyInProgress "idempotency_in_progress" 409 "The first request is still running"
        "A request with this key has not ended yet. Ask again with the same key in a moment.";
    QueueTicketGone "queue_ticket_gone" 410 "The place in the queue is gone"
        "The ticket was left, lapsed, spent or has expired. Join again.";
    HoldExpired "hold_expired" 410 "The hold has expired"
        "The seats were not paid in time and are free again.";
    CouponExpired "coupon_expired" 410 "The coupon has expired" "Its `expiresAt` is past.";
    CouponSoldOut "coupon_sold_out" 410 "Sold out" "All coupons of the campaign are claimed.";
    RewardOutOfStock "reward_out_of_stock" 410 "Out of stock"
        "All there is of the reward is given out or asked for.";
    VersionConflict "version_conflict" 412 "It has changed"
        "`If-Match` names another version than it has now. Read it again and decide anew.";
    BodyTooLarge "body_too_large" 413 "Body is too large" "The request body exceeds the limit.";
    UnsupportedMediaType "unsupported_media_type" 415 "Unsupported media type"
        "Send the body as `application/json`.";
    IdempotencyKeyReused "idempotency_key_reused" 422 "Idempotency-Key was used for something else"
        "The key was sent before with another body or for another target. Use a new key.";
    VersionRequired "version_required" 428 "If-Match is missing"
        "This change needs an `If-Match` header with the version that you have read (its `ETag`).";
    QueueNotAdmitted "queue_not_admitted" 429 "Not your turn yet"
        "You still wait; `position` says where. Poll the ticket every `pollAfterMs`.";
    QueueFull "queue_full" 429 "Queue is full" "The queue holds as many as it may. Try again later.";
    RateLimited "rate_limited" 429 "Too many requests"
        "You, or your address, ask more often than is allowed; `RateLimit` says how you stand. Wait for `Retry-After` seconds.";
    InternalError "internal_error" 500 "Our mistake"
        "Something that must not happen has happened. It was logged with the request id.";
    Busy "busy" 503 "Busy"
        "Nothing was written: the store is behind. Send the same request again after `Retry-After`.";
    Unavailable "unavailable" 503 "Unavailable for a moment"
        "A server is away or a part of the data is being rebuilt. Send the same request again after `Retry-After`.";
    Draining "draining" 503 "This instance is going away"
        "Send the request again; another instance will take it.";
    OutcomeUnknown "outcome_unknown" 504 "The outcome is not known yet"
        "It may have been written or not. Repeat it with the same `Idempotency-Key` to learn which.";
}

impl Code {
    /// Seconds for `Retry-After`; `None` where waiting does not help.
    pub fn retry_after_seconds(self) -> Option<u32> {
        match self {
            Code::QueueNotAdmitted
            | Code::RateLimited
            | Code::Busy
            | Code::Unavailable
            | Code::Draining
            | Code::OutcomeUnknown
            | Code::IdempotencyInProgress => Some(1),
            Code::QueueFull => Some(5),
            _ => None,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One field that was wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where, as a JSON path (`seatNumbers[2]`).
    pub field: String,
    /// Why, for people.
    pub message: String,
}

/// What the caller did wrong or came too late for; part of the contract, never logged as a failure.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The code, and with it the status.
    pub code: Code,
    /// This occurrence, for people; the code's meaning where there is nothing more to say.
    pub detail: Option<String>,
    /// The fields of the body or query that were wrong.
    pub errors: Vec<FieldError>,
    /// Members that only this code carries (`position`, `pollAfterMs`).
    pub members: Map<String, Value>,
    /// Whether this refusal was recorded and is being told again.
    pub replayed: bool,
    /// How long to wait, where it is known better than by the code.
    pub retry_after: Option<Duration>,
}

/// A request's failure.
#[derive(Debug)]
pub enum Error {
    /// Tell the caller.
    Refused(Box<Refusal>),
    /// Retry later: `busy`, `unavailable`, `draining`, `outcome_unknown`. The text is for the log.
    Unavailable(Code, String),
    /// Mend us.
    Internal(String),
}

impl Error {
    /// A refusal with nothing more to say than its code.
    pub fn refused(code: Code) -> Self {
        Self::Refused(Box::new(Refusal {
            code,
            detail: None,
            errors: Vec::new(),
            members: Map::new(),
            replayed: false,
            retry_after: None,
        }))
    }

    /// A refusal that explains this occurrence.
    pub fn because(code: Code, detail: impl Into<String>) -> Self {
        match Self::refused(code) {
            Self::Refused(mut refusal) => {
                refusal.detail = Some(detail.into());
                Self::Refused(refusal)
            }
            other => other,
        }
    }

    /// A refusal with members that only its code carries.
    pub fn with(code: Code, members: Map<String, Value>) -> Self {
        match Self::refused(code) {
            Self::Refused(mut refusal) => {
                refusal.members = members;
                Self::Refused(refusal)
            }
            other => other,
        }
    }

    /// `invalid_request` for one field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// `invalid_request` for several fields.
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        match Self::refused(Code::InvalidRequest) {
            Self::Refused(mut refusal) => {
                refusal.errors = errors;
                Self::Refused(refusal)
            }
            other => other,
        }
    }

    /// `rate_limited`, for so long.
    pub fn rate_limited(wait: Duration) -> Self {
        match Self::refused(Code::RateLimited) {
            Self::Refused(mut refusal) => {
                refusal.retry_after = Some(wait);
                Self::Refused(refusal)
            }
            other => other,
        }
    }

    /// Whole seconds for `Retry-After`, at least one; `None` where waiting does not help.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let known = match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Unavailable(..) | Self::Internal(_) => None,
        };
        let whole = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        known.map(|wait| whole(wait).max(1)).or(self.code().retry_after_seconds().map(u64::from))
    }

    /// `unavailable`, with the reason for the log.
    pub fn unavailable(why: impl fmt::Display) -> Self {
        Self::Unavailable(Code::Unavailable, why.to_string())
    }

    /// `outcome_unknown`, with the reason for the log.
    pub fn outcome_unknown(why: impl fmt::Display) -> Self {
        Self::Unavailable(Code::OutcomeUnknown, why.to_string())
    }

    /// Something that only a bug can cause.
    pub fn internal(what: impl fmt::Display) -> Self {
        Self::Internal(what.to_string())
    }

    /// The code that the client sees.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Unavailable(code, _) => *code,
            Self::Internal(_) => Code::InternalError,
        }
    }

    /// Marks a recorded refusal as told again.
    pub fn replayed(mut self, replayed: bool) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.replayed = replayed;
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => match &refusal.detail {
                Some(detail) => write!(f, "{}: {detail}", refusal.code),
                None => write!(f, "{}", refusal.code),
            },
            Self::Unavailable(code, why) => write!(f, "{code}: {why}"),
            Self::Internal(what) => write!(f, "internal_error: {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<sqlx::Error> for Error {
    /// A server that is away is `unavailable`; a statement that Postgres refuses is our mistake.
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(db) if !is_transient(db.code().as_deref()) => {
                Self::Internal(format!("postgres refused a statement: {error}"))
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                Self::Internal(format!("postgres answered in another shape: {error}"))
            }
            _ => Self::unavailable(format_args!("postgres: {error}")),
        }
    }
}

/// SQLSTATE classes that say "again, later" and not "never": connection (08), rollback (40), resources (53),
/// operator intervention (57), system error (58), lock not available (55).
pub fn is_transient(sqlstate: Option<&str>) -> bool {
    sqlstate.is_some_and(|state| {
        ["08", "40", "53", "55", "57", "58"].iter().any(|class| state.starts_with(class))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_one_code() {
        for code in Code::ALL {
            assert_eq!(Code::from_word(code.word()), Some(*code));
        }
        assert_eq!(Code::from_word("nonsense"), None);
    }

    #[test]
    fn what_may_be_retried_says_when() {
        for code in Code::ALL.iter().filter(|code| [429, 503].contains(&code.status())) {
            assert!(code.retry_after_seconds().is_some(), "{code} lacks a Retry-After");
        }
    }
}
