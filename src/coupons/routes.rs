//! Coupons over HTTP.

use axum::Json;
use axum::body::Body as Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde::Deserialize;

use super::life::{Action, change};
use super::model::{
    AssignCoupon, Batch, BatchStarted, Campaign, Claimed, Coupon, CreateBatch, CreateCampaign, CreateCoupons,
    CreatedCoupons, Import,
};
use super::{batches, codes, csv, imports, ops, table};
use crate::app::AppState;
use crate::clock::parse_day;
use crate::error::{Code, Error};
use crate::http::answer::Answer;
use crate::http::body::Body;
use crate::http::headers::KeyHeader;
use crate::http::identity::{Actor, Identity};
use crate::http::page::{Page, PageRequest};
use crate::http::path::{PathId, PathText};
use crate::http::upload::Upload;
use crate::ids::{BatchId, CampaignId, ImportId, UserId};
use table::expiring::Stretch;

/// Coupons that a stream reads at once.
const STREAMED: i64 = 2_000;

pub async fn create_campaign(
    State(app): State<AppState>,
    by: Actor,
    key: KeyHeader,
    Body(body): Body<CreateCampaign>,
) -> Result<Answer<Campaign>, Error> {
    let key = key.optional()?;
    let create = move |app: AppState| async move { ops::create(&app, &by, &body, key).await };
    let (campaign, replayed) = app.run(create).await?;
    Ok(Answer::created(campaign, replayed))
}

pub async fn campaigns(
    State(app): State<AppState>,
    page: PageRequest,
) -> Result<Json<Page<Campaign>>, Error> {
    table::page(&app.pool, &page).await.map(Json)
}

pub async fn campaign(State(app): State<AppState>, id: PathId<CampaignId>) -> Result<Json<Campaign>, Error> {
    let found = table::campaign(&app.pool, id.or(Code::CampaignNotFound)?).await?;
    found.map(Json).ok_or_else(ops::missing)
}

pub async fn claim(
    State(app): State<AppState>,
    me: Identity,
    id: PathId<CampaignId>,
    key: KeyHeader,
) -> Result<Answer<Claimed>, Error> {
    let key = key.required()?;
    let id = id.or(Code::CampaignNotFound)?;
    if app.latch.is_too_late(&app, id, me.user) {
        return Err(Error::refused(Code::CouponSoldOut));
    }
    let claim = move |app: AppState| async move { ops::claim(&app, me, id, key).await };
    match app.run(claim).await {
        Ok((claimed, replayed)) => Ok(Answer::created(claimed, replayed)),
        Err(error) => {
            if error.code() == Code::CouponSoldOut {
                app.latch.heard(&app, id);
            }
            Err(error)
        }
    }
}

pub async fn generate(
    State(app): State<AppState>,
    by: Actor,
    key: KeyHeader,
    Body(body): Body<CreateCoupons>,
) -> Result<Answer<CreatedCoupons>, Error> {
    let key = key.required()?;
    let generate = move |app: AppState| async move { ops::generate(&app, &by, &body, key).await };
    let (made, replayed) = app.run(generate).await?;
    Ok(Answer::created(made, replayed))
}

pub async fn begin_batch(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<CampaignId>,
    key: KeyHeader,
    Body(body): Body<CreateBatch>,
) -> Result<Answer<BatchStarted>, Error> {
    let (key, id) = (key.required()?, id.or(Code::CampaignNotFound)?);
    let begin = move |app: AppState| async move { batches::begin(&app, &by, id, &body, key).await };
    let (begun, replayed) = app.run(begin).await?;
    Ok(Answer::accepted(begun, replayed))
}

pub async fn batch(State(app): State<AppState>, id: PathId<BatchId>) -> Result<Json<Batch>, Error> {
    batches::get(&app, id.or(Code::NotFound)?).await.map(|(batch, _)| Json(batch))
}

pub async fn batch_codes(
    State(app): State<AppState>,
    headers: HeaderMap,
    id: PathId<BatchId>,
) -> Result<Response, Error> {
    let (_, work) = batches::get(&app, id.or(Code::NotFound)?).await?;
    let kind = Kind::wanted(&headers).unwrap_or(Kind::Csv);
    let lines = batches::lines(app.codes.clone(), work);
    Ok(streamed(kind, lines.map(move |lines| lines.map(|lines| kind.codes(lines)))))
}

pub async fn import(
    State(app): State<AppState>,
    by: Actor,
    id: PathId<CampaignId>,
    key: KeyHeader,
    upload: Upload,
) -> Result<Response, Error> {
    let upload = upload.of_type("text/csv")?;
    let (key, id) = (key.optional()?, id.or(Code::CampaignNotFound)?);
    let (started, replayed) = imports::receive(&app, &by, id, key, upload).await?;
    Ok(Answer::accepted(started, replayed).into_response())
}

pub async fn get_import(State(app): State<AppState>, id: PathId<ImportId>) -> Result<Json<Import>, Error> {
    imports::get(&app.pool, id.or(Code::ImportNotFound)?).await.map(Json)
}

#[derive(Deserialize)]
pub struct OfUser {
    #[serde(rename = "userId")]
    user_id: Option<String>,
}

pub async fn list(
    State(app): State<AppState>,
    me: Identity,
    page: PageRequest,
    of: Result<Query<OfUser>, QueryRejection>,
) -> Result<Json<Page<Coupon>>, Error> {
    let Query(of) = of.map_err(|_| Error::invalid("userId", "must be there once"))?;
    let asked = of.user_id.map(|text| text.parse::<UserId>());
    let asked = asked.transpose().map_err(|_| Error::invalid("userId", "is not a user's id"))?;
    let user = asked.unwrap_or(me.user);
    if !me.sees(user) {
        return Err(Error::refused(Code::Forbidden));
    }
    table::coupon::page(&app.pool, user, &page).await.map(Json)
}

