//! What goes wrong, chosen by a seed.

use std::time::{Duration, Instant};

use super::Torture;
use super::proxy::Network;
use super::servers::{Act, Which, follow};
use crate::harness::{redis_at, redis_raw};

/// How long an instance is stopped at most.
const FROZEN: Duration = Duration::from_secs(30);

/// Longer than a payment may stand still before others take it for abandoned.
const ABANDONED: Duration = Duration::from_secs(7);
/// How slow the network is before.
const SLOW: Duration = Duration::from_millis(150);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    RedisKilled,
    RedisCameBackOlder,
    RedisCameBackEmpty,
    RedisFlushed,
    RedisStopped,
    RedisFull,
    RedisForgotScripts,
    LaggingReplicaPromoted,
    PostgresKilled,
    PostgresStopped,
    BothKilled,
    InstanceKilled,
    InstanceStopped,
    NetworkCut,
    NetworkSilent,
    NetworkSlow,
    /// An operator asks for a rebuild, for no reason.
    RebuiltByHand,
    /// Its way to Redis is slow, so that it stops amid payments; others take them for abandoned.
    SlowInstanceStopped,
    /// A replica that lags a little takes over; so little that it is soon as long as what it replaced.
    BrieflyLaggingReplicaPromoted,
    /// A master is killed, its replica takes its place.
    MasterFailedOver,
    /// The same, and the master hangs instead of being gone.
    MasterHung,
    /// A shard's slot goes to another node, half of it for a while.
    SlotMoved,
}

/// What happens to a cluster.
pub const CLUSTER: &[Fault] = &[
    Fault::MasterFailedOver,
    Fault::MasterHung,
    Fault::SlotMoved,
    Fault::RedisFlushed,
    Fault::RedisForgotScripts,
    Fault::PostgresKilled,
    Fault::InstanceStopped,
];

/// What happens under sentinels.
pub const SENTINEL: &[Fault] =
    &[Fault::MasterFailedOver, Fault::MasterHung, Fault::InstanceKilled, Fault::RedisFlushed];

/// All that happens to a Redis of one server; a run takes each in turn before any comes again.
pub const ALL: &[Fault] = &[
    Fault::RedisKilled,
    Fault::RedisCameBackOlder,
    Fault::RedisCameBackEmpty,
    Fault::RedisFlushed,
    Fault::RedisStopped,
    Fault::RedisFull,
    Fault::RedisForgotScripts,
    Fault::LaggingReplicaPromoted,
    Fault::PostgresKilled,
    Fault::PostgresStopped,
    Fault::BothKilled,
    Fault::InstanceKilled,
    Fault::InstanceStopped,
    Fault::NetworkCut,
    Fault::NetworkSilent,
    Fault::NetworkSlow,
    Fault::RebuiltByHand,
    Fault::SlowInstanceStopped,
];

