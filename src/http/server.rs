//! The listener: header time-out, no delay, a bound on connections, and a way out that loses no request.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::edge::Edge;
use super::peer::{self, Peer};
use super::shares::Shares;
use crate::config::Limited;

/// Pause after an error of `accept` (too many open files), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`, then lets running requests finish for at most `drain`.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: &Limited,
    stop: impl Future<Output = ()>,
    drain: Duration,
) {
    let edge = Arc::new(Edge::new(routes, limits.clone()));
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let callers = Arc::new(Shares::default());
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head_timeout);
    builder.http1().max_buf_size(limits.head_bytes_max);
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Beyond the bound a connection is closed at once: waiting clients cost nothing that way.
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        let address = peer.ip().to_canonical();
        let address_max = limits.connections_address_max.filter(|_| !limits.trusted_proxies.trusts(address));
        let Some(line) = callers.take(peer::counted(address), address_max) else { continue };
        let socket = SockRef::from(&stream);
        let set =
            socket.set_nodelay(true).and_then(|()| socket.set_tcp_user_timeout(Some(limits.unread_timeout)));
        if let Err(error) = set {
            tracing::debug!(%error, "setting a socket up");
        }
        let edge = edge.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let edge = edge.clone();
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(Peer(address));
            async move { Ok::<_, Infallible>(edge.answer(request).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop((permit, line));
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
}
