use std::{io::Write, net::SocketAddr, time::Duration};

use super::*;
use crate::{
    http_fact::{BodyClass, Content},
    limits::BODY_BYTES,
    testing::{Ca, drip, hold, net, raw_server, read_head, refused_port, reset, serve, tls_server, write_all},
};

const LIMIT: Duration = Duration::from_millis(400);

async fn line_to(net: &Net, addr: SocketAddr) -> Line {
    let stream = tcp::connect_within(addr.ip(), addr.port(), LIMIT).await.expect("connect");
    Line::open(net, Role::Target, "pds.example", addr.ip(), addr.port(), stream, false).await.expect("line")
}

async fn health_within(addr: SocketAddr, limit: Duration) -> HttpFact {
    let net = net();
    let mut line = line_to(&net, addr).await;
    let fact = line.get_within(&net, ProbeName::Http, HttpPurpose::Health, "/xrpc/_health", limit).await;
    let (facts, _) = net.take("");
    assert_eq!(facts.len(), 1);
    assert_eq!(facts[0].body, FactBody::Http(fact.clone()));
    fact
}

async fn health(answer: impl Into<Vec<u8>>) -> HttpFact {
    health_within(raw_server(answer).await, LIMIT).await
}

fn kind(fact: &HttpFact) -> Option<FailureKind> {
    fact.failure.as_ref().map(|failure| failure.kind)
}

fn class(fact: &HttpFact) -> Option<BodyClass> {
    fact.body.as_ref().map(|body| body.class)
}

