//! `rush postgres-only`: what a charge costs where there is nothing but a web server and Postgres, one
//! transaction a request. The baseline that the service's durable writes stand beside: the same server
//! library, the same allocator, the same Postgres, the same promise of a key that counts once.

use std::time::Duration;

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long a request waits for a connection to Postgres.
const ACQUIRE_MAX: Duration = Duration::from_secs(10);

/// Serve charges by Postgres alone: POST /charge/{user}, and GET /bare, which does nothing.
///
/// Its tables are in a schema of its own, `postgres_only`, made at the start and dropped on the way out.
#[derive(Args)]
pub struct PostgresOnly {
    /// postgres://user:password@host:port/database
    #[arg(long, env = "ONRUSH_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: String,
    /// Users, 0 and up.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    users: i64,
    /// Connections to Postgres.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=500))]
    pool: u32,
    /// Threads that serve; as many as the service has by default.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
}

impl PostgresOnly {
    /// Serves until Ctrl-C or SIGTERM.
    pub fn run(self) -> anyhow::Result<()> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(self.workers.into()).enable_all();
        runtime.build()?.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let options = PgPoolOptions::new().min_connections(self.pool).max_connections(self.pool);
        let connecting = options.acquire_timeout(ACQUIRE_MAX).connect(&self.database_url);
        let pool = connecting.await.context("cannot connect to Postgres")?;
        let fsync: String = sqlx::query_scalar("show fsync").fetch_one(&pool).await?;
        let commit: String = sqlx::query_scalar("show synchronous_commit").fetch_one(&pool).await?;
        println!("fsync {fsync}, synchronous_commit {commit}, {} connections", self.pool);
        make_tables(&pool, self.users).await?;

        let routes = Router::new()
            .route("/bare", get(async || "ok"))
            .route("/charge/{user}", post(charge))
            .with_state(pool.clone());
        let listener = TcpListener::bind(&self.listen).await?;
        println!("ready http://{}", listener.local_addr()?);
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            served = axum::serve(listener, routes) => served?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        sqlx::raw_sql("drop schema postgres_only cascade").execute(&pool).await?;
        Ok(())
    }
}

async fn make_tables(pool: &PgPool, users: i64) -> anyhow::Result<()> {
    sqlx::raw_sql(
        "drop schema if exists postgres_only cascade;
        create schema postgres_only;
        create table postgres_only.balances (
            user_id bigint primary key,
            balance bigint not null check (balance >= 0)
        );
        create table postgres_only.keys (
            key text primary key,
            user_id bigint not null,
            at timestamptz not null default now()
        );
        create table postgres_only.ledger (
            id bigint generated always as identity primary key,
            user_id bigint not null references postgres_only.balances,
            amount bigint not null,
            balance_after bigint not null,
            at timestamptz not null default now()
        );
        create index on postgres_only.ledger (user_id, id)",
    )
    .execute(pool)
    .await?;
    sqlx::query(
        "insert into postgres_only.balances select user_id, 0 from generate_series(0, $1 - 1) as user_id",
    )
    .bind(users)
    .execute(pool)
    .await?;
    sqlx::raw_sql("analyze postgres_only.balances").execute(pool).await?;
    Ok(())
}

#[derive(Deserialize)]
struct Charge {
    amount: i64,
}

async fn charge(
    State(pool): State<PgPool>,
    Path(user): Path<i64>,
    headers: HeaderMap,
    Json(body): Json<Charge>,
) -> Response {
    let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) else {
        return refused(StatusCode::BAD_REQUEST, "idempotency_key_missing");
    };
    if body.amount <= 0 {
        return refused(StatusCode::BAD_REQUEST, "invalid_request");
    }
    match book(&pool, user, key, body.amount).await {
        Ok(Some((transaction, balance))) => {
            let amount = body.amount;
            let booked =
                json!({ "transactionId": transaction, "userId": user, "amount": amount, "balance": balance });
            (StatusCode::CREATED, Json(booked)).into_response()
        }
        Ok(None) => refused(StatusCode::NOT_FOUND, "user_not_found"),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
            refused(StatusCode::CONFLICT, "idempotency_key_reused")
        }
        Err(error) => {
            eprintln!("a charge failed: {error}");
            refused(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        }
    }
}

fn refused(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "code": code }))).into_response()
}

/// The ledger's row and the new balance; none when there is no such user.
async fn book(pool: &PgPool, user: i64, key: &str, amount: i64) -> sqlx::Result<Option<(i64, i64)>> {
    let mut transaction = pool.begin().await?;
    sqlx::query("insert into postgres_only.keys (key, user_id) values ($1, $2)")
        .bind(key)
        .bind(user)
        .execute(&mut *transaction)
        .await?;
    let balance: Option<i64> =
        sqlx::query_scalar("select balance from postgres_only.balances where user_id = $1 for update")
            .bind(user)
            .fetch_optional(&mut *transaction)
            .await?;
    let Some(balance) = balance.map(|balance| balance + amount) else { return Ok(None) };
    sqlx::query("update postgres_only.balances set balance = $2 where user_id = $1")
        .bind(user)
        .bind(balance)
        .execute(&mut *transaction)
        .await?;
    let ledger =
        "insert into postgres_only.ledger (user_id, amount, balance_after) values ($1, $2, $3) returning id";
    let id: i64 =
        sqlx::query_scalar(ledger).bind(user).bind(amount).bind(balance).fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Some((id, balance)))
}
