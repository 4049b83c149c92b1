//! What a load needs before it begins: files are read, and what no option names is made by the operator.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::connection::{Connection, Server};
use crate::lines::{Lines, Users};
use crate::mixed;
use crate::work::{Browse, Flow, Work};

/// What the load is about. Ids that a flow needs and that are not given are of things made for this load,
/// with --operator-token.
#[derive(Args)]
pub struct Targets {
    /// An access token of an OPERATOR.
    #[arg(long, value_name = "TOKEN", hide_env_values = true, env = "RUSH_OPERATOR_TOKEN")]
    operator_token: Option<String>,
    /// Which queue is joined, or where the tickets are from. One that is made lets nobody in.
    #[arg(long, value_name = "ID")]
    queue: Option<String>,
    /// Which queue is joined in the mixed load: not --queue, since who polls is in that one already.
    #[arg(long, value_name = "ID")]
    join_queue: Option<String>,
    /// A file of tickets, one a line; `rush join-all` writes it.
    #[arg(long, value_name = "FILE")]
    tickets: Option<PathBuf>,
    /// Whose coupons are claimed.
    #[arg(long, value_name = "ID")]
    campaign: Option<String>,
    /// What is ordered.
    #[arg(long, value_name = "ID")]
    menu: Option<String>,
    /// Whose seats are held, more with commas; all have shows on the same days.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    concert: Vec<String>,
    /// Days of the shows, with commas; those of the first concert when absent.
    #[arg(long, value_name = "DAYS", value_delimiter = ',')]
    dates: Vec<String>,
    /// Shows of a concert that is made.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=365))]
    shows: u32,
    /// Seats of each show.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seats_per_show: u64,
    /// The first seat that nobody has, for another load of the same shows.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    first_seat: u64,
    /// How many the queue of a concert that is made lets in.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    admit_per_second: u32,
    /// What buyers look at before they choose.
    #[arg(long, value_enum, default_value = "dates")]
    browse: Browse,
    /// Users, the last of the file, for whom the mixed load holds seats.
    #[arg(long, default_value_t = 100)]
    holders: usize,
    /// Users of `rush postgres-only`.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    postgres_users: u64,
}

/// Reads and makes what the flow needs.
pub async fn work(flow: Flow, of: &Targets, users: Option<&Path>, server: &Server) -> anyhow::Result<Work> {
    let has_tickets = flow.has(Flow::Poll) || flow == Flow::Leave;
    let is_plain =
        flow != Flow::Mixed && has_tickets || matches!(flow, Flow::Livez | Flow::Bare | Flow::PostgresCharge);
    let mut work = Work {
        flow,
        run: run(),
        users: Users::default(),
        tickets: Lines::default(),
        queue: of.queue.clone().unwrap_or_default(),
        join_queue: if flow == Flow::Mixed { &of.join_queue } else { &of.queue }.clone().unwrap_or_default(),
        campaign: of.campaign.clone().unwrap_or_default(),
        menu: of.menu.clone().unwrap_or_default(),
        concerts: of.concert.clone(),
        dates: of.dates.clone(),
        seats_per_show: of.seats_per_show,
        first_seat: of.first_seat,
        browse: of.browse,
        holders: Vec::new(),
        postgres_users: of.postgres_users,
    };
    if !is_plain {
        work.users = Users::read(users.context("--users is needed")?)?;
    }
    if has_tickets {
        ensure!(!work.queue.is_empty(), "tickets are of a --queue");
        work.tickets = Lines::read(of.tickets.as_deref().context("--tickets is needed")?)?;
        ensure!(work.tickets.len() > 0, "there are no tickets");
    }
    let mut operator =
        Operator { connection: Connection::open(server).await?, token: of.operator_token.clone() };
    if flow.has(Flow::Join) && work.join_queue.is_empty() {
        let what = if flow == Flow::Mixed { "join-queue" } else { "queue" };
        work.join_queue = operator.make(what, "/v1/queues", &queue(0, 0), "queueId").await?;
    }
    if flow.has(Flow::Claim) && work.campaign.is_empty() {
        let all = json!({
            "name": "Rush",
            "quantity": 10_000_000_000_u64,
            "expiresAt": "2099-01-01T00:00:00Z",
            "perUser": 100,
        });
        work.campaign = operator.make("campaign", "/v1/coupon-campaigns", &all, "campaignId").await?;
    }
    if flow.has(Flow::Order) && work.menu.is_empty() {
        let menu = json!({ "name": format!("Rush {}", work.run), "price": 100 });
        work.menu = operator.make("menu", "/v1/menus", &menu, "menuId").await?;
    }
    if flow.has(Flow::Purchase) {
        operator.concert(of, &mut work).await?;
    }
    if flow == Flow::Mixed {
        ensure!(work.concerts.len() == 1, "holders are in the queue of one concert");
        work.holders = mixed::let_in(server, &work.users, &work.concerts[0], of.holders).await?;
    }
    Ok(work)
}

