//! A network that can be cut, held up and delayed: a TCP proxy between an instance and a server.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Carries.
    Whole,
    /// Every piece takes longer, both ways.
    Slow(Duration),
    /// Nothing arrives, nobody is told; what was sent arrives when it is whole again.
    Silent,
    /// All connections are reset, new ones too.
    Cut,
}

/// All of an instance's connections to a server.
pub struct Proxy {
    pub port: u16,
    network: watch::Sender<Network>,
    upstream: watch::Sender<SocketAddr>,
}

impl Proxy {
    /// Listens on a free port and carries to `upstream`.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (network, state) = watch::channel(Network::Whole);
        let (upstream, target) = watch::channel(upstream);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let whole = *state.borrow() != Network::Cut;
                if whole {
                    tokio::spawn(carry(client, target.clone(), state.clone()));
                }
            }
        });
        Self { port, network, upstream }
    }

    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// New connections go elsewhere; those that are open are reset.
    pub fn redirect(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }
}

async fn carry(client: TcpStream, mut target: watch::Receiver<SocketAddr>, state: watch::Receiver<Network>) {
    let upstream = *target.borrow_and_update();
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut cut = state.clone();
    // Either way's end, a cut, or another target ends both.
    tokio::select! {
        () = pipe(from_client, to_server, state.clone()) => {}
        () = pipe(from_server, to_client, state) => {}
        _ = cut.wait_for(|network| *network == Network::Cut) => {}
        _ = target.changed() => {}
    }
}

async fn pipe(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<Network>) {
    let mut piece = vec![0; 16_384];
    loop {
        let Ok(length) = from.read(&mut piece).await else { return };
        if length == 0 {
            return;
        }
        let network = *state.borrow_and_update();
        if let Network::Slow(delay) = network {
            tokio::time::sleep(delay).await;
        }
        let whole = state.wait_for(|network| *network != Network::Silent).await.is_ok();
        if !whole {
            return;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
