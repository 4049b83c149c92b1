//! The table of routes: what a URL does, who may, what it takes, answers and refuses. The router and the
//! OpenAPI document are both made from it, so neither can say what the other does not.

use axum::handler::Handler;
use axum::middleware;
use axum::routing::{MethodFilter, MethodRouter, on};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use super::access::Who;
use super::guard::{Guard, guard};
use super::limits::Class;
use crate::app::AppState;
use crate::error::Code;

/// Whether a write takes an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// It is no write.
    None,
    /// It takes one.
    Optional,
    /// It needs one.
    Required,
}

/// A schema, by name or in place.
pub type Schema = utoipa::openapi::RefOr<utoipa::openapi::Schema>;

/// What a route answers with.
#[derive(Clone)]
pub struct Success {
    /// HTTP status.
    pub status: u16,
    /// Media type and schema of the body, if it has one.
    pub body: Option<(&'static str, Value)>,
}

/// A query parameter.
#[derive(Clone, Debug)]
pub struct QueryParameter {
    /// Its name.
    pub name: &'static str,
    /// Its schema.
    pub schema: Value,
    /// Whether it must be there.
    pub required: bool,
}

/// One row of the table.
pub struct Route {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// As axum and OpenAPI write it: `/v1/queues/{queueId}`.
    pub path: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Under which heading.
    pub tag: &'static str,
    /// Who may.
    pub who: Who,
    /// With what it is counted.
    pub class: Class,
    /// Whether it takes an idempotency key.
    pub key: Key,
    /// Whether it needs a pass of the waiting room.
    pub pass: bool,
    /// What it does is of a version: a read tells it (`ETag`), a change needs it (`If-Match`).
    pub versioned: bool,
    /// Whether its effect is durable before the answer.
    pub durable: bool,
    /// The body that it takes.
    pub takes: Option<Value>,
    /// The type of a body that is read as it comes.
    pub takes_stream: Option<&'static str>,
    /// Query parameters.
    pub query: Vec<QueryParameter>,
    /// What it answers.
    pub successes: Vec<Success>,
    /// Codes that are its own; those that follow from the rest are added by [`Route::codes`].
    pub refuses: Vec<Code>,
    /// Schemas that its bodies name.
    pub schemas: Vec<(String, Schema)>,
    handler: MethodRouter<AppState>,
}

macro_rules! methods {
    ($($name:ident $method:literal $filter:ident;)+) => {$(
        /// A row for this method.
        pub fn $name<H, T>(who: Who, path: &'static str, summary: &'static str, handler: H) -> Route
        where
            H: Handler<T, AppState>,
            T: 'static,
        {
            Route::new(who, ($method, path), summary, on(MethodFilter::$filter, handler))
        }
    )+};
}

methods! {
    get "GET" GET;
    post "POST" POST;
    put "PUT" PUT;
    delete "DELETE" DELETE;
}

impl Route {
    fn new(
        who: Who,
        (method, path): (&'static str, &'static str),
        summary: &'static str,
        handler: MethodRouter<AppState>,
    ) -> Self {
        let class = if method == "GET" { Class::Reads } else { Class::Writes };
        Self {
            method,
            path,
            summary,
            tag: "",
            who,
            class,
            key: if method == "GET" { Key::None } else { Key::Optional },
            pass: false,
            versioned: false,
            durable: method != "GET",
            takes: None,
            takes_stream: None,
            query: Vec::new(),
            successes: Vec::new(),
            refuses: Vec::new(),
            schemas: Vec::new(),
            handler,
        }
    }

    /// With what it is counted.
    pub fn counted(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// It needs an idempotency key.
    pub fn needs_key(mut self) -> Self {
        self.key = Key::Required;
        self
    }

    /// It takes no idempotency key.
    pub fn without_key(mut self) -> Self {
        self.key = Key::None;
        self
    }

    /// It needs a pass of the waiting room.
    pub fn needs_pass(mut self) -> Self {
        self.pass = true;
        self
    }

    /// It tells a version, and where it changes what there is, needs it.
    pub fn versioned(mut self) -> Self {
        self.versioned = true;
        self
    }

    /// Whether it needs `If-Match`.
    pub fn needs_version(&self) -> bool {
        self.versioned && matches!(self.method, "PUT" | "DELETE")
    }

    /// Its effect is as durable as Redis is.
    pub fn soft(mut self) -> Self {
        self.durable = false;
        self
    }

    /// The body that it takes.
    pub fn takes<T: ToSchema>(mut self) -> Self {
        self.takes = Some(self.reference::<T>());
        self
    }

    /// The body that it takes, of another type, of any length.
    pub fn takes_stream(mut self, media_type: &'static str) -> Self {
        self.takes_stream = Some(media_type);
        self
    }

    /// A query parameter.
    pub fn query(mut self, name: &'static str, required: bool, schema: Value) -> Self {
        self.query.push(QueryParameter { name, schema, required });
        self
    }

    /// `?limit=&cursor=`.
    pub fn paged(self) -> Self {
        let limit = serde_json::json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 50});
        self.query("limit", false, limit).query("cursor", false, serde_json::json!({"type": "string"}))
    }