/// A name that no other run has: the time in milliseconds.
fn run() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_millis(), std::process::id())
}

fn queue(admit_per_second: u32, max_active: u32) -> Value {
    json!({
        "name": "Rush", "admitPerSecond": admit_per_second, "maxActive": max_active, "activeSeconds": 3_600,
    })
}

/// Who makes things.
struct Operator {
    connection: Connection,
    token: Option<String>,
}

impl Operator {
    /// Makes something and tells its id, also to who looks on: it can be named in the next load.
    async fn make(&mut self, what: &str, path: &str, body: &Value, id: &str) -> anyhow::Result<String> {
        let token = self.token.clone().with_context(|| format!("--{what} or --operator-token is needed"))?;
        self.connection.begin("POST", &[path]).header("Authorization", &["Bearer ", &token]);
        self.connection.json(&[&body.to_string()]);
        let made = self.answer().await?;
        let id = made[id].as_str().with_context(|| format!("a {what} without an id"))?.to_owned();
        eprintln!("made for this load: {what} {id}");
        Ok(id)
    }

    async fn answer(&mut self) -> anyhow::Result<Value> {
        let answer = self.connection.send().await?;
        let body = String::from_utf8_lossy(answer.body);
        ensure!(answer.status < 300, "{} {body}", answer.status);
        Ok(serde_json::from_str(&body)?)
    }

    /// A concert with its shows, or the days of the one that was named.
    async fn concert(&mut self, of: &Targets, work: &mut Work) -> anyhow::Result<()> {
        if work.concerts.is_empty() {
            let is_mixed = work.flow == Flow::Mixed;
            let body = json!({
                "title": "Rush",
                "queue": queue(of.admit_per_second, 10_000_000),
                "maxSeatsPerUser": if is_mixed { 1_000 } else { 1 },
                "holdSeconds": 3_600,
            });
            let concert = self.make("concert", "/v1/concerts", &body, "concertId").await?;
            for show in 0..of.shows {
                // From the day after tomorrow: that is not over in any zone.
                let day = chrono::Utc::now().date_naive() + chrono::Days::new(u64::from(show) + 2);
                let body = json!({ "date": day.to_string(), "price": 100, "seatCount": of.seats_per_show });
                self.make("show", &format!("/v1/concerts/{concert}/shows"), &body, "showId").await?;
            }
            work.concerts.push(concert);
            work.dates.clear();
        }
        if work.dates.is_empty() {
            self.connection.begin("GET", &["/v1/concerts/", &work.concerts[0]]).empty();
            let found = self.answer().await?;
            let shows = found["shows"].as_array().context("a concert without shows")?;
            work.dates = shows.iter().filter_map(|show| show["date"].as_str().map(str::to_owned)).collect();
            let seats = shows.iter().filter_map(|show| show["seatCount"].as_u64()).min();
            work.seats_per_show = seats.unwrap_or(0);
        }
        ensure!(!work.dates.is_empty(), "a concert without shows");
        Ok(())
    }
}
