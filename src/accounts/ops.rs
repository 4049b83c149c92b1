//! What accounts do.

use std::net::IpAddr;

use serde_json::json;
use uuid::Uuid;

use super::model::{ChangeRole, LoginRequest, RefreshRequest, Role, Session, SignupRequest, User};
use super::passwords::Place;
use super::refresh::RefreshToken;
use super::sessions::Change;
use super::table;
use super::throttle::{self, SignIn};
use crate::app::{App, AppState};
use crate::audit;
use crate::audit::model::Act;
use crate::error::{Code, Error};
use crate::http::identity::{Actor, Identity};
use crate::ids::UserId;
use crate::journal::{IdempotencyKey, Request, direct};

/// For so long after a rotation the spent token still yields the same successor: two tabs, or an answer that
/// was lost, do not end a sign-in.
const GRACE: chrono::Duration = chrono::Duration::seconds(10);

/// Makes an account, always a USER's. True when it was made by an earlier request with the same key.
pub async fn sign_up(
    app: &App,
    client: IpAddr,
    body: SignupRequest,
    key: Option<IdempotencyKey>,
) -> Result<(User, bool), Error> {
    let email = folded(&body.email);
    // The password counts, but no fast hash of it may be stored: it is tagged with a key first.
    let tag = aws_lc_rs::hmac::sign(&app.keys.signup, body.password.as_bytes());
    let fingerprint = (&email, &body.name, crate::journal::hex(tag.as_ref()));
    let request = Request::new(UserId::from(Uuid::nil()), "auth.signup", &email, &fingerprint, key);
    let _turn = app.journal.turn(&request).await?;
    if let Some(made) = direct::recall(&app.pool, &request).await? {
        return Ok((made, true));
    }
    let hash = app.passwords.hash(app.passwords.place(Some(client))?, body.password).await?;
    let mut tx = app.pool.begin().await?;
    let made =
        table::insert(&mut tx, UserId::mint(), (&body.email, &body.name), Role::User, Some(&hash)).await?;
    let Some(made) = made else {
        tx.rollback().await?;
        // Another instance may have made it for this very request.
        let made = direct::recall(&app.pool, &request).await?;
        return made.map(|made| (made, true)).ok_or_else(|| Error::refused(Code::EmailTaken));
    };
    // The address is unique: another instance that was first would have kept this one from it.
    direct::record(&mut tx, &request, 201, &made).await?;
    tx.commit().await?;
    Ok((made, false))
}

/// Signs a user in. The same refusal, after the same work, for an unknown e-mail; who has failed too often
/// waits first.
pub async fn log_in(app: &AppState, client: IpAddr, body: LoginRequest) -> Result<Session, Error> {
    let place = app.passwords.place(Some(client))?;
    let sign_in = SignIn::begin(app, folded(&body.email), client).await?;
    let tried = try_password(app, place, client, body).await;
    match &tried {
        Ok(_) => sign_in.succeeded().await,
        Err(error) if error.code() == Code::CredentialsInvalid => sign_in.failed().await,
        Err(_) => drop(sign_in),
    }
    tried
}

/// An address without case, letter by letter, as Postgres' `lower` has it: what is found by one spelling is
/// counted as one.
fn folded(email: &str) -> String {
    email.chars().map(|letter| letter.to_lowercase().next().unwrap_or(letter)).collect()
}

async fn try_password(app: &App, place: Place, client: IpAddr, body: LoginRequest) -> Result<Session, Error> {
    let account = table::by_email(&app.pool, &body.email).await?;
    let hash = account.as_ref().and_then(|account| account.password_hash.clone());
    let same = app.passwords.matches(place, body.password, hash).await?;
    let user = account.filter(|_| same).map(|account| account.user);
    let user = user.ok_or_else(|| Error::refused(Code::CredentialsInvalid))?;
    let now = app.clock.now();
    let (family, expires_at) = (Uuid::now_v7(), now + app.config.refresh_token);
    let from = (user.user_id, throttle::client_id(client));
    let day = now.with_timezone(&app.config.zone).date_naive();
    table::begin_family(&app.pool, family, from, (now, day), expires_at).await?;
    session(app, &user, RefreshToken { family, generation: 1 }, expires_at)
}