fn json(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_healthy_answer() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 20\r\n\
                  X-Powered-By: Express\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Origin: *\r\n\
                  Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Other: secret\r\n\r\n{\"version\":\"0.5.35\"}";
    let fact = health(answer).await;
    assert_eq!((fact.failure.clone(), fact.status), (None, Some(200)));
    assert_eq!(fact.content, Some(Content::Health { version: "0.5.35".into() }));
    assert_eq!(class(&fact), Some(BodyClass::Expected));
    assert_eq!(fact.headers["access-control-allow-origin"].as_str(), "*, *");
    assert!(!fact.headers.contains_key("x-other") && fact.url.starts_with("http://pds.example:"));
    assert!(fact.date_offset_ms.expect("date") < -900_000_000_000);
}

#[tokio::test]
async fn the_request_says_who_we_are_and_asks_for_no_compression() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let addr = serve(move |mut stream| {
        let tell = tell.clone();
        async move {
            let head = read_head(&mut stream).await;
            let _ = tell.send(head).await;
            write_all(&mut stream, b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    })
    .await;
    let fact = health_within(addr, LIMIT).await;
    assert_eq!((fact.status, class(&fact)), (Some(204), Some(BodyClass::Empty)));
    let head = told.recv().await.expect("head").to_ascii_lowercase();
    assert!(head.starts_with("get /xrpc/_health http/1.1\r\n"), "{head}");
    for line in [
        &format!("host: pds.example:{}\r\n", addr.port())[..],
        "user-agent: pdsdoctor/test\r\n",
        "accept-encoding: identity\r\n",
    ] {
        assert!(head.contains(line), "{head}");
    }
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection_until_it_is_closed() {
    let addr = serve(|mut stream| async move {
        for _ in 0..2 {
            read_head(&mut stream).await;
            write_all(&mut stream, json("{\"version\":\"1\"}").as_bytes()).await;
        }
    })
    .await;
    let net = net();
    let mut line = line_to(&net, addr).await;
    for _ in 0..2 {
        let fact = line.get_within(&net, ProbeName::Http, HttpPurpose::Health, "/xrpc/_health", LIMIT).await;
        assert_eq!((kind(&fact), fact.status), (None, Some(200)));
    }
    let fact = line.get_within(&net, ProbeName::Http, HttpPurpose::Health, "/xrpc/_health", LIMIT).await;
    assert!(matches!(kind(&fact), Some(FailureKind::Closed | FailureKind::Reset)), "{fact:?}");
    assert_eq!(fact.status, None);
    // The same with a server that says so.
    let mut line = line_to(&net, raw_server("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}").await).await;
    let first = line.get_within(&net, ProbeName::Http, HttpPurpose::Health, "/", LIMIT).await;
    assert_eq!((kind(&first), first.status), (None, Some(200)));
    let second = line.get_within(&net, ProbeName::Http, HttpPurpose::Health, "/", LIMIT).await;
    assert_eq!(kind(&second), Some(FailureKind::Closed));
}

#[tokio::test]
async fn a_line_on_which_something_is_late_is_given_up() {
    let net = net();
    let mut line = line_to(&net, serve(hold).await).await;
    let late = line.get_within(&net, ProbeName::Http, HttpPurpose::Health, "/", Duration::from_millis(50)).await;
    assert_eq!(kind(&late), Some(FailureKind::Timeout));
    let before = Instant::now();
    let next = line.get_within(&net, ProbeName::Http, HttpPurpose::Health, "/", LIMIT).await;
    assert_eq!(kind(&next), Some(FailureKind::Closed));
    assert!(before.elapsed() < LIMIT);
}

#[tokio::test]
async fn redirects_are_recorded_and_not_followed() {
    let fact =
        health("HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\u{9b}31m\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((kind(&fact), fact.status), (None, Some(301)));
    assert!(fact.headers["location"].starts_with("http://127.0.0.1:1/"));
    assert!(!fact.headers["location"].contains('\u{9b}'));
}

#[tokio::test]
async fn endless_body() {
    let addr = serve(|mut stream| async move {
        read_head(&mut stream).await;
        write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await;
        while tokio::io::AsyncWriteExt::write_all(&mut stream, &[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let fact = health_within(addr, Duration::from_secs(5)).await;
    assert_eq!((fact.status, kind(&fact)), (Some(200), Some(FailureKind::TooLarge)));
    let body = fact.body.expect("body");
    assert_eq!((body.bytes, body.truncated, body.class), (BODY_BYTES, true, BodyClass::Text));
    assert!(fact.content.is_none() && body.excerpt.chars().count() <= 201);
}

#[tokio::test]
async fn one_byte_at_a_time() {
    let body = serve(|mut stream| async move {
        read_head(&mut stream).await;
        write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"version\":\"1\"}").await;
        drip(&mut stream, b' ').await;
    })
    .await;
    let fact = health_within(body, LIMIT).await;
    assert_eq!((fact.status, kind(&fact), fact.content), (Some(200), Some(FailureKind::TooSlow), None));
    let head = serve(|mut stream| async move {
        read_head(&mut stream).await;
        write_all(&mut stream, b"HTTP/1.1 200 OK\r\nx: ").await;
        drip(&mut stream, b'y').await;
    })
    .await;
    let fact = health_within(head, LIMIT).await;
    assert_eq!((fact.status, kind(&fact)), (None, Some(FailureKind::TooSlow)));
    let silent = health_within(serve(hold).await, LIMIT).await;
    assert_eq!((silent.status, kind(&silent)), (None, Some(FailureKind::Timeout)));
}

#[tokio::test]
async fn ten_megabytes_of_header() {
    for line in [format!("x: {}\r\n", "y".repeat(10_000_000)), "x: y\r\n".repeat(1_600_000), "z".repeat(10_000_000)] {
        let fact =
            health_within(raw_server(format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n")).await, Duration::from_secs(5)).await;
        let expected = if line.starts_with('z') {
            [FailureKind::TooLarge, FailureKind::NotHttp]
        } else {
            [FailureKind::TooLarge; 2]
        };
        assert!(kind(&fact).is_some_and(|kind| expected.contains(&kind)), "{:?}", fact.failure);
    }
}

#[tokio::test]
async fn endless_informational_answers() {
    let addr = serve(|mut stream| async move {
        read_head(&mut stream).await;
        while tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {}
    })
    .await;
    // They are no answer, however many come: it ends with them, and not with the time.
    let fact = health_within(addr, Duration::from_secs(30)).await;
    assert_eq!((fact.status, kind(&fact)), (None, Some(FailureKind::Flood)));
}

#[tokio::test]
async fn a_gzip_bomb_stays_packed() {
    // The head of a gzip file; what would come out of it does not matter, since nothing is unpacked.
    let mut answer = Vec::new();
    write!(
        answer,
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    )
    .expect("write");
    answer.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3]);
    answer.extend_from_slice(&[0xff; 990]);
    let fact = health(answer).await;
    let body = fact.body.expect("body");
    assert_eq!((body.class, body.bytes, fact.failure, fact.content), (BodyClass::Binary, 1000, None, None));
}

#[tokio::test]
async fn text_that_bites() {
    let escapes = health(json("{\"version\":\"0.5\\u001b[31m\\u202e\u{9b}x\"}")).await;
    let Some(Content::Health { version }) = &escapes.content else { panic!("{escapes:?}") };
    assert_eq!(version.as_str(), "0.5\u{FFFD}[31m\u{FFFD}\u{FFFD}x");
    let mut invalid = b"HTTP/1.1 200 OK\r\ncontent-length: 19\r\nserver: \xff\xfe\r\n\r\n".to_vec();
    invalid.extend_from_slice(b"{\"version\":\"\xff\xfe\x80\xc3\"}\n");
    let fact = health(invalid).await;
    assert_eq!((class(&fact), fact.content, fact.failure), (Some(BodyClass::Binary), None, None));
    assert_eq!(fact.headers["server"].as_str(), "\u{FFFD}\u{FFFD}");
}

#[tokio::test]
async fn deeply_nested_json_is_not_what_was_asked_for() {
    for depth in [129, 100_000] {
        let fact =
            health(json(&format!("{{\"version\":\"1\",\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth)))).await;
        assert_eq!((class(&fact), fact.content), (Some(BodyClass::Text), None), "{depth}");
    }
}

#[tokio::test]
async fn answers_that_end_too_early() {
    let short = health("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"version\":\"1\"}").await;
    assert_eq!((short.status, kind(&short), short.content), (Some(200), Some(FailureKind::Closed), None));
    let closed = health_within(
        serve(|mut stream| async move {
            read_head(&mut stream).await;
        })
        .await,
        LIMIT,
    )
    .await;
    assert_eq!((closed.status, kind(&closed)), (None, Some(FailureKind::Closed)));
    let cut = health_within(
        serve(|mut stream| async move {
            read_head(&mut stream).await;
            reset(stream);
        })
        .await,
        LIMIT,
    )
    .await;
    assert_eq!((cut.status, kind(&cut)), (None, Some(FailureKind::Reset)));
}

#[tokio::test]
async fn what_is_not_http() {
    let fact = health("SSH-2.0-OpenSSH_9.9\u{1b}[2J\r\n").await;
    assert_eq!(kind(&fact), Some(FailureKind::NotHttp));
    let detail = fact.failure.expect("failure").detail;
    assert_eq!(detail.as_str(), "not HTTP, but: SSH-2.0-OpenSSH_9.9\u{FFFD}[2J");
}

async fn port_80(addr: SocketAddr) -> HttpFact {
    let net = net();
    let purpose = HttpPurpose::PlainPort80;
    let fact =
        plain_get_within(&net, ProbeName::Port80, Role::Target, "pds.example", addr.ip(), addr.port(), purpose, LIMIT)
            .await;
    let (facts, _) = net.take("");
    assert_eq!(facts.len(), 1, "one fact for the whole of it");
    fact
}

#[tokio::test]
async fn tls_on_the_plain_port() {
    // A real TLS server answers a plain request with an alert.
    let addr = tls_server(&Ca::root("root").leaf(&["pds.example"], |_| {}), vec![], hold).await;
    let fact = port_80(addr).await;
    assert_eq!(kind(&fact), Some(FailureKind::NotHttp), "{:?}", fact.failure);
    assert!(fact.failure.expect("failure").detail.contains("TLS"));
    let alert = raw_server(&[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 22][..]).await;
    assert!(port_80(alert).await.failure.expect("failure").detail.contains("TLS"));
}

#[tokio::test]
async fn plain_port() {
    let fact = port_80(
        raw_server("HTTP/1.1 308 Permanent Redirect\r\nlocation: https://pds.example/\r\ncontent-length: 0\r\n\r\n")
            .await,
    )
    .await;
    assert_eq!((kind(&fact), fact.status), (None, Some(308)));
    assert_eq!(fact.headers["location"].as_str(), "https://pds.example/");
    let addr = refused_port().await;
    let fact = port_80(addr).await;
    assert_eq!((kind(&fact), fact.addr), (Some(FailureKind::Refused), Some(addr.ip())));
}

#[test]
fn hosts_in_addresses() {
    for (host, port, tls, expected) in [
        ("pds.example", 443, true, "pds.example"),
        ("pds.example", 443, false, "pds.example:443"),
        ("pds.example", 80, false, "pds.example"),
        ("2001:db8::1", 443, true, "[2001:db8::1]"),
        ("[2001:db8::1]", 8443, true, "[2001:db8::1]:8443"),
    ] {
        assert_eq!(authority(host, port, tls), expected);
    }
}

#[tokio::test]
async fn paths_and_hosts_that_cannot_be_sent_are_failures() {
    let net = net();
    for path in ["/a b", "/\r\nx: y", "", "/\u{0}"] {
        let mut line = line_to(&net, serve(hold).await).await;
        let fact = line.get_within(&net, ProbeName::Http, HttpPurpose::Health, path, LIMIT).await;
        assert!(fact.failure.is_some(), "{path:?}");
    }
}
