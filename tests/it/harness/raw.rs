//! The servers of a test's application, asked past it.

use std::fmt::Debug;

use sqlx::{Connection, Executor, PgConnection};

use super::{TestApp, database_url_of, eventually, redis_bytes, redis_nodes, redis_raw};

impl TestApp {
    /// Waits until every shard is live again, in this epoch or a later one.
    pub async fn rebuilt(&self, epoch: i64) {
        eventually("all shards are rebuilt", || async {
            self.count("select coalesce(min(epoch) filter (where state = 'live'), 0) from journal_cursor")
                .await
                >= epoch
                && self.count("select count(*) from journal_cursor where state <> 'live'").await == 0
        })
        .await;
        self.ready().await;
    }

    /// A Redis command that answers with a number.
    pub async fn redis_int(&self, command: &[&str]) -> i64 {
        self.redis(command).await.trim_start_matches(':').trim().parse().expect("a number")
    }

    /// A Redis command, on a connection of its own, to whom its key belongs: the beginning of the raw answer.
    pub async fn redis(&self, command: &[&str]) -> String {
        String::from_utf8_lossy(&self.redis_bytes(command).await).into_owned()
    }

    /// The same, of words and answers that are no text.
    pub async fn redis_bytes(&self, command: &[impl AsRef<[u8]> + Debug]) -> Vec<u8> {
        let mut last = Vec::new();
        for node in redis_nodes(&self.config.redis_url) {
            last = redis_bytes(node, command).await;
            if !last.starts_with(b"-MOVED") {
                break;
            }
        }
        assert!(!last.starts_with(b"-"), "redis refused {command:?}: {}", String::from_utf8_lossy(&last));
        last
    }

    /// A script that answers with a number, without keys, on every server: the sum.
    pub async fn redis_everywhere(&self, script: &str, arg: &str) -> i64 {
        let mut sum = 0;
        for node in redis_nodes(&self.config.redis_url) {
            let answer = redis_raw(node, &["EVAL", script, "0", arg]).await;
            sum += answer.trim_start_matches(':').trim().parse::<i64>().expect("a number");
        }
        sum
    }

    /// Keeps Postgres from committing anything of the journal until the lock is dropped.
    pub async fn hold_up_postgres(&self) -> PgConnection {
        let mut pg = PgConnection::connect(&database_url_of(&self.schema)).await.unwrap();
        pg.execute("begin; lock table operations in exclusive mode").await.unwrap();
        pg
    }

    /// All keys of this test's prefix are gone from Redis, as if it had come back empty.
    pub async fn lose_redis(&self) {
        let script = "local cursor = '0'
            repeat
                local found = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
                for _, key in ipairs(found[2]) do redis.call('DEL', key) end
                cursor = found[1]
            until cursor == '0'
            return 0";
        self.redis_everywhere(script, &format!("{}:*", self.config.prefix)).await;
    }

    /// Hours of menus that Redis counts, in all shards.
    pub async fn ranking_size(&self) -> i64 {
        let mut sum = 0;
        for shard in 0..self.config.shards.unwrap_or(0) {
            let key = self.journal_key(shard).replace(":journal", ":ranking:hours");
            sum += self.redis_int(&["ZCARD", &key]).await;
        }
        sum
    }
}