impl Torture {
    /// Lets it happen, waits as long as the seed says, and ends it; when it ended.
    pub async fn inject(&mut self, fault: Fault) -> Instant {
        let pause = Duration::from_millis(self.random.u64(100..1_500));
        match fault {
            Fault::RedisKilled => self.servers.perform(Act::KillRedis).await,
            Fault::RedisCameBackOlder => {
                self.servers.perform(Act::CopyRedis).await;
                tokio::time::sleep(pause).await;
                self.servers.perform(Act::KillRedisStale).await;
            }
            Fault::RedisCameBackEmpty => self.servers.perform(Act::KillRedisEmpty).await,
            Fault::RedisFlushed => self.tell_every_redis(&["FLUSHALL"]).await,
            // Now and then longer than a silent server is borne.
            Fault::RedisStopped => {
                let longer = self.random.u8(..3) == 0;
                self.stopped(Which::Redis, if longer { pause * 4 } else { pause }).await;
            }
            Fault::RedisFull => {
                redis_at(self.redis(), &["CONFIG", "SET", "maxmemory", "1"]).await;
                tokio::time::sleep(pause).await;
                redis_at(self.redis(), &["CONFIG", "SET", "maxmemory", "0"]).await;
            }
            Fault::RedisForgotScripts => self.tell_every_redis(&["SCRIPT", "FLUSH"]).await,
            Fault::LaggingReplicaPromoted => self.promote(pause).await,
            Fault::PostgresKilled => self.servers.perform(Act::KillPostgres).await,
            Fault::PostgresStopped => self.stopped(Which::Postgres, pause).await,
            Fault::BothKilled => self.servers.perform(Act::KillBoth).await,
            Fault::InstanceKilled => {
                let at = self.random.usize(..self.instances.len());
                self.restart_instance(at).await;
            }
            Fault::InstanceStopped => {
                let pid = self.instances[self.random.usize(..self.instances.len())].pid();
                onrush::servers::signal(pid, "STOP");
                // Long enough for its leases to go to another; now and then for much longer.
                let longer = self.random.u8(..8) == 0;
                tokio::time::sleep(if longer { FROZEN } else { pause * 2 }).await;
                onrush::servers::signal(pid, "CONT");
            }
            Fault::NetworkCut => self.network(Network::Cut, pause).await,
            Fault::NetworkSilent => self.network(Network::Silent, pause).await,
            Fault::NetworkSlow => {
                let delay = Duration::from_millis(self.random.u64(5..200));
                self.network(Network::Slow(delay), pause).await;
            }
            Fault::RebuiltByHand => {
                let told = self.command(&["rebuild"], 0).output().unwrap();
                assert!(told.status.success(), "{told:?}");
            }
            Fault::SlowInstanceStopped => self.slow_instance_stopped().await,
            Fault::BrieflyLaggingReplicaPromoted => self.promote(pause / 20).await,
            Fault::MasterFailedOver => self.fail_over(false).await,
            Fault::MasterHung => self.fail_over(true).await,
            Fault::SlotMoved => self.move_slot(pause).await,
        }
        Instant::now()
    }

    /// A command for all; replicas refuse some, and follow their masters.
    async fn tell_every_redis(&self, command: &[&str]) {
        for redis in self.every_redis() {
            redis_raw(redis, command).await;
        }
    }

    async fn stopped(&self, which: Which, pause: Duration) {
        self.servers.perform(Act::Signal(which, "STOP")).await;
        tokio::time::sleep(pause).await;
        self.servers.perform(Act::Signal(which, "CONT")).await;
    }

    /// One instance's way to one server.
    async fn network(&mut self, network: Network, pause: Duration) {
        let proxy = self.random.usize(..self.proxies.len());
        self.proxies[proxy].set(network);
        tokio::time::sleep(pause).await;
        self.proxies[proxy].set(Network::Whole);
    }

    async fn slow_instance_stopped(&mut self) {
        let at = self.random.usize(..self.instances.len());
        self.proxies[2 * at].set(Network::Slow(SLOW));
        tokio::time::sleep(10 * SLOW).await;
        let pid = self.instances[at].pid();
        onrush::servers::signal(pid, "STOP");
        tokio::time::sleep(ABANDONED).await;
        onrush::servers::signal(pid, "CONT");
        self.proxies[2 * at].set(Network::Whole);
    }

    /// A replica follows, is cut off, lags, and takes over: a fail-over that loses what came last.
    async fn promote(&mut self, pause: Duration) {
        self.servers.perform(Act::StartReplica).await;
        let (old, new) = (self.redis(), self.servers.redis[1 - self.primary]);
        follow(new.port(), old.port());
        // It stands still while the old one goes on.
        redis_at(new, &["REPLICAOF", "NO", "ONE"]).await;
        tokio::time::sleep(pause).await;
        self.primary = 1 - self.primary;
        for proxy in self.proxies.iter().step_by(2) {
            proxy.redirect(new);
        }
        self.servers.perform(Act::PromoteReplica).await;
    }
}
