//! Serving a sandbox on a socket.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Binds `addr` (port 0 for any free one) and serves `router` until the task is aborted.
///
/// The socket accepts connections when this returns. Answers the address bound.
pub async fn serve(router: Router, addr: SocketAddr) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(addr).await?;
    let bound = listener.local_addr()?;
    let server = axum::serve(listener, router);
    let task = tokio::spawn(async move {
        // Serving ends only with the task: the accept loop of axum never gives up.
        drop(server.await);
    });
    Ok((bound, task))
}
