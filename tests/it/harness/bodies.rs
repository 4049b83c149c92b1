//! Bodies that routes take.

use serde_json::{Value, json};

use super::day;

/// An event that runs and gives this reward out, to everybody and at once.
pub fn event(reward: &str) -> Value {
    json!({
        "name": "e", "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z", "active": true,
        "rewardIds": [reward], "condition": {"type": "NONE"}, "approval": "AUTO", "recurrence": "ONCE",
    })
}

/// A body that the schema accepts.
pub fn good_body(path: &str) -> Value {
    let settings = json!({"admitPerSecond": 1, "maxActive": 1, "activeSeconds": 1});
    match path {
        "/v1/auth/signup" => json!({"email": "x@example.org", "password": "12345678", "name": "x"}),
        "/v1/auth/login" => json!({"email": "x@example.org", "password": "12345678"}),
        "/v1/auth/refresh" => json!({"refreshToken": "x"}),
        "/v1/users/{userId}/points/charge" => json!({"amount": 1}),
        "/v1/users/{userId}/role" => json!({"role": "ADMIN"}),
        "/v1/queues" => json!({"name": "q", "admitPerSecond": 1, "maxActive": 1, "activeSeconds": 1}),
        "/v1/queues/{queueId}" => json!({"state": "OPEN"}),
        "/v1/concerts" => json!({"title": "c", "queue": settings}),
        "/v1/concerts/{concertId}/shows" => json!({"date": day(1), "price": 1}),
        "/v1/reservations" => json!({"concertId": uuid::Uuid::nil(), "date": day(1), "seatNumber": 1}),
        "/v1/payments" => json!({"reservationId": uuid::Uuid::nil()}),
        "/v1/orders" => json!({"items": [{"menuId": uuid::Uuid::nil(), "quantity": 1}]}),
        "/v1/menus" | "/v1/menus/{menuId}" => json!({"name": "m", "price": 1}),
        "/v1/coupon-campaigns" => json!({"name": "c", "quantity": 9, "expiresAt": "2099-01-01T00:00:00Z"}),
        "/v1/coupon-campaigns/{campaignId}/batches" => json!({"count": 1}),
        "/v1/coupons" => json!({"count": 1, "expiresAt": "2099-01-01T00:00:00Z"}),
        "/v1/coupons/{code}/assign" => json!({"userId": uuid::Uuid::nil()}),
        "/v1/rewards" | "/v1/rewards/{rewardId}" => {
            json!({"name": "r", "type": "POINTS", "amount": 1, "stock": 1_000})
        }
        "/v1/events" | "/v1/events/{eventId}" => event(&uuid::Uuid::nil().to_string()),
        "/v1/reward-requests" => json!({"eventId": uuid::Uuid::nil(), "rewardId": uuid::Uuid::nil()}),
        "/v1/reward-requests/{requestId}/reject" => json!({"reason": "no"}),
        "/health" => json!({"inRotation": true}),
        other => panic!("no good body is known for {other}"),
    }
}