/// Spends a refresh token for its successor.
pub async fn refresh(app: &App, body: &RefreshRequest) -> Result<Session, Error> {
    let invalid = || Error::refused(Code::RefreshTokenInvalid);
    let token = RefreshToken::read(&body.refresh_token, &app.keys.refresh).ok_or_else(invalid)?;
    let now = app.clock.now();
    table::rotate(&app.pool, token.family, token.generation, now).await?;
    let family = table::live_family(&app.pool, token.family, now).await?.ok_or_else(invalid)?;
    let successor = RefreshToken { generation: token.generation + 1, ..token };
    if family.generation == successor.generation && now < family.rotated_at + GRACE {
        return session(app, &family.user, successor, family.expires_at);
    }
    tracing::warn!(family = %token.family, "a spent refresh token was used again; its family ends");
    end(app, token.family).await?;
    Err(Error::refused(Code::RefreshTokenReused))
}

/// Ends the sign-in that a token came from: here at once, elsewhere within a second.
pub async fn log_out(app: &App, me: Identity) -> Result<(), Error> {
    end(app, me.session).await
}

async fn end(app: &App, family: Uuid) -> Result<(), Error> {
    if let Some(at) = table::end_family(&app.pool, family, app.clock.now()).await? {
        app.sessions.apply(Change::Ended(family), at);
    }
    Ok(())
}

/// Gives a user another role, for tokens that are out as well. True when an earlier request with the same key
/// did.
pub async fn change_role(
    app: &App,
    by: &Actor,
    user: UserId,
    body: &ChangeRole,
    key: Option<IdempotencyKey>,
) -> Result<(User, bool), Error> {
    let request = Request::new(by.me.user, "users.role", user, body, key);
    let (role, name) = (body.role, (request.op, request.operation));
    let act = Act::new(by, format_args!("users/{user}/role"), Some(body));
    let once = app.journal.once(&request, 200, |pg| {
        Box::pin(async move {
            let changed = table::set_role(pg, user, role).await?;
            let (changed, before, at) = changed.ok_or_else(|| Error::refused(Code::UserNotFound))?;
            let before = Some(json!({"role": before.role}));
            audit::table::record(pg, name, &act, before, at).await?;
            Ok((changed, at))
        })
    });
    let ((changed, at), replayed) = once.await?;
    if !replayed {
        app.sessions.apply(Change::Role(user, changed.role), at);
        tracing::warn!(by = %by.me.user, %user, to = changed.role.word(), "role changed");
    }
    Ok((changed, replayed))
}

fn session(
    app: &App,
    user: &User,
    refresh: RefreshToken,
    refresh_expires_at: chrono::DateTime<chrono::Utc>,
) -> Result<Session, Error> {
    let lifetime = app.config.access_token;
    let who = Identity { user: user.user_id, role: user.role, session: refresh.family };
    let (access_token, expires_at) = app.tokens.issue(who, app.clock.now_ms(), lifetime)?;
    Ok(Session {
        access_token,
        expires_at,
        refresh_token: refresh.sign(&app.keys.refresh),
        refresh_expires_at,
        token_type: "Bearer".into(),
    })
}

/// Who is signed in.
pub async fn me(app: &App, identity: Identity) -> Result<User, Error> {
    let user = table::by_id(&app.pool, identity.user).await?;
    user.ok_or_else(|| Error::refused(Code::Unauthenticated))
}

/// Refuses a user who does not exist. Who asks for himself does: accounts are never removed, and a token is
/// only given to one.
pub async fn must_exist(app: &App, me: UserId, user: Option<UserId>) -> Result<UserId, Error> {
    let found = match user {
        Some(user) if user == me => return Ok(user),
        Some(user) => table::by_id(&app.pool, user).await?,
        None => None,
    };
    found.map(|user| user.user_id).ok_or_else(|| Error::refused(Code::UserNotFound))
}
