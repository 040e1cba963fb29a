//! A client of server-sent events.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use super::LIVE;
use crate::harness::{PATIENCE, Server};

/// What a listener was sent: the id of an event, and its record.
pub(super) type Event = (u64, Value);

/// Somebody who listens.
pub(super) struct Listener {
    response: Response,
    unread: Vec<u8>,
}

impl Listener {
    pub(super) async fn open(server: &Server, query: &str, last: Option<u64>) -> Self {
        let request = server.request(Method::GET, &format!("{LIVE}{query}"));
        Self::send(match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        })
        .await
    }

    pub(super) async fn send(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            unread: Vec::new(),
        }
    }

    /// The next event; `None` when the server ended it.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(block) = take_block(&mut self.unread) {
                if let Some(event) = read_event(&block) {
                    return Some(event);
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("something is sent").unwrap()?;
            self.unread.extend_from_slice(&chunk);
        }
    }

    /// The events up to the one with this id.
    pub(super) async fn up_to(&mut self, last: u64) -> Vec<Event> {
        let mut events = Vec::new();
        while events.last().is_none_or(|(id, _)| *id != last) {
            events.push(self.next().await.expect("it goes on"));
        }
        events
    }
}

/// What ends with an empty line.
fn take_block(unread: &mut Vec<u8>) -> Option<String> {
    let end = unread.windows(2).position(|two| two == b"\n\n")?;
    let block = unread.drain(..end + 2).collect();
    Some(String::from_utf8(block).unwrap())
}

/// `None` for a comment.
fn read_event(block: &str) -> Option<Event> {
    let lines: Vec<&str> = block.trim_end().lines().collect();
    if lines.iter().all(|line| line.starts_with(':')) {
        return None;
    }
    let [id, "event: record", data] = lines[..] else {
        panic!("no event of a record: {block}");
    };
    let id = id.strip_prefix("id: ").unwrap().parse().unwrap();
    let record: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(record["updated_idx"], id);
    Some((id, record))
}
