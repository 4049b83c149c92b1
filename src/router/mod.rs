//! Every URL, and nothing else.

mod coupons;
mod rewards;

use axum::Router;
use axum::middleware;
use axum::routing::get as plain_get;
use serde_json::json;

use crate::app::AppState;
use crate::error::Code::*;
use crate::http::api::Who::*;
use crate::http::api::{Api, delete, get, post, put};
use crate::http::guard::{Guard, guard};
use crate::http::limits::Class;
use crate::http::page::Page;
use crate::http::problem;
use crate::operations::model::{HealthView, Readiness, SetHealth};
use crate::{accounts, audit, concerts, menus, operations, orders, payments, queue, ranking, seats, wallet};

/// The table of routes.
pub fn api() -> Api {
    let api = Api::default();
    let api = accounts_api(api);
    let api = queue_api(api);
    let api = concerts_api(api);
    let api = reservations_api(api);
    let api = menus_api(api);
    let api = orders_api(api);
    let api = coupons::api(api);
    let api = rewards::api(api);
    operations_api(api)
}

fn accounts_api(api: Api) -> Api {
    use accounts::model::{ChangeRole, LoginRequest, RefreshRequest, Session, SignupRequest, User};
    use accounts::routes as handlers;
    use wallet::model::{Balance, ChargeRequest, Charged, Transaction};
    use wallet::routes as points;
    api.section(
        "Accounts",
        [
            post(Anyone, "/v1/auth/signup", "Make an account, a USER's", handlers::sign_up)
                .counted(Class::SignUps)
                .takes::<SignupRequest>()
                .answers::<User>(201)
                .refuses(&[EmailTaken]),
            post(Anyone, "/v1/auth/login", "Sign in", handlers::log_in)
                .counted(Class::SignIns)
                .without_key()
                .takes::<LoginRequest>()
                .answers::<Session>(200)
                .refuses(&[CredentialsInvalid]),
            post(Anyone, "/v1/auth/refresh", "Spend a refresh token for its successor", handlers::refresh)
                .counted(Class::SignIns)
                .without_key()
                .takes::<RefreshRequest>()
                .answers::<Session>(200)
                .refuses(&[RefreshTokenInvalid, RefreshTokenReused]),
            post(SignedIn, "/v1/auth/logout", "End the sign-in, with all of its tokens", handlers::log_out)
                .without_key()
                .answers_nothing(204),
            get(SignedIn, "/v1/auth/me", "Who is signed in", handlers::me).answers::<User>(200),
            put(Admins, "/v1/users/{userId}/role", "Give a user another role", handlers::change_role)
                .takes::<ChangeRole>()
                .answers::<User>(200)
                .refuses(&[UserNotFound]),
            get(Auditors, "/v1/audit", "What operators and admins did", audit::routes::list)
                .paged()
                .answers::<Page<audit::model::AuditRecord>>(200),
            get(Operators, "/v1/users", "List accounts", handlers::list).paged().answers::<Page<User>>(200),
        ],
    )
    .section(
        "Points",
        [
            post(OwnerOrAdmin, "/v1/users/{userId}/points/charge", "Add points", points::charge)
                .needs_key()
                .takes::<ChargeRequest>()
                .answers::<Charged>(201)
                .refuses(&[UserNotFound, BalanceLimit]),
            get(OwnerOrAdmin, "/v1/users/{userId}/points", "What a user has", points::balance)
                .answers::<Balance>(200)
                .refuses(&[UserNotFound]),
            get(
                OwnerOrAdmin,
                "/v1/users/{userId}/points/transactions",
                "How it came about",
                points::transactions,
            )
            .paged()
            .answers::<Page<Transaction>>(200)
            .refuses(&[UserNotFound]),
        ],
    )
}

