//! URLs of rewards, events and requests.

use serde_json::json;

use crate::error::Code::*;
use crate::events::model::{Event, EventBody, OpenEvent};
use crate::events::routes as events;
use crate::http::api::Who::*;
use crate::http::api::{Api, delete, get, post, put};
use crate::http::page::Page;
use crate::rewards::model::{AskReward, RejectRequest, RequestList, Reward, RewardBody, RewardRequest};
use crate::rewards::routes as handlers;

/// Their rows.
pub fn api(api: Api) -> Api {
    let api = rewards_api(api);
    requests_api(events_api(api))
}

fn rewards_api(api: Api) -> Api {
    api.section(
        "Rewards",
        [
            post(Operators, "/v1/rewards", "Make a reward with its stock", handlers::create)
                .takes::<RewardBody>()
                .answers::<Reward>(201)
                .versioned()
                .refuses(&[CampaignNotFound]),
            get(OperatorsAndAuditors, "/v1/rewards", "List rewards", handlers::list)
                .paged()
                .answers::<Page<Reward>>(200),
            get(OperatorsAndAuditors, "/v1/rewards/{rewardId}", "A reward", handlers::get)
                .answers::<Reward>(200)
                .versioned()
                .refuses(&[RewardNotFound]),
            put(Operators, "/v1/rewards/{rewardId}", "Change a reward, as it was read", handlers::change)
                .takes::<RewardBody>()
                .answers::<Reward>(200)
                .versioned()
                .refuses(&[RewardNotFound, CampaignNotFound]),
            delete(Operators, "/v1/rewards/{rewardId}", "Take a reward away", handlers::delete)
                .answers_nothing(204)
                .versioned()
                .refuses(&[RewardNotFound]),
        ],
    )
}

fn events_api(api: Api) -> Api {
    let missing = [RewardNotFound, CampaignNotFound, ConcertNotFound];
    api.section(
        "Events",
        [
            post(Operators, "/v1/events", "Make an event", events::create)
                .takes::<EventBody>()
                .answers::<Event>(201)
                .versioned()
                .refuses(&missing),
            get(OperatorsAndAuditors, "/v1/events", "List events", events::list)
                .paged()
                .answers::<Page<Event>>(200),
            get(
                SignedIn,
                "/v1/events/open",
                "What one may take part in now, and how far one is",
                events::open,
            )
            .paged()
            .answers::<Page<OpenEvent>>(200),
            get(OperatorsAndAuditors, "/v1/events/{eventId}", "An event", events::get)
                .answers::<Event>(200)
                .versioned()
                .refuses(&[EventNotFound]),
            put(Operators, "/v1/events/{eventId}", "Change an event, as it was read", events::change)
                .takes::<EventBody>()
                .answers::<Event>(200)
                .versioned()
                .refuses(&missing)
                .refuses(&[EventNotFound]),
            delete(Operators, "/v1/events/{eventId}", "Take an event away", events::delete)
                .answers_nothing(204)
                .versioned()
                .refuses(&[EventNotFound]),
        ],
    )
}

fn requests_api(api: Api) -> Api {
    let (id, time) =
        (json!({"type": "string", "format": "uuid"}), json!({"type": "string", "format": "date-time"}));
    let status = json!({"type": "string", "enum": ["PENDING", "GRANTED", "REJECTED"]});
    api.section(
        "Requests for rewards",
        [
            post(SignedIn, "/v1/reward-requests", "Ask for a reward of an event", handlers::ask)
                .needs_key()
                .takes::<AskReward>()
                .answers::<RewardRequest>(201)
                .refuses(&[EventNotFound, RewardNotFound, EventNotOpen, ConditionNotMet])
                .refuses(&[RewardAlreadyRequested, RewardOutOfStock]),
            get(SignedIn, "/v1/reward-requests/mine", "List one's requests", handlers::mine)
                .paged()
                .query("status", false, status.clone())
                .answers::<Page<RewardRequest>>(200),
            get(
                OperatorsAndAuditors,
                "/v1/reward-requests",
                "List requests, and count them by status",
                handlers::requests,
            )
            .paged()
            .query("eventId", false, id.clone())
            .query("userId", false, id)
            .query("status", false, status)
            .query("from", false, time.clone())
            .query("to", false, time)
            .answers::<RequestList>(200),
            get(OperatorsAndAuditors, "/v1/reward-requests/{requestId}", "A request", handlers::request)
                .answers::<RewardRequest>(200)
                .refuses(&[RewardRequestNotFound]),
            put(
                Operators,
                "/v1/reward-requests/{requestId}/approve",
                "Let a request be granted",
                handlers::approve,
            )
            .answers::<RewardRequest>(200)
            .refuses(&[RewardRequestNotFound, RewardRequestClosed]),
            put(
                Operators,
                "/v1/reward-requests/{requestId}/reject",
                "Reject a request; its stock goes back",
                handlers::reject,
            )
            .takes::<RejectRequest>()
            .answers::<RewardRequest>(200)
            .refuses(&[RewardRequestNotFound, RewardRequestClosed]),
        ],
    )
}
