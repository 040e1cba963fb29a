//! What `headrace backup` makes of answers that are not a Headrace server's own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use reqwest::Method;

use crate::harness::{ADMIN, Server, answer_bytes};

/// Answers one request with these bytes, and hangs up: its URL, and the request's head.
fn answering(bytes: Vec<u8>) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let head = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let head = lines
            .map(Result::unwrap)
            .take_while(|line| !line.is_empty());
        let head: Vec<String> = head.collect();
        stream.write_all(&bytes).unwrap();
        head.join("\n")
    });
    (url, head)
}

fn backup(file: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headrace"));
    command.env_clear().envs(environment.iter().copied());
    command.arg("backup").arg(file).args(arguments);
    command.output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Some proxies tell no length: they send pieces, or hang up at the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_without_a_length_is_taken_if_it_is_whole() {
    let server = Server::start();
    let whole = answer_bytes(server.request(Method::GET, "/v1/backup")).await;
    let head = |header: &str| format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n").into_bytes();
    let piece = |bytes: &[u8]| {
        let length = format!("{:x}\r\n", bytes.len()).into_bytes();
        [&length, bytes, b"\r\n"].concat()
    };
    let (first, second) = whole.split_at(whole.len() / 2);
    let chunked = head("transfer-encoding: chunked");
    let closed = head("connection: close");
    let cases = [
        (
            "pieces",
            [&chunked, &piece(first)[..], &piece(second), b"0\r\n\r\n"].concat(),
            true,
        ),
        (
            "pieces, cut off",
            [&chunked, &piece(first)[..]].concat(),
            false,
        ),
        (
            "pieces, some missing",
            [&chunked, &piece(first)[..], b"0\r\n\r\n"].concat(),
            false,
        ),
        ("until the end", [&closed, &whole[..]].concat(), true),
        ("until the end, cut off", [&closed, first].concat(), false),
        (
            "something else",
            [&closed, &b"<html>Welcome</html>"[..]].concat(),
            false,
        ),
    ];
    for (name, bytes, is_whole) in cases {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("backup");
        let (url, asked) = answering(bytes);
        let output = backup(&file, &["--server", &url], &[("HEADRACE_TOKEN", "t")]);
        assert_eq!(
            output.status.success(),
            is_whole,
            "{name}: {}",
            error(&output)
        );
        assert!(asked.join().unwrap().contains("Bearer t"), "{name}");
        match is_whole {
            true => assert_eq!(std::fs::read(&file).unwrap(), whole, "{name}"),
            false => {
                assert!(
                    error(&output).contains("cut off"),
                    "{name}: {}",
                    error(&output)
                );
                assert_eq!(scratch.path().read_dir().unwrap().count(), 0, "{name}");
            }
        }
    }
}

#[test]
fn the_admin_token_of_this_machine_goes_to_no_server_that_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("backup");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let output = backup(
        &file,
        &["--server", &url],
        &[("HEADRACE_ADMIN_TOKEN", ADMIN)],
    );
    assert!(!output.status.success());
    assert!(
        error(&output).contains("HEADRACE_TOKEN"),
        "{}",
        error(&output)
    );
    assert!(listener.accept().is_err(), "nobody has called");
}

/// Nor does any token go where a server sends us.
#[test]
fn a_redirect_is_not_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("backup");
    let (elsewhere, _) = answering(Vec::new());
    let answer =
        format!("HTTP/1.1 307 Elsewhere\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    let (url, _) = answering(answer.into_bytes());
    let output = backup(&file, &["--server", &url], &[("HEADRACE_TOKEN", "t")]);
    assert!(!output.status.success());
    assert!(error(&output).contains("307"), "{}", error(&output));
}

#[test]
fn a_token_that_goes_out_in_the_clear_is_warned_of() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("backup");
    let told = |url: &str| {
        let output = backup(&file, &["--server", url], &[("HEADRACE_TOKEN", "t")]);
        assert!(!output.status.success());
        error(&output).contains("in the clear")
    };
    assert!(told("http://headrace.invalid"));
    assert!(!told("https://headrace.invalid"));
    assert!(!told("http://localhost:9"));
    assert!(!told("http://[::1]:9"));
}
