//! A Redis Cluster as what it is to us: a few servers, each of which answers for some slots.
//!
//! There is a line to each master, and a key's slot says which. Redirections are not followed: a server that
//! a key was not named for must not be sent it, also when the cluster says that the slot is there now. What
//! was refused (MOVED, ASK, TRYAGAIN, CLUSTERDOWN) makes us ask again who answers for what; a shard whose
//! slot has moved is rebuilt where it is. Where nodes differ in what they say, the owner with the highest
//! configuration epoch counts, as among the nodes themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::Duration;

use fred::clients::Client;
use fred::prelude::{Builder, ClientLike, Config};
use fred::types::config::{Server, ServerConfig};
use fred::util::redis_keyslot;
use tokio::sync::{Notify, watch};

use super::RedisError;
use super::line::Lines;
use super::server::{ask, away, builder};

const SLOTS: usize = 16_384;
/// Pause between two questions who answers for what.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same where something was refused or lost.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long all masters may take to be reached at the start.
const START_MAX: Duration = Duration::from_secs(5);

/// Who answers for what: for each slot a node, by its place in the list.
#[derive(Clone, Default)]
struct Map {
    nodes: Vec<(Server, Arc<Lines>)>,
    owners: Vec<Option<u16>>,
}

/// The cluster.
pub struct Cluster {
    config: Config,
    seeds: Vec<Server>,
    map: RwLock<Map>,
    changed: watch::Sender<u64>,
    look: Arc<Notify>,
}

