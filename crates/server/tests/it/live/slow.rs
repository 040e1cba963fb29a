//! Listeners that do not read.

use std::fmt::Write as _;

use headrace_sandbox::stripe::Collection;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::listener::Listener;
use super::{LIVE, committed, listed, rename};
use crate::harness::{ADMIN, PATIENCE, Server, Setup, sandbox};

/// More than the server's socket, the client's and a page can hold.
const CUSTOMERS: usize = 400;
const BYTES_EACH: usize = 40_000;

async fn with_large_records() -> (headrace_sandbox::stripe::Stripe, Server) {
    let (stripe, base) = sandbox().await;
    let description = "x".repeat(BYTES_EACH);
    for _ in 0..CUSTOMERS {
        let customer = json!({"description": description});
        stripe.create(Collection::Customer, customer).unwrap();
    }
    let server = Setup::new()
        .stripe(&base)
        .env("HEADRACE_WRITE_TIMEOUT_SECONDS", "1")
        .start();
    let sync = server.sync_stripe(&["stripe:customer"]).await;
    server.backfilled(&sync).await;
    (stripe, server)
}

/// Asks for everything, and reads nothing of the answer.
async fn silent(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let address = server.url.strip_prefix("http://").unwrap();
    let mut silent = socket.connect(address.parse().unwrap()).await.unwrap();
    let mut head = format!("GET {LIVE} HTTP/1.1\r\nhost: {address}\r\n");
    write!(
        head,
        "authorization: Bearer {ADMIN}\r\nlast-event-id: 0\r\n\r\n"
    )
    .unwrap();
    silent.write_all(head.as_bytes()).await.unwrap();
    silent
}

#[tokio::test]
async fn who_does_not_read_holds_nobody_up_is_dropped_and_loses_nothing() {
    let (stripe, server) = with_large_records().await;
    let mut silent = silent(&server).await;
    let mut other = Listener::open(&server, "", None).await;
    let change = || rename(&stripe, Collection::Customer, 0, "Shaddam");
    let newest = committed(&server, change).await;
    assert_eq!(other.next().await.unwrap().0, newest);

    server
        .until(|| async { server.logs().contains("took nothing") })
        .await;
    // What was on its way when it was dropped may still come, down to a part of an event.
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await;
    // However it ends: by the server's last byte, or by a reset.
    ended.expect("the connection ends").ok();
    let rest = String::from_utf8_lossy(&rest);
    let ids = rest.lines().filter_map(|line| line.strip_prefix("id: "));
    let last = ids.take(rest.matches("\n\n").count()).last();
    let last: u64 = last.map_or(0, |id| id.parse().unwrap());
    assert!(last < newest, "it was not dropped: it had everything");

    let mut back = Listener::open(&server, "", Some(last)).await;
    let heard = back.up_to(newest).await;
    let mut expected = listed(&server).await;
    expected.retain(|(id, _)| *id > last);
    assert_eq!(heard.len(), expected.len(), "after {last}");
    assert!(heard == expected, "after {last} it heard something else");
}
