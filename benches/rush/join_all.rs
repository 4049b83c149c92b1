//! `rush join-all`: everybody of a file joins a queue. Both files are read and written as it goes, so that a
//! million people need no more memory than a hundred.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use crate::connection::{Connection, Server};
use crate::lines::User;
use crate::load::runtime;
use crate::requests::{self, TOKEN};

/// A join that is told `busy` is tried again so often, with this pause.
const TRIES_MAX: u32 = 100;
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Let every user of a file join a queue, and write the tickets, one a line, as they come.
#[derive(Args)]
pub struct JoinAll {
    /// Where to: http://host:port, more with commas; connections take turns.
    #[arg(long, value_name = "URLS", value_delimiter = ',', required = true)]
    url: Vec<String>,
    /// Which queue.
    #[arg(long, value_name = "ID")]
    queue: String,
    /// A file as `onrush load-users` prints it.
    #[arg(long, value_name = "FILE")]
    users: PathBuf,
    /// The file of tickets.
    #[arg(long, value_name = "FILE")]
    tickets: PathBuf,
    /// How many join at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
}

/// What the connections share.
struct Crowd {
    queue: String,
    users: RefCell<BufReader<File>>,
    tickets: RefCell<BufWriter<File>>,
}

impl JoinAll {
    /// Joins, and says how many.
    pub fn run(self) -> anyhow::Result<()> {
        let servers = self.url.iter().map(|url| Server::parse(url)).collect::<anyhow::Result<Vec<_>>>()?;
        let users =
            File::open(&self.users).with_context(|| format!("cannot read {}", self.users.display()))?;
        let tickets = File::create(&self.tickets)
            .with_context(|| format!("cannot write {}", self.tickets.display()))?;
        let crowd = Rc::new(Crowd {
            queue: self.queue,
            users: RefCell::new(BufReader::new(users)),
            tickets: RefCell::new(BufWriter::new(tickets)),
        });
        let began = Instant::now();
        let joined = runtime()?.block_on(async {
            let mut all = Vec::new();
            for at in 0..self.connections as usize {
                let connection = Connection::open(&servers[at % servers.len()]).await?;
                all.push(tokio::task::spawn_local(some(crowd.clone(), connection)));
            }
            let mut joined = 0;
            for one in all {
                joined += one.await.context("a client panicked")??;
            }
            anyhow::Ok(joined)
        })?;
        crowd.tickets.borrow_mut().flush()?;
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "{}",
            json!({ "joined": joined, "seconds": seconds, "rate": (joined as f64 / seconds).round() })
        );
        Ok(())
    }
}

/// Whoever is next joins, until nobody is left: how many were here.
async fn some(crowd: Rc<Crowd>, mut connection: Connection) -> anyhow::Result<u64> {
    let (mut line, mut joined) = (String::new(), 0);
    loop {
        line.clear();
        if crowd.users.borrow_mut().read_line(&mut line)? == 0 {
            return Ok(joined);
        }
        let Some(user) = User::parse(line.trim_end()) else { continue };
        join(&crowd, &mut connection, user).await?;
        joined += 1;
    }
}

async fn join(crowd: &Crowd, connection: &mut Connection, user: User<'_>) -> anyhow::Result<()> {
    for _ in 0..TRIES_MAX {
        requests::join(connection, &crowd.queue, user.token);
        let answer = connection.send().await?;
        match answer.status {
            200 | 201 => {
                let ticket = answer.text(TOKEN).context("a join gives no ticket")?;
                return Ok(writeln!(crowd.tickets.borrow_mut(), "{ticket}")?);
            }
            429 | 503 => tokio::time::sleep(BUSY_PAUSE).await,
            status => bail!("{} is told {status}: {}", user.id, String::from_utf8_lossy(answer.body)),
        }
    }
    bail!("{} was told to come later {TRIES_MAX} times", user.id)
}