fn queue_api(api: Api) -> Api {
    use queue::model::{ChangeQueue, CreateQueue, PlaceView, Queue};
    use queue::routes as handlers;
    api.section(
        "Waiting room",
        [
            post(Operators, "/v1/queues", "Make a queue that stands alone", handlers::create)
                .takes::<CreateQueue>()
                .answers::<Queue>(201),
            get(Anyone, "/v1/queues/{queueId}", "A queue in numbers", handlers::get)
                .answers::<Queue>(200)
                .refuses(&[QueueNotFound]),
            put(Operators, "/v1/queues/{queueId}", "Change a queue's settings", handlers::change)
                .takes::<ChangeQueue>()
                .answers::<Queue>(200)
                .refuses(&[QueueNotFound]),
            post(SignedIn, "/v1/queues/{queueId}/tickets", "Join, or find the place one has", handlers::join)
                .counted(Class::Joins)
                .without_key()
                .soft()
                .answers::<PlaceView>(201)
                .answers::<PlaceView>(200)
                .refuses(&[QueueNotFound, QueueClosed, QueueFull]),
            get(TicketHolder, "/v1/queues/{queueId}/tickets/me", "How the ticket stands", handlers::poll)
                .counted(Class::Polls)
                .answers::<PlaceView>(200)
                .refuses(&[QueueNotFound]),
            delete(TicketHolder, "/v1/queues/{queueId}/tickets/me", "Leave", handlers::leave)
                .without_key()
                .soft()
                .answers_nothing(204)
                .refuses(&[QueueNotFound]),
            get(
                TicketHolder,
                "/v1/queues/{queueId}/tickets/me/events",
                "The ticket as a stream of events",
                handlers::events,
            )
            .counted(Class::Polls)
            .answers_with(200, "text/event-stream", json!({"type": "string"})),
        ],
    )
}

fn concerts_api(api: Api) -> Api {
    use concerts::model::{Concert, ConcertWithShows, CreateConcert, CreateShow, Dates, Show};
    use concerts::routes as handlers;
    let date = json!({"type": "string", "format": "date"});
    api.section(
        "Concerts",
        [
            post(Operators, "/v1/concerts", "Make a concert and its queue", handlers::create)
                .takes::<CreateConcert>()
                .answers::<Concert>(201),
            get(Anyone, "/v1/concerts", "List concerts", handlers::list)
                .paged()
                .answers::<Page<Concert>>(200),
            get(Anyone, "/v1/concerts/{concertId}", "A concert with its shows", handlers::get)
                .answers::<ConcertWithShows>(200)
                .refuses(&[ConcertNotFound]),
            post(Operators, "/v1/concerts/{concertId}/shows", "Add a show", handlers::add_show)
                .takes::<CreateShow>()
                .answers::<Show>(201)
                .refuses(&[ConcertNotFound, ShowExists]),
            get(
                SignedIn,
                "/v1/concerts/{concertId}/dates",
                "Days on which a seat can be had now",
                handlers::dates,
            )
            .needs_pass()
            .answers::<Dates>(200)
            .refuses(&[QueueNotFound]),
            get(SignedIn, "/v1/concerts/{concertId}/seats", "Free seats of a day", seats::routes::seats)
                .needs_pass()
                .query("date", true, date)
                .answers::<seats::model::Seats>(200)
                .answers_nothing(304)
                .refuses(&[QueueNotFound, ShowNotFound]),
        ],
    )
}

fn reservations_api(api: Api) -> Api {
    use payments::model::{PayRequest, Payment};
    use seats::model::{Reservation, ReserveRequest};
    api.section(
        "Reservations and payments",
        [
            post(SignedIn, "/v1/reservations", "Hold seats, all or none", seats::routes::reserve)
                .needs_pass()
                .needs_key()
                .takes::<ReserveRequest>()
                .answers::<Reservation>(201)
                .refuses(&[QueueNotFound, ShowNotFound, SeatNotFound, ShowNotOpen, SeatTaken, SeatLimit]),
            get(
                SignedIn,
                "/v1/reservations",
                "List one's reservations; an operator sees all",
                seats::routes::list,
            )
            .paged()
            .answers::<Page<Reservation>>(200),
            get(SignedIn, "/v1/reservations/{reservationId}", "A reservation", seats::routes::get)
                .answers::<Reservation>(200)
                .refuses(&[ReservationNotFound]),
            delete(SignedIn, "/v1/reservations/{reservationId}", "Give a hold up", seats::routes::cancel)
                .answers_nothing(204)
                .refuses(&[ReservationNotFound, ReservationClosed, HoldExpired]),
            post(SignedIn, "/v1/payments", "Pay a reservation", payments::routes::pay)
                .needs_pass()
                .needs_key()
                .takes::<PayRequest>()
                .answers::<Payment>(201)
                .refuses(&[
                    ReservationNotFound,
                    ReservationClosed,
                    HoldExpired,
                    BalanceInsufficient,
                    PaymentAborted,
                ]),
            get(
                SignedIn,
                "/v1/payments",
                "List one's payments; an operator sees all",
                payments::routes::list,
            )
            .paged()
            .answers::<Page<Payment>>(200),
            get(SignedIn, "/v1/payments/{paymentId}", "A payment", payments::routes::get)
                .answers::<Payment>(200)
                .refuses(&[PaymentNotFound]),
        ],
    )
}

