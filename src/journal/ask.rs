//! Calls of scripts that journal nothing.

use super::Journal;
use super::desk::{self, Once};
use crate::error::Error;
use crate::redis::{Args, Call, RedisError, Reply, Script, Shard, Space};

impl Journal {
    /// Calls a script that journals nothing: a read, or a soft change. Once more when the epoch was stale.
    pub async fn ask<S: Script>(&self, shard: Shard, build: impl Fn(&Space) -> S) -> Result<Reply, Error> {
        let ask = move |space: Space| {
            let (mut keys, mut args) = (vec![space.meta()], Args::default());
            args.push(space.epoch);
            args.push(self.clock.argument());
            keys.extend(build(&space).tell(&mut args));
            self.redis.call_quick(Call { source: S::SOURCE, keys, args })
        };
        self.asked(shard, ask).await
    }

    /// The same for a script that uses `lib/reads`: asked together with others who ask the same of the same
    /// keys, each for himself.
    pub async fn ask_together<S: Script>(
        &self,
        shard: Shard,
        build: impl Fn(&Space) -> S,
    ) -> Result<Reply, Error> {
        let ask = move |space: Space| {
            let (mut keys, mut args) = (vec![space.meta()], Args::default());
            keys.extend(build(&space).tell(&mut args));
            let once = Once { epoch: space.epoch, clock: self.clock.argument(), writes: None };
            self.desk.call(desk::Call { source: S::SOURCE, keys, once, asked_ms: 0, said: args.packed() })
        };
        self.asked(shard, ask).await
    }

    async fn asked<A: Future<Output = Result<Reply, RedisError>>>(
        &self,
        shard: Shard,
        ask: impl Fn(Space) -> A,
    ) -> Result<Reply, Error> {
        for _ in 0..2 {
            let reply = ask(self.shards.live(shard).await?).await?;
            if !self.is_stale(&reply, shard).await? {
                return Ok(reply);
            }
        }
        Err(changing(shard))
    }
}

pub(super) fn changing(shard: Shard) -> Error {
    Error::unavailable(format_args!("shard {shard} changes its epoch"))
}