impl Cluster {
    /// Reaches one of the nodes of a `redis-cluster://` URL, learns who the masters are, and reaches all of
    /// them.
    pub async fn open(
        config: Config,
        seeds: Vec<Server>,
        changed: watch::Sender<u64>,
    ) -> Result<Arc<Self>, RedisError> {
        let look = Arc::new(Notify::new());
        let cluster = Arc::new(Self { config, seeds, map: RwLock::default(), changed, look });
        cluster.learn().await?;
        let until = tokio::time::Instant::now() + START_MAX;
        while let Some((node, _)) = cluster.nodes().into_iter().find(|(_, lines)| lines.current().is_none()) {
            if tokio::time::Instant::now() > until {
                return Err(RedisError::Away(format!("the cluster's node {node} is not reached")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::spawn(keep(Arc::downgrade(&cluster), cluster.changed.subscribe()));
        Ok(cluster)
    }

    fn map(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// All masters.
    pub fn nodes(&self) -> Vec<(Server, Arc<Lines>)> {
        self.map().nodes.clone()
    }

    /// Who answers for a key.
    pub fn lines_of(&self, key: &str) -> Result<Arc<Lines>, RedisError> {
        let slot = redis_keyslot(key.as_bytes());
        let map = self.map();
        let owner = map.owners.get(usize::from(slot)).copied().flatten();
        let node = owner.and_then(|owner| map.nodes.get(usize::from(owner)));
        node.map(|(_, lines)| lines.clone())
            .ok_or_else(|| RedisError::Away(format!("no node of the cluster answers for slot {slot}")))
    }

    /// Something was refused that says that another answers, perhaps: ask soon.
    pub fn look_soon(&self) {
        self.look.notify_one();
    }

    /// The nodes of what the masters say, or else any node that can be reached.
    async fn views(&self) -> Result<Vec<View>, RedisError> {
        let known = self.nodes();
        let lines = known.iter().filter_map(|(server, lines)| Some((server, lines.current()?)));
        let asked = lines.map(|(server, line)| async move { view(server, &line.client).await.ok() });
        let views: Vec<View> = futures::future::join_all(asked).await.into_iter().flatten().collect();
        if !views.is_empty() {
            return Ok(views);
        }
        let mut why = RedisError::Away("no node of the cluster is known".into());
        for server in known.iter().map(|(server, _)| server).chain(&self.seeds) {
            let once = self.builder_of(server).build().map_err(away)?;
            let answer = match once.init().await {
                Ok(_) => view(server, &once).await,
                Err(error) => Err(away(error)),
            };
            drop(once.quit().await);
            match answer {
                Ok(view) => return Ok(vec![view]),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Asks who answers for what, opens lines to masters that are new, ends those to others.
    async fn learn(&self) -> Result<(), RedisError> {
        let views = self.views().await?;
        let mut owners: Vec<Option<(u64, &Server)>> = vec![None; SLOTS];
        for owner in views.iter().flatten() {
            for slot in owner.slots.iter().flat_map(|(from, to)| *from..=*to) {
                let known = &mut owners[usize::from(slot)];
                if known.is_none_or(|(epoch, _)| epoch < owner.epoch) {
                    *known = Some((owner.epoch, &owner.server));
                }
            }
        }
        let masters: BTreeSet<&Server> = owners.iter().flatten().map(|(_, server)| *server).collect();
        let before = self.map().clone();
        let mut lines: BTreeMap<Server, Arc<Lines>> = before.nodes.into_iter().collect();
        let gone: Vec<Server> = lines.keys().filter(|server| !masters.contains(server)).cloned().collect();
        let gone: Vec<Arc<Lines>> = gone.iter().filter_map(|server| lines.remove(server)).collect();
        for server in &masters {
            let start = || Lines::start(self.builder_of(server), self.changed.clone());
            lines.entry((*server).clone()).or_insert_with(start);
        }
        let places: BTreeMap<&Server, u16> = masters.into_iter().zip(0..).collect();
        let owners: Vec<_> =
            owners.iter().map(|owner| owner.and_then(|(_, at)| places.get(at).copied())).collect();
        // Both are sorted by server.
        let map = Map { nodes: lines.into_iter().collect(), owners };
        if !gone.is_empty() || map.owners != before.owners {
            tracing::info!(masters = map.nodes.len(), "the cluster answers from other nodes now");
            *self.map.write().unwrap_or_else(PoisonError::into_inner) = map;
            self.changed.send_modify(|count| *count += 1);
        }
        for lines in gone {
            lines.end().await;
        }
        Ok(())
    }

    fn builder_of(&self, server: &Server) -> Builder {
        let server = ServerConfig::Centralized { server: server.clone() };
        builder(Config { server, ..self.config.clone() })
    }
}

/// Learns again and again, sooner where something was refused or a line was lost.
async fn keep(cluster: Weak<Cluster>, mut changed: watch::Receiver<u64>) {
    loop {
        let Some(look) = cluster.upgrade().map(|cluster| cluster.look.clone()) else { return };
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = look.notified() => tokio::time::sleep(LOOK_AGAIN).await,
            _ = changed.changed() => tokio::time::sleep(LOOK_AGAIN).await,
        }
        changed.mark_unchanged();
        let Some(known) = cluster.upgrade() else { return };
        if let Err(error) = known.learn().await {
            tracing::warn!(%error, "asking the cluster who answers for what");
        }
    }
}

/// A master as a node sees it.
#[derive(Debug, PartialEq)]
struct Owner {
    server: Server,
    epoch: u64,
    /// From and to, both included.
    slots: Vec<(u16, u16)>,
}

type View = Vec<Owner>;

async fn view(asked: &Server, client: &Client) -> Result<View, RedisError> {
    let answer = ask(client, "CLUSTER", vec!["NODES".into()]).await?.into_string().unwrap_or_default();
    Ok(read_nodes(asked, &answer))
}

/// Reads CLUSTER NODES: `id ip:port@bus[,host] flags master ping pong epoch link slot …`. A node that does
/// not know its own address has none; it is where we asked.
fn read_nodes(asked: &Server, text: &str) -> View {
    let owner = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, flags, epoch) = (fields.get(1)?, fields.get(2)?, fields.get(6)?);
        let mut flags = flags.split(',');
        if !flags.clone().any(|flag| flag == "master") || flags.any(|flag| flag == "noaddr") {
            return None;
        }
        let (host, port) = address.split('@').next()?.rsplit_once(':')?;
        let host = if host.is_empty() { asked.host.to_string() } else { host.to_owned() };
        let range = |slots: &&str| {
            // Slots under way between nodes are in brackets; they belong to whom they belonged to.
            let (from, to) = slots.split_once('-').unwrap_or((slots, slots));
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            (usize::from(to) < SLOTS).then_some((from, to))
        };
        let slots: Vec<(u16, u16)> = fields.iter().skip(8).filter_map(range).collect();
        let server = Server::new(host, port.parse().ok()?);
        (!slots.is_empty()).then_some(Owner { server, epoch: epoch.parse().ok()?, slots })
    };
    text.lines().filter_map(owner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_and_their_slots_are_read() {
        let text = "aa :7001@17001,host myself,master - 0 0 3 connected 0-5460 5462 [5461->-bb]\n\
                    bb 10.0.0.2:7002@17002 master - 0 0 2 connected 5463-16383 5461\n\
                    cc 10.0.0.3:7003@17003 slave bb 0 0 2 connected\n\
                    dd :0@0 master,noaddr - 0 0 1 disconnected 7\n\
                    ee 10.0.0.5:7005@17005 master - 0 0 0 connected\n";
        let asked = Server::new("10.0.0.1", 6379);
        let owner = |host: &str, port, epoch, slots: &[(u16, u16)]| Owner {
            server: Server::new(host, port),
            epoch,
            slots: slots.to_vec(),
        };
        assert_eq!(
            read_nodes(&asked, text),
            [
                owner("10.0.0.1", 7001, 3, &[(0, 5460), (5462, 5462)]),
                owner("10.0.0.2", 7002, 2, &[(5463, 16383), (5461, 5461)]),
            ]
        );
    }
}