fn menus_api(api: Api) -> Api {
    use menus::model::{Menu, MenuBody};
    use menus::routes as handlers;
    api.section(
        "Menus",
        [
            get(Anyone, "/v1/menus", "List menus", handlers::list).paged().answers::<Page<Menu>>(200),
            post(Operators, "/v1/menus", "Put a thing on the menu", handlers::create)
                .takes::<MenuBody>()
                .answers::<Menu>(201),
            put(Operators, "/v1/menus/{menuId}", "Give it another name or price", handlers::change)
                .takes::<MenuBody>()
                .answers::<Menu>(200)
                .refuses(&[MenuNotFound]),
            delete(Operators, "/v1/menus/{menuId}", "Take it off the menu", handlers::remove)
                .answers_nothing(204)
                .refuses(&[MenuNotFound]),
            get(Anyone, "/v1/menus/popular", "What is ordered most, of seven days", ranking::routes::popular)
                .answers::<ranking::model::Popular>(200),
        ],
    )
}

fn orders_api(api: Api) -> Api {
    use orders::model::{Order, OrderRequest};
    use orders::routes as handlers;
    api.section(
        "Orders",
        [
            post(SignedIn, "/v1/orders", "Order from the menu, paid with points", handlers::place)
                .needs_key()
                .takes::<OrderRequest>()
                .answers::<Order>(201)
                .refuses(&[MenuNotFound, BalanceInsufficient]),
            get(SignedIn, "/v1/orders", "List one's orders; an operator sees all", handlers::list)
                .paged()
                .answers::<Page<Order>>(200),
            get(SignedIn, "/v1/orders/{orderId}", "An order", handlers::get)
                .answers::<Order>(200)
                .refuses(&[OrderNotFound]),
        ],
    )
}

fn operations_api(api: Api) -> Api {
    use operations::routes as handlers;
    let text = json!({"type": "string"});
    api.section(
        "Operations",
        [
            get(Anyone, "/livez", "The process is up", handlers::livez).counted(Class::Free).answers_with(
                200,
                "text/plain",
                text.clone(),
            ),
            get(Anyone, "/readyz", "The instance can serve", handlers::readyz)
                .counted(Class::Free)
                .answers::<Readiness>(200)
                .answers::<Readiness>(503),
            get(Anyone, "/health", "Heartbeat for load balancers", handlers::health)
                .counted(Class::Free)
                .answers::<HealthView>(200)
                .answers::<HealthView>(503),
            put(
                Admins,
                "/health",
                "Take this instance out of rotation, or put it back",
                handlers::set_health,
            )
            .without_key()
            .takes::<SetHealth>()
            .answers::<HealthView>(200),
            get(Anyone, "/metrics", "Prometheus scrapes this", handlers::metrics).answers_with(
                200,
                "text/plain",
                text.clone(),
            ),
            get(Anyone, "/openapi.json", "This document", handlers::openapi).answers_with(
                200,
                "application/json",
                json!({"type": "object"}),
            ),
            get(Anyone, "/.well-known/jwks.json", "Public keys of tokens that others verify", handlers::jwks)
                .answers_with(200, "application/json", json!({"type": "object"})),
            get(Anyone, "/problems/{code}", "What a problem's code means", problem::page)
                .answers_with(200, "application/json", json!({"type": "object"}))
                .refuses(&[NotFound]),
            get(Anyone, "/docs", "Swagger UI", handlers::docs).answers_with(200, "text/html", text),
        ],
    )
}

/// The router of all that there is.
pub fn router(app: AppState) -> Router {
    let counted = Guard::new(app.clone(), "/docs/", Anyone, Class::Reads);
    let counted = middleware::from_fn_with_state(counted, guard);
    api()
        .router(&app)
        .route("/docs/", plain_get(operations::routes::docs_index).route_layer(counted.clone()))
        .route("/docs/{*file}", plain_get(operations::routes::docs_file).route_layer(counted))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .with_state(app)
}