    /// It answers with this status and body.
    pub fn answers<T: ToSchema>(mut self, status: u16) -> Self {
        let schema = self.reference::<T>();
        self.successes.push(Success { status, body: Some(("application/json", schema)) });
        self
    }

    /// It answers with this status and a body of another kind.
    pub fn answers_with(mut self, status: u16, media_type: &'static str, schema: Value) -> Self {
        self.successes.push(Success { status, body: Some((media_type, schema)) });
        self
    }

    /// It answers with this status and no body.
    pub fn answers_nothing(mut self, status: u16) -> Self {
        self.successes.push(Success { status, body: None });
        self
    }

    /// Codes that are its own.
    pub fn refuses(mut self, codes: &[Code]) -> Self {
        self.refuses.extend(codes);
        self
    }

    fn reference<T: ToSchema>(&mut self) -> Value {
        let name = T::name().into_owned();
        self.schemas.push((name.clone(), T::schema()));
        T::schemas(&mut self.schemas);
        let mut reference = Map::new();
        reference.insert("$ref".into(), format!("#/components/schemas/{name}").into());
        Value::Object(reference)
    }

    /// All codes that the route may refuse with.
    pub fn codes(&self) -> Vec<Code> {
        let mut codes = self.refuses.clone();
        match self.who {
            Who::Anyone => {}
            Who::TicketHolder => {
                codes.extend([Code::QueueTokenInvalid, Code::QueueTicketGone, Code::Unavailable])
            }
            Who::SignedIn => codes.push(Code::Unauthenticated),
            Who::OwnerOrAdmin | Who::Operators | Who::Auditors | Who::OperatorsAndAuditors | Who::Admins => {
                codes.extend([Code::Unauthenticated, Code::Forbidden]);
            }
        }
        if self.class != Class::Free {
            codes.push(Code::RateLimited);
        }
        if self.takes.is_some() || self.takes_stream.is_some() {
            codes.extend([Code::InvalidRequest, Code::BodyTooLarge, Code::UnsupportedMediaType]);
        }
        if !self.query.is_empty() || self.key != Key::None {
            codes.push(Code::InvalidRequest);
        }
        if self.key == Key::Required {
            codes.push(Code::IdempotencyKeyMissing);
        }
        if self.key != Key::None {
            codes.extend([Code::IdempotencyKeyReused, Code::IdempotencyInProgress]);
        }
        if self.needs_version() {
            codes.extend([Code::VersionRequired, Code::VersionConflict]);
        }
        if self.pass {
            codes.extend([
                Code::QueueTokenInvalid,
                Code::Forbidden,
                Code::QueueNotAdmitted,
                Code::QueueTicketGone,
            ]);
        }
        if self.path.starts_with("/v1/") {
            codes.extend([Code::Unavailable, Code::Draining]);
            if self.method != "GET" {
                codes.extend([Code::Busy, Code::OutcomeUnknown]);
            }
        }
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

/// The table, filled heading by heading.
#[derive(Default)]
pub struct Api {
    /// All rows.
    pub routes: Vec<Route>,
}

impl Api {
    /// Rows under one heading.
    pub fn section(mut self, tag: &'static str, routes: impl IntoIterator<Item = Route>) -> Self {
        self.routes.extend(routes.into_iter().map(|route| Route { tag, ..route }));
        self
    }

    /// The router of all rows, each with its guard.
    pub fn router(&self, app: &AppState) -> axum::Router<AppState> {
        self.routes.iter().fold(axum::Router::new(), |router, route| {
            let guarding = Guard::new(app.clone(), route.path, route.who, route.class);
            // A method that the path does not have is told before who may.
            let guarded = route.handler.clone().route_layer(middleware::from_fn_with_state(guarding, guard));
            router.route(route.path, guarded)
        })
    }
}
