//! What `headrace backup` makes of answers that are not a Headrace server's own.

use std::fs::File;
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
    // Its beginning is that of a whole one.
    let mut other = whole.clone();
    other[8_192..12_288].fill(b'x');
    let nothing = [&whole[..100], &vec![0; whole.len() - 100]].concat();
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
        ("damaged", [&closed, &other[..]].concat(), false),
        ("a header alone", [&closed, &nothing[..]].concat(), false),
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
                    error(&output).contains("cut off")
                        || error(&output).contains("no whole backup"),
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

/// Who listens where the server of the data directory would is not it.
#[tokio::test]
async fn the_admin_token_of_this_machine_goes_to_the_server_that_has_the_data_alone() {
    let mut server = Server::start();
    let scratch = tempfile::tempdir().unwrap();
    let data = server.data.to_str().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let other = listener.local_addr().unwrap().to_string();
    let ask = |name: &str| {
        let file = scratch.path().join(name);
        let arguments = ["--data-dir", &data, "--listen", &other];
        backup(&file, &arguments, &[("HEADRACE_ADMIN_TOKEN", ADMIN)])
    };
    let made = ask("first");
    assert!(made.status.success(), "{}", error(&made));
    // A server that was killed has taken nothing back, and another one may have its address.
    server.kill();
    std::fs::write(server.data.join("headrace.address"), &other).unwrap();
    let _holder = lock(&server.data);
    let refused = ask("second");
    assert!(!refused.status.success());
    assert!(error(&refused).contains("in use"), "{}", error(&refused));
    assert!(listener.accept().is_err(), "nobody has called");
}

/// Holds the data directory as another command would.
fn lock(data: &Path) -> File {
    let file = File::open(data.join("headrace.lock")).unwrap();
    file.lock().unwrap();
    file
}

#[test]
fn a_password_in_the_url_of_a_server_is_refused_and_not_repeated() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("backup");
    for url in ["http://me:hunter2@127.0.0.1:9", "http://me:hunter2@[::"] {
        let output = backup(&file, &["--server", url], &[("HEADRACE_TOKEN", "t")]);
        assert!(!output.status.success());
        assert!(!error(&output).contains("hunter2"), "{}", error(&output));
    }
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
