//! Faults that only several Redis know: fail-overs, and slots that move.

use std::net::SocketAddr;
use std::time::Duration;

use super::servers::{Act, follow};
use super::world::Torture;
use crate::harness::{eventually, redis_at, redis_raw};

/// Keys that go from node to node in one step.
const KEYS_A_STEP: &str = "20";

impl Torture {
    /// Kills a master, or lets it hang, and waits until its replica is one. Whom that was done to the last
    /// time comes back first, as a replica.
    pub async fn fail_over(&mut self, hangs: bool) {
        if self.servers.nodes.is_empty() {
            return self.fail_over_by_sentinel(hangs).await;
        }
        if let Some(at) = self.dead.take() {
            self.servers.perform(Act::KillNode(at)).await;
            self.servers.perform(Act::RestartNode(at)).await;
        }
        let masters = self.masters().await;
        let (at, _) = masters[self.random.usize(..masters.len())];
        let act = if hangs { Act::SignalNode(at, "STOP") } else { Act::KillNode(at) };
        self.servers.perform(act).await;
        self.dead = Some(at);
        eventually("a replica takes over", || async { self.masters().await.len() == 3 }).await;
    }

    async fn fail_over_by_sentinel(&mut self, hangs: bool) {
        let (old, new) = (self.primary, 1 - self.primary);
        if self.dead.take().is_some() {
            self.servers.perform(Act::StartReplica).await;
            follow(self.servers.redis[new].port(), self.servers.redis[old].port());
        }
        self.servers.perform(if hangs { Act::HangAndPromote } else { Act::PromoteReplica }).await;
        self.dead = Some(old);
        self.primary = new;
        eventually("the sentinel makes the replica a master", || async {
            redis_at(self.redis(), &["ROLE"]).await.contains("master")
        })
        .await;
    }

    /// Nodes that answer for slots, by their places, with their names.
    async fn masters(&self) -> Vec<(usize, String)> {
        let mut masters = Vec::new();
        for (at, node) in self.servers.nodes.iter().enumerate() {
            if self.dead == Some(at) {
                continue;
            }
            let nodes = redis_raw(*node, &["CLUSTER", "NODES"]).await;
            let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
            let fields: Vec<&str> = own.split(' ').collect();
            if fields.len() > 8 && fields[2].contains("master") {
                masters.push((at, fields[0].to_owned()));
            }
        }
        masters
    }

    /// Moves the slot of a shard to another master, as an operator's tool does, and stops half-way for a
    /// while: what is asked for then is refused with ASK or TRYAGAIN, and later with MOVED.
    pub async fn move_slot(&mut self, pause: Duration) {
        let key = format!("onrush:{{s{:02}}}:meta", self.random.u8(..4));
        let mut masters = self.masters().await;
        self.random.shuffle(&mut masters);
        let owns = async |at: usize| redis_raw(self.servers.nodes[at], &["TYPE", &key]).await == "+hash\r\n";
        let mut from = None;
        for (at, _) in &masters {
            if owns(*at).await {
                from = Some(*at);
            }
        }
        let from = from.expect("a master has the shard");
        let from_id = &masters.iter().find(|(at, _)| *at == from).unwrap().1;
        let (to, to_id) = masters.iter().find(|(at, _)| *at != from).unwrap();
        let (source, target) = (self.servers.nodes[from], self.servers.nodes[*to]);
        let slot = redis_at(source, &["CLUSTER", "KEYSLOT", &key]).await;
        let slot = slot.trim_start_matches(':').trim();
        redis_at(target, &["CLUSTER", "SETSLOT", slot, "IMPORTING", from_id]).await;
        redis_at(source, &["CLUSTER", "SETSLOT", slot, "MIGRATING", to_id]).await;
        move_some(source, target, slot).await;
        tokio::time::sleep(pause).await;
        while move_some(source, target, slot).await {}
        for node in [target, source] {
            redis_at(node, &["CLUSTER", "SETSLOT", slot, "NODE", to_id]).await;
        }
    }
}

/// Whether there was anything to move.
async fn move_some(source: SocketAddr, target: SocketAddr, slot: &str) -> bool {
    let keys = redis_at(source, &["CLUSTER", "GETKEYSINSLOT", slot, KEYS_A_STEP]).await;
    let keys: Vec<&str> = keys.lines().filter(|line| line.starts_with("onrush:")).collect();
    if keys.is_empty() {
        return false;
    }
    let port = target.port().to_string();
    let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
    command.extend(keys);
    redis_at(source, &command).await;
    true
}
