//! The demo's data. Everything that a start finds missing is made; what is there stays, also after a start
//! that was killed half-way: each thing is made with a key of its own.

use chrono::Days;
use sqlx::PgPool;

use super::random_text;
use crate::accounts::model::{Role, SignupRequest};
use crate::accounts::{self};
use crate::app::AppState;
use crate::cli::target::DemoUser;
use crate::concerts::model::{CreateConcert, CreateShow};
use crate::error::Error;
use crate::events;
use crate::events::condition::Condition;
use crate::events::model::{Approval, EventBody, Recurrence};
use crate::http::identity::Actor;
use crate::ids::{MenuId, Points, UserId};
use crate::journal::IdempotencyKey;
use crate::menus;
use crate::menus::model::Menu;
use crate::queue::model::{CreateQueue, QueueSettings};
use crate::rewards;
use crate::rewards::model::{Kind, RewardBody};
use crate::wallet::model::ChargeRequest;
use crate::{concerts, queue, wallet};

const ACCOUNTS: &[(&str, &str, Role)] = &[
    ("admin@onrush.test", "Admin", Role::Admin),
    ("operator@onrush.test", "Operator", Role::Operator),
    ("auditor@onrush.test", "Auditor", Role::Auditor),
    ("ann@onrush.test", "Ann", Role::User),
    ("ben@onrush.test", "Ben", Role::User),
    ("cho@onrush.test", "Cho", Role::User),
];
const POINTS: i64 = 1_000_000;
const CONCERTS: &[(&str, i64)] = &[("First Light", 50_000), ("Last Train", 80_000)];
const MENUS: &[(&str, i64)] =
    &[("Americano", 4_500), ("Latte", 5_000), ("Lemonade", 6_000), ("Cookie", 3_000)];

/// Loads what is missing; `known` are the accounts that an earlier start told of.
pub async fn load(app: &AppState, known: Vec<DemoUser>) -> anyhow::Result<Vec<DemoUser>> {
    let complete = known.len() == ACCOUNTS.len();
    let mut users = Vec::new();
    for (email, name, role) in ACCOUNTS {
        let password = known.iter().find(|user| user.email == *email).map(|user| user.password.clone());
        users.push(account(app, email, name, *role, password).await?);
    }
    if complete {
        return Ok(users);
    }
    let operator = users.iter().find(|user| user.role == Role::Operator).map(|user| user.user_id);
    let operator = operator.ok_or_else(|| anyhow::anyhow!("the demo has no operator"))?;
    let operator = Actor::at_start(operator, Role::Operator);
    for user in users.iter().filter(|user| user.role == Role::User) {
        let body = ChargeRequest { amount: POINTS };
        let by = Actor::at_start(user.user_id, user.role);
        wallet::ops::charge(app, &by, user.user_id, &body, key("demo-points")?).await?;
    }
    for (title, price) in CONCERTS {
        concert(app, &operator, title, *price).await?;
    }
    let body = CreateQueue {
        name: "Open queue".into(),
        admit_per_second: 10.0,
        max_active: 20,
        active_seconds: 300,
        max_waiting: None,
    };
    queue::ops::create(app, &operator, &body, Some(key("demo-queue")?)).await?;
    event(app, &operator).await?;
    menus(&app.pool).await?;
    app.board.changed(&app.pool).await;
    Ok(users)
}

fn key(text: &str) -> anyhow::Result<IdempotencyKey> {
    IdempotencyKey::parse(text).ok_or_else(|| anyhow::anyhow!("{text:?} is no key"))
}

/// Finds or makes an account; one whose password is not known any more gets a new one.
async fn account(
    app: &AppState,
    email: &str,
    name: &str,
    role: Role,
    password: Option<String>,
) -> anyhow::Result<DemoUser> {
    let found = accounts::table::by_email(&app.pool, email).await?;
    if let (Some(found), Some(password)) = (&found, &password) {
        return Ok(DemoUser {
            user_id: found.user.user_id,
            email: email.into(),
            password: password.clone(),
            role,
        });
    }
    let password = random_text(12)?;
    let mut pg = app.pool.acquire().await?;
    let user_id: UserId = match found {
        Some(found) => {
            let hash = app.passwords.hash(app.passwords.place(None)?, password.clone()).await?;
            accounts::table::set_password(&mut pg, found.user.user_id, &hash).await?;
            found.user.user_id
        }
        None => {
            let account =
                SignupRequest { email: email.into(), password: password.clone(), name: name.into() };
            crate::cli::admin::create(&mut pg, &account, role, app.config.bcrypt_cost).await?
        }
    };
    Ok(DemoUser { user_id, email: email.into(), password, role })
}

/// A concert with two shows of fifty seats.
async fn concert(app: &AppState, operator: &Actor, title: &str, price: i64) -> anyhow::Result<()> {
    let body = CreateConcert {
        title: title.into(),
        queue: QueueSettings {
            admit_per_second: 50.0,
            max_active: 100,
            active_seconds: 300,
            max_waiting: None,
        },
        max_seats_per_user: 4,
        hold_seconds: 300,
    };
    let (made, _) = concerts::ops::create(app, operator, &body, Some(key(&title.replace(' ', "-"))?)).await?;
    for days in [7, 8] {
        let date = app.clock.today(app.config.zone).checked_add_days(Days::new(days));
        let date = date.ok_or_else(|| anyhow::anyhow!("the calendar ends"))?;
        let body = CreateShow { date, price, seat_count: 50, opens_at: None, closes_at: None };
        let added = concerts::ops::add_show(app, operator, made.concert_id, &body, None).await;
        // A start that was killed may have made it.
        let there = added.as_ref().is_err_and(|error| error.code() == crate::error::Code::ShowExists);
        if !there {
            added?;
        }
    }
    Ok(())
}

/// An event that gives points for a first order.
async fn event(app: &AppState, operator: &Actor) -> anyhow::Result<()> {
    let body = RewardBody {
        name: "1 000 points".into(),
        kind: Kind::Points,
        amount: Some(1_000),
        campaign_id: None,
        stock: 1_000,
    };
    let (reward, _) = rewards::ops::create(app, operator, &body, Some(key("demo-reward")?)).await?;
    let (starts_at, ends_at) = (app.clock.now(), app.clock.now().checked_add_days(Days::new(30)));
    let body = EventBody {
        name: "First order".into(),
        starts_at,
        ends_at: ends_at.ok_or_else(|| anyhow::anyhow!("the calendar ends"))?,
        active: true,
        reward_ids: vec![reward.reward_id],
        condition: Condition::OrderCount { count: 1 },
        approval: Approval::Auto,
        recurrence: Recurrence::Once,
    };
    if !events::table::gives(&app.pool, reward.reward_id, starts_at).await? {
        events::ops::create(app, operator, body, None).await?;
    }
    Ok(())
}

async fn menus(pool: &PgPool) -> Result<(), Error> {
    if menus::table::is_any(pool).await? {
        return Ok(());
    }
    let mut tx = pool.begin().await?;
    for (name, price) in MENUS {
        let price = Points::new(*price).unwrap_or(Points::ZERO);
        menus::table::insert(&mut tx, &Menu { menu_id: MenuId::mint(), name: (*name).into(), price }).await?;
    }
    tx.commit().await?;
    Ok(())
}
