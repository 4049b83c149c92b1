//! One Redis and one Postgres for all tests: those of `ONRUSH_REDIS_URL` and `ONRUSH_DATABASE_URL` (as
//! `onrush with-servers` sets them), else ones that this process starts and that end with it.

use std::sync::OnceLock;

use onrush::servers::{Durability, Folder, Programs, Server, free_port};

/// Where the servers are.
pub struct Servers {
    pub redis_url: String,
    pub database_url: String,
}

pub fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let of = |name: &str| std::env::var(name).ok().filter(|url| !url.is_empty());
        match (of("ONRUSH_REDIS_URL"), of("ONRUSH_DATABASE_URL")) {
            (Some(redis_url), Some(database_url)) => Servers { redis_url, database_url },
            _ => start(),
        }
    })
}

/// Starts both from a thread that lives as long as the process, since they die with the thread that started
/// them.
fn start() -> Servers {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let folder = tempfile::Builder::new()
            .prefix("onrush-it-")
            .tempdir_in("/tmp")
            .expect("a folder for the servers");
        let programs = Programs::find().expect("redis-server and postgres are installed");
        let opened = Folder::open(folder.path()).expect("the folder can be locked");
        let redis = opened.start_redis(&programs, free_port().unwrap()).expect("redis starts");
        let postgres = opened
            .start_postgres(&programs, Durability::Unsynced, free_port().unwrap())
            .expect("postgres starts");
        tell.send(Servers { redis_url: redis.url.clone(), database_url: postgres.url.clone() }).unwrap();
        let _kept: (Server, Server) = (redis, postgres);
        loop {
            std::thread::park();
        }
    });
    told.recv().expect("the servers started")
}

/// The database's URL with all names in this schema.
pub fn database_url_of(schema: &str) -> String {
    format!("{}?options=-csearch_path%3D{schema}", servers().database_url)
}
