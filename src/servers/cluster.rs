//! Several Redis as children: a cluster of masters that share the slots, and their replicas; a sentinel.

use std::io::{Read, Write};
use std::time::Instant;

use anyhow::{Context, bail};

use super::{
    Folder, PAUSE, Programs, START_MAX, Server, answers_ping, connect, dying_with_us, free_port, wait_for,
};

/// Slots of every cluster.
const SLOTS: usize = 16_384;
/// A node that does not answer its fellows for so long is taken for failed.
const NODE_TIMEOUT_MS: &str = "2000";

/// A cluster that runs.
#[derive(Debug)]
pub struct RedisCluster {
    /// Where clients connect: `redis-cluster://…`.
    pub url: String,
    /// The masters at first, then a replica of each, in the same order.
    pub nodes: Vec<Node>,
    programs: Programs,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Where it listens.
    pub port: u16,
    /// Where its fellows reach it.
    bus: u16,
    server: Server,
}

impl RedisCluster {
    /// Starts so many masters, each with a replica where that is asked for, on free loopback ports.
    pub fn start(
        folder: &Folder,
        programs: &Programs,
        masters: usize,
        with_replicas: bool,
    ) -> anyhow::Result<Self> {
        let count = if with_replicas { masters * 2 } else { masters };
        let mut nodes: Vec<Node> = Vec::new();
        for at in 0..count {
            // What an earlier cluster left belongs to nodes on other ports.
            drop(std::fs::remove_dir_all(folder.path().join(part(at))));
            let (port, bus) = (free_port()?, free_port()?);
            nodes.push(Node { port, bus, server: start_node(folder, programs, at, port, bus)? });
            expect_ok(port, &["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()])?;
            if at > 0 {
                let meet = ["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus.to_string()];
                expect_ok(nodes[0].port, &meet)?;
            }
        }
        for (at, node) in nodes.iter().take(masters).enumerate() {
            let (from, to) = (at * SLOTS / masters, (at + 1) * SLOTS / masters - 1);
            expect_ok(node.port, &["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()])?;
        }
        let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
        wait("every node knows all others", || {
            let knows_all = |port: &u16| {
                let nodes = command(*port, &["CLUSTER", "NODES"]).unwrap_or_default();
                nodes.matches(" connected").count() == count
            };
            ports.iter().all(knows_all)
        })?;
        for at in masters..count {
            let master = id(ports[at - masters])?;
            expect_ok(ports[at], &["CLUSTER", "REPLICATE", &master])?;
        }
        let more: Vec<String> = ports[1..].iter().map(|port| format!("node=127.0.0.1:{port}")).collect();
        let url = format!("redis-cluster://127.0.0.1:{}?{}", ports[0], more.join("&"));
        let cluster = Self { url, nodes, programs: programs.clone() };
        cluster.wait_until_whole()?;
        Ok(cluster)
    }

    /// Waits until every node sees all slots served, and every replica follows.
    pub fn wait_until_whole(&self) -> anyhow::Result<()> {
        wait("it is whole", || {
            self.nodes.iter().all(|node| {
                let info = command(node.port, &["CLUSTER", "INFO"]).unwrap_or_default();
                let replication = command(node.port, &["INFO", "replication"]).unwrap_or_default();
                info.contains("cluster_state:ok") && !replication.contains("master_link_status:down")
            })
        })
    }

    /// Ends a node hard.
    pub fn kill(&mut self, at: usize) {
        self.nodes[at].server.kill();
    }

    /// Sends a signal to a node.
    pub fn signal(&self, at: usize, name: &str) {
        super::signal(self.nodes[at].server.pid(), name);
    }

    /// Starts a node that was ended, on what it had.
    pub fn restart(&mut self, folder: &Folder, at: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[at];
        node.server = start_node(folder, &self.programs, at, node.port, node.bus)?;
        Ok(())
    }
}

impl Folder {
    /// Starts a sentinel that looks after the master on a port, by itself, and calls it by a name.
    pub fn start_sentinel(
        &self,
        programs: &Programs,
        port: u16,
        name: &str,
        master: u16,
    ) -> anyhow::Result<Server> {
        let file = self.path.join("sentinel.conf");
        std::fs::write(
            &file,
            format!(
                "bind 127.0.0.1\nport {port}\nsentinel monitor {name} 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 3000\n"
            ),
        )?;
        let mut command = dying_with_us(&programs.redis, None);
        let child = command.arg(&file).arg("--sentinel").spawn().context("cannot start a sentinel")?;
        let url = format!("redis://127.0.0.1:{port}");
        let mut server = Server { name: "redis", url, child, stop_signal: "TERM" };
        wait_for(&mut server, &file, || answers_ping(port))?;
        Ok(server)
    }
}

fn part(at: usize) -> String {
    format!("node-{at}")
}

fn start_node(
    folder: &Folder,
    programs: &Programs,
    at: usize,
    port: u16,
    bus: u16,
) -> anyhow::Result<Server> {
    let bus = bus.to_string();
    let mut settings = vec!["--cluster-enabled", "yes", "--cluster-port", &bus];
    settings.extend(["--cluster-node-timeout", NODE_TIMEOUT_MS]);
    // A replica takes over however long ago it heard from its master, and follows a new one at once.
    settings.extend(["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"]);
    folder.start_redis_as(programs, &part(at), port, &settings)
}

/// A node's name in its cluster.
fn id(port: u16) -> anyhow::Result<String> {
    let answer = command(port, &["CLUSTER", "MYID"])?;
    Ok(answer.lines().nth(1).context("a node without an id")?.to_owned())
}

fn wait(what: &str, holds: impl Fn() -> bool) -> anyhow::Result<()> {
    let until = Instant::now() + START_MAX;
    while !holds() {
        if Instant::now() > until {
            bail!("a redis cluster did not start: {what}");
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn expect_ok(port: u16, words: &[&str]) -> anyhow::Result<()> {
    let answer = command(port, words)?;
    if answer != "+OK\r\n" {
        bail!("redis on port {port} answered {words:?} with {answer}");
    }
    Ok(())
}

/// A command on a connection of its own, and the raw answer, whole.
pub fn command(port: u16, words: &[&str]) -> std::io::Result<String> {
    let mut stream = connect(port)?;
    let mut request = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| request.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    // Redis answers in order and then ends the connection.
    request.push_str("*1\r\n$4\r\nQUIT\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok(answer.strip_suffix("+OK\r\n").map(str::to_owned).unwrap_or(answer))
}