#[derive(Deserialize)]
pub struct OnDay {
    date: Option<String>,
}

pub async fn expiring(
    State(app): State<AppState>,
    headers: HeaderMap,
    page: PageRequest,
    on: Result<Query<OnDay>, QueryRejection>,
) -> Result<Response, Error> {
    let Query(on) = on.map_err(|_| Error::invalid("date", "must be there once"))?;
    let day = match on.date {
        None => app.clock.today(app.config.zone),
        Some(text) => {
            parse_day(&text).ok_or_else(|| Error::invalid("date", "must be a day as yyyy-mm-dd"))?
        }
    };
    let (from, until) = ops::day_of(&app, day)?;
    let stretch = Stretch::new(from, until);
    match Kind::wanted(&headers) {
        None => Ok(Json(table::expiring::page(&app.pool, stretch, &page).await?).into_response()),
        Some(kind) => Ok(streamed(kind, all_expiring(app, stretch, kind))),
    }
}

/// As long as it may be, a page in memory.
fn all_expiring(
    app: AppState,
    stretch: Stretch,
    kind: Kind,
) -> impl Stream<Item = Result<String, Error>> + Send + 'static {
    let head = futures::stream::once(async move { Ok(kind.head()) });
    let pages = futures::stream::try_unfold(Some(stretch), move |stretch| {
        let app = app.clone();
        async move {
            let Some(mut stretch) = stretch else { return Ok(None) };
            let rows = stretch.rows(&app.pool, STREAMED).await?;
            let is_last = (stretch.go_on(&rows)? as i64) < STREAMED;
            let mut text = String::new();
            for row in &rows {
                text += &kind.line(&table::coupon::read(row)?)?;
            }
            Ok::<_, Error>(Some((text, (!is_last).then_some(stretch))))
        }
    });
    head.chain(pages)
}

/// How a list of any length goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Csv,
    Ndjson,
}

impl Kind {
    /// `None` where neither is asked for.
    fn wanted(headers: &HeaderMap) -> Option<Self> {
        let accept = headers.get(ACCEPT)?.to_str().ok()?.to_ascii_lowercase();
        let kinds =
            accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim().to_owned());
        let mut known = kinds.filter_map(|kind| match kind.as_str() {
            "text/csv" => Some(Self::Csv),
            "application/x-ndjson" => Some(Self::Ndjson),
            _ => None,
        });
        known.next()
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    fn head(self) -> String {
        match self {
            Self::Csv => "code,campaignId,userId,expiresAt,assignedAt\r\n".into(),
            Self::Ndjson => String::new(),
        }
    }

    fn line(self, coupon: &Coupon) -> Result<String, Error> {
        match self {
            Self::Csv => {
                Ok(table::coupon::line(coupon).map(|cell| csv::cell(&cell).into_owned()).join(",") + "\r\n")
            }
            Self::Ndjson => Ok(serde_json::to_string(coupon).map_err(Error::internal)? + "\n"),
        }
    }

    /// Lines of codes in its way.
    fn codes(self, lines: String) -> String {
        match self {
            Self::Csv => lines,
            Self::Ndjson => lines.lines().map(|code| format!("{{\"code\":\"{code}\"}}\n")).collect(),
        }
    }
}

fn streamed(kind: Kind, lines: impl Stream<Item = Result<String, Error>> + Send + 'static) -> Response {
    let type_of = [(CONTENT_TYPE, kind.media_type())];
    (StatusCode::OK, type_of, Bytes::from_stream(lines)).into_response()
}

/// A code of the path, as it is stored.
fn canonical(code: &PathText) -> Result<String, Error> {
    codes::canonical(&code.0).ok_or_else(|| Error::refused(Code::CouponNotFound))
}

pub async fn get(State(app): State<AppState>, me: Identity, code: PathText) -> Result<Json<Coupon>, Error> {
    ops::visible(&app, me, &canonical(&code)?).await.map(Json)
}

macro_rules! changes {
    ($($name:ident $action:expr;)+) => {$(
        pub async fn $name(
            State(app): State<AppState>,
            by: Actor,
            key: KeyHeader,
            code: PathText,
        ) -> Result<Answer<Coupon>, Error> {
            let (key, code) = (key.optional()?, canonical(&code)?);
            let act = move |app: AppState| async move { change(&app, &by, code, $action, key).await };
            let (coupon, replayed) = app.run(act).await?;
            Ok(Answer::ok(coupon, replayed))
        }
    )+};
}

changes! {
    use_coupon Action::Use;
    cancel_use Action::CancelUse;
}

pub async fn assign(
    State(app): State<AppState>,
    by: Actor,
    code: PathText,
    key: KeyHeader,
    Body(body): Body<AssignCoupon>,
) -> Result<Answer<Coupon>, Error> {
    let (key, code) = (key.optional()?, canonical(&code)?);
    let assign = Action::Assign(body.user_id);
    let act = move |app: AppState| async move { change(&app, &by, code, assign, key).await };
    let (coupon, replayed) = app.run(act).await?;
    Ok(Answer::ok(coupon, replayed))
}

pub async fn delete(
    State(app): State<AppState>,
    by: Actor,
    code: PathText,
    key: KeyHeader,
) -> Result<Answer<()>, Error> {
    let (key, code) = (key.optional()?, canonical(&code)?);
    let act = move |app: AppState| async move { change(&app, &by, code, Action::Delete, key).await };
    let (_, replayed) = app.run(act).await?;
    Ok(Answer::none(replayed))
}
