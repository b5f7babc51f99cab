use std::net::SocketAddr;

use hyper::body::Bytes;

use super::*;
use crate::{
    http_fact::{BodyClass, Content},
    outside::par::{ParRequest, par_within},
    par_fact::{ParArm, ParFact},
    testing::{
        Ca, alpn_server, body_of, drip, hold, net, raw_server, read_head, refused_port, reset, serve, tls_server,
        write_all,
    },
};

const LIMIT: Duration = Duration::from_millis(500);

async fn fetch_url(url: &str, addr: SocketAddr, limit: Duration) -> HttpFact {
    let net = net();
    let request = Request { role: Role::Client, purpose: HttpPurpose::ClientDocument, url, addr: addr.ip(), limit };
    let fact = get(&net, ProbeName::ClientDocument, &request).await;
    let (facts, _) = net.take("");
    assert_eq!(facts.len(), 1);
    assert_eq!(facts[0].body, FactBody::Http(fact.clone()));
    fact
}

async fn plain(addr: SocketAddr, limit: Duration) -> HttpFact {
    fetch_url(&format!("http://app.example:{}/client.json", addr.port()), addr, limit).await
}

async fn secure(addr: SocketAddr, limit: Duration) -> HttpFact {
    fetch_url(&format!("https://app.example:{}/client.json", addr.port()), addr, limit).await
}

fn kind(fact: &HttpFact) -> Option<FailureKind> {
    fact.failure.as_ref().map(|failure| failure.kind)
}

#[tokio::test]
async fn a_document_over_a_bad_certificate() {
    let leaf = Ca::root("unknown").leaf(&["other.example"], |_| {});
    let addr = tls_server(&leaf, vec![], |mut stream| async move {
        let head = read_head(&mut stream).await.to_ascii_lowercase();
        assert!(head.contains("user-agent: pdsdoctor/test\r\n") && head.contains("accept-encoding: identity\r\n"));
        let body = "{\"client_id\":\"https://app.example/c\",\"redirect_uris\":[]}";
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
        write_all(&mut stream, format!("{head}{body}").as_bytes()).await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
    })
    .await;
    let fact = secure(addr, LIMIT).await;
    assert_eq!((fact.failure.clone(), fact.status), (None, Some(200)));
    assert!(matches!(fact.content, Some(Content::ClientDocument { .. })), "{fact:?}");
    assert_eq!(fact.addr, Some(addr.ip()));
}

/// Serves one HTTP/2 connection; `answer` sends whatever it likes for each request.
async fn h2_server<F>(answer: F) -> SocketAddr
where
    F: Fn(h2::server::SendResponse<Bytes>) + Clone + Send + Sync + 'static,
{
    let leaf = Ca::root("root").leaf(&["app.example"], |_| {});
    alpn_server(&leaf, vec![], &["h2"], move |stream| {
        let answer = answer.clone();
        async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((_, respond))) = connection.accept().await {
                answer(respond);
            }
        }
    })
    .await
}

#[tokio::test]
async fn http2() {
    let ordinary = h2_server(|mut respond| {
        let response = hyper::Response::builder().status(404).header("content-type", "text/html").body(());
        let mut body = respond.send_response(response.expect("response"), false).expect("send");
        body.send_data(Bytes::from_static(b"<!DOCTYPE html><p>no"), true).expect("data");
    })
    .await;
    let fact = secure(ordinary, LIMIT).await;
    assert_eq!((kind(&fact), fact.status), (None, Some(404)));
    assert_eq!(fact.body.expect("body").class, BodyClass::Html);
    let refusing = h2_server(|mut respond| respond.send_reset(h2::Reason::REFUSED_STREAM)).await;
    assert_eq!(kind(&secure(refusing, LIMIT).await), Some(FailureKind::Reset), "once, not again and again");
    let silent = h2_server(std::mem::forget).await;
    assert_eq!(kind(&secure(silent, LIMIT).await), Some(FailureKind::Timeout));
    let heads = h2_server(|mut respond| {
        let mut response = hyper::Response::new(());
        for n in 0..2000 {
            let name = hyper::header::HeaderName::try_from(format!("x-{n}")).expect("name");
            response
                .headers_mut()
                .insert(name, hyper::header::HeaderValue::from_static("0123456789012345678901234567890123456789"));
        }
        let _ = respond.send_response(response, true);
    })
    .await;
    let fact = secure(heads, LIMIT).await;
    assert!(fact.failure.is_some() && fact.status.is_none(), "{fact:?}");
}

#[tokio::test]
async fn hostile_documents() {
    let endless = serve(|mut stream| async move {
        read_head(&mut stream).await;
        write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[").await;
        while tokio::io::AsyncWriteExt::write_all(&mut stream, &[b' '; 4096]).await.is_ok() {}
    })
    .await;
    let fact = plain(endless, Duration::from_secs(5)).await;
    assert_eq!((fact.status, kind(&fact)), (Some(200), Some(FailureKind::TooLarge)));
    assert_eq!(fact.body.expect("body").bytes, limits::BODY_BYTES);

    let slow = serve(|mut stream| async move {
        read_head(&mut stream).await;
        write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await;
        drip(&mut stream, b'x').await;
    })
    .await;
    let fact = plain(slow, LIMIT).await;
    assert_eq!((fact.status, kind(&fact)), (Some(200), Some(FailureKind::TooSlow)));

    let headers = raw_server(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(10_000_000))).await;
    assert_eq!(kind(&plain(headers, Duration::from_secs(5)).await), Some(FailureKind::TooLarge));

    let mut bomb = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\n\r\n".to_vec();
    bomb.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3]);
    let fact = plain(raw_server(bomb).await, LIMIT).await;
    let body = fact.body.expect("body");
    assert_eq!((body.class, body.bytes), (BodyClass::Binary, 10));

    let redirect = raw_server("HTTP/1.1 302 Found\r\nlocation: /client.json\r\ncontent-length: 0\r\n\r\n").await;
    let fact = plain(redirect, LIMIT).await;
    assert_eq!((fact.status, fact.headers["location"].as_str()), (Some(302), "/client.json"));
}

/// One frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Speaks HTTP/2 as far as it must, sends `first`, and then `piece` for ever.
async fn flooding(first: Vec<u8>, piece: Vec<u8>) -> SocketAddr {
    let leaf = Ca::root("root").leaf(&["app.example"], |_| {});
    alpn_server(&leaf, vec![], &["h2"], move |mut stream| {
        let (first, many) = (first.clone(), piece.repeat(1 + 16_384 / piece.len()));
        async move {
            write_all(&mut stream, &[frame(4, 0, 0, &[]), frame(4, 1, 0, &[]), first].concat()).await;
            while tokio::io::AsyncWriteExt::write_all(&mut stream, &many).await.is_ok() {}
        }
    })
    .await
}

/// What carries nothing and never ends is given up long before the time is up, in little time of the processor.
#[tokio::test]
async fn floods() {
    const STATUS_200: &[u8] = &[0x88];
    let head = || frame(1, 4, 1, STATUS_200);
    let field = [&[0, 3][..], b"x-a", &[100], &[b'b'; 100]].concat();
    let early = [&[0, 7][..], b":status", &[3], b"103"].concat();
    let cases = [
        ("SETTINGS", vec![], frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("PING", vec![], frame(6, 0, 0, b"12345678")),
        ("empty DATA", head(), frame(0, 0, 1, &[])),
        ("one byte of DATA", head(), frame(0, 0, 1, b" ")),
        ("padding", head(), frame(0, 8, 1, &[4, 0, 0, 0, 0])),
        ("CONTINUATION", frame(1, 0, 1, STATUS_200), frame(9, 0, 1, &field)),
        ("empty CONTINUATION", frame(1, 0, 1, STATUS_200), frame(9, 0, 1, &[])),
        ("early hints", vec![], frame(1, 4, 1, &early)),
        ("WINDOW_UPDATE", vec![], frame(8, 0, 0, &[0, 0, 0, 1])),
        ("PRIORITY", vec![], frame(2, 0, 3, &[0, 0, 0, 0, 16])),
        ("unknown", vec![], frame(0xfa, 0, 0, &[b'x'; 100])),
    ];
    let limit = Duration::from_secs(30);
    for (name, first, piece) in cases {
        let began = Instant::now();
        let fact = secure(flooding(first, piece).await, limit).await;
        assert!(fact.failure.is_some() && kind(&fact) != Some(FailureKind::Timeout), "{name}: {fact:?}");
        assert!(began.elapsed() < limit / 2, "{name}: {:?}", began.elapsed());
    }
    // An interim answer is no answer (RFC 9110, section 15.2).
    let interim = serve(|mut stream| async move {
        read_head(&mut stream).await;
        let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000);
        while tokio::io::AsyncWriteExt::write_all(&mut stream, many.as_bytes()).await.is_ok() {}
    })
    .await;
    let fact = plain(interim, limit).await;
    assert_eq!((kind(&fact), fact.status), (Some(FailureKind::Flood), None));
    let chunks = serve(|mut stream| async move {
        read_head(&mut stream).await;
        write_all(&mut stream, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let many = "1\r\n \r\n".repeat(1_000);
        while tokio::io::AsyncWriteExt::write_all(&mut stream, many.as_bytes()).await.is_ok() {}
    })
    .await;
    assert_eq!(kind(&plain(chunks, limit).await), Some(FailureKind::Flood));
}

/// More large bodies than are read at once, all held open: none is lost that ends in time, and small ones do not wait.
#[tokio::test]
async fn large_bodies_take_turns() {
    let (held, mut all_held) = tokio::sync::watch::channel(0);
    let (release, released) = tokio::sync::watch::channel(false);
    let large = serve(move |mut stream| {
        let (held, mut released) = (held.clone(), released.clone());
        async move {
            read_head(&mut stream).await;
            let length = limits::BODY_BYTES - 10;
            write_all(&mut stream, format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes()).await;
            write_all(&mut stream, &vec![b' '; length - 1]).await;
            held.send_modify(|count| *count += 1);
            let _ = released.wait_for(|now| *now).await;
            write_all(&mut stream, b" ").await;
        }
    })
    .await;
    let small = raw_server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let limit = Duration::from_secs(20);
    let all = futures_util::future::join_all((0..2 * limits::LARGE_BODIES).map(|_| plain(large, limit)));
    let (facts, small) = tokio::join!(all, async {
        // As many as are read at once lack their last byte.
        let _ = all_held.wait_for(|count| *count >= limits::LARGE_BODIES).await;
        let small = plain(small, LIMIT).await;
        let _ = release.send(true);
        small
    });
    assert_eq!(kind(&small), None);
    for fact in facts {
        assert_eq!(kind(&fact), None, "{fact:?}");
    }
}

#[tokio::test]
async fn failures_below_http() {
    assert_eq!(kind(&plain(refused_port().await, LIMIT).await), Some(FailureKind::Refused));
    assert_eq!(kind(&secure(refused_port().await, LIMIT).await), Some(FailureKind::Refused));
    assert_eq!(kind(&secure(serve(hold).await, LIMIT).await), Some(FailureKind::Timeout));
    let cut = serve(|mut stream| async move {
        read_head(&mut stream).await;
        reset(stream);
    });
    assert_eq!(kind(&plain(cut.await, LIMIT).await), Some(FailureKind::Reset));
    let closed = serve(|mut stream| async move {
        read_head(&mut stream).await;
    });
    assert_eq!(kind(&plain(closed.await, LIMIT).await), Some(FailureKind::Closed));
    let not_tls = serve(|mut stream| async move {
        write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        hold(stream).await;
    });
    assert_eq!(kind(&secure(not_tls.await, LIMIT).await), Some(FailureKind::NotTls));
    let alert = serve(|mut stream| async move {
        write_all(&mut stream, &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 80]).await;
        hold(stream).await;
    });
    assert_eq!(kind(&secure(alert.await, LIMIT).await), Some(FailureKind::TlsAlert));
    assert_eq!(kind(&plain(raw_server("220 mail ESMTP\r\n").await, LIMIT).await), Some(FailureKind::NotHttp));
}

#[tokio::test]
async fn what_is_not_fetched() {
    let addr = refused_port().await;
    for url in ["", "x", "ftp://app.example/", "https://u:p@app.example/", "https://192.0.2.1/", "file:///etc/passwd"] {
        assert_eq!(kind(&fetch_url(url, addr, LIMIT).await), Some(FailureKind::Other), "{url}");
    }
}

async fn push(addr: SocketAddr, limit: Duration) -> ParFact {
    let net = net();
    let request = ParRequest {
        role: Role::Target,
        server: "http://pds.example".to_owned(),
        endpoint: format!("http://pds.example:{}/oauth/par", addr.port()),
        addr: addr.ip(),
        arm: ParArm::Localhost,
        client: "http://localhost".to_owned(),
        client_id: "http://localhost".to_owned(),
        redirect_uri: "http://127.0.0.1/".to_owned(),
        scope: "atproto transition:generic".to_owned(),
    };
    let (fact, _) = par_within(&net, &request, None, limit).await;
    let (facts, _) = net.take("");
    assert_eq!(facts[0].body, FactBody::Par(fact.clone()));
    fact
}

async fn answered(status: &str, content_type: &str, body: &str) -> ParFact {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n", body.len());
    push(raw_server(format!("{head}{body}")).await, LIMIT).await
}

#[tokio::test]
async fn the_par_is_a_form_without_a_code_challenge() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let addr = serve(move |mut stream| {
        let tell = tell.clone();
        async move {
            let head = read_head(&mut stream).await;
            let body = body_of(&head, &mut stream).await;
            let _ = tell.send((head, body)).await;
            let answer = "{\"error\":\"invalid_request\",\"error_description\":\"Use of PKCE is required\"}";
            let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
            write_all(&mut stream, format!("{head}{answer}").as_bytes()).await;
        }
    })
    .await;
    let fact = push(addr, LIMIT).await;
    assert_eq!((fact.status, fact.failure, fact.accepted), (Some(400), None, false));
    assert_eq!(fact.error.as_deref(), Some("invalid_request"));
    assert_eq!(fact.description.as_deref(), Some("Use of PKCE is required"));
    assert_eq!(fact.excerpt, None);
    let (head, body) = told.recv().await.expect("request");
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /oauth/par http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-www-form-urlencoded\r\n"));
    assert!(head.contains("accept: application/json\r\n"));
    assert_eq!(
        body,
        "client_id=http%3A%2F%2Flocalhost&response_type=code&redirect_uri=http%3A%2F%2F127.0.0.1%2F&scope=atproto+transition%3Ageneric"
    );
}

#[tokio::test]
async fn answers_to_a_par() {
    let secret = "urn:ietf:params:oauth:request_uri:req-2b378e5419ba61b54c9e07ccc14c85d9";
    let fact =
        answered("201 Created", "application/json", &format!("{{\"request_uri\":\"{secret}\",\"expires_in\":300}}"))
            .await;
    assert!(fact.accepted && fact.excerpt.is_none());
    assert!(!serde_json::to_string(&fact).expect("json").contains("2b378e54"));
    // A request URI that comes in any other way does not slip through either.
    for body in
        [format!("<p>{secret}"), format!("[\"{secret}\"]"), format!("{{\"x\":{{\"request_uri\":\"{secret}\"}}}}")]
    {
        let fact = answered("200 OK", "text/html", &body).await;
        assert!(!fact.accepted && !serde_json::to_string(&fact).expect("json").contains("2b378e54"), "{fact:?}");
    }
    let fact = answered("405 Not Allowed", "text/html", "<html>\u{1b}[31m405").await;
    assert_eq!(fact.excerpt.as_deref(), Some("<html>\u{FFFD}[31m405"));
    assert_eq!((fact.content_type.as_deref(), fact.error), (Some("text/html"), None));
    let fact = answered("400 Bad", "application/json", "{\"error\":\"InvalidRequest\",\"message\":\"no\"}").await;
    assert_eq!((fact.error.as_deref(), fact.description.as_deref()), (Some("InvalidRequest"), Some("no")));
    let fact = answered("400 Bad", "application/json", "{\"error\":{\"code\":5}}").await;
    assert_eq!((fact.error, fact.excerpt.as_deref()), (None, Some("{\"error\":{\"code\":5}}")));
    let fact = push(serve(hold).await, LIMIT).await;
    assert_eq!(fact.failure.expect("failure").kind, FailureKind::Timeout);
    let fact = push(refused_port().await, LIMIT).await;
    assert_eq!(fact.failure.expect("failure").kind, FailureKind::Refused);
}

#[tokio::test]
async fn over_a_connection_that_was_opened_ahead() {
    let leaf = Ca::root("root").leaf(&["app.example"], |_| {});
    let connections = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&connections);
    let addr = tls_server(&leaf, vec![], move |mut stream| {
        *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        async move {
            read_head(&mut stream).await;
            write_all(&mut stream, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
            hold(stream).await;
        }
    })
    .await;
    let count = || *connections.lock().unwrap_or_else(PoisonError::into_inner);
    let url = format!("https://app.example:{}/client.json", addr.port());
    let net = net();
    let get = async |url: &str, opened| {
        let (role, purpose) = (Role::Client, HttpPurpose::ClientDocument);
        let request = Request { role, purpose, url, addr: addr.ip(), limit: LIMIT };
        get_over(&net, ProbeName::ClientDocument, &request, opened).await
    };
    let opened = Opened::ahead(&url, addr.ip()).await.expect("a connection");
    // Waiting with it open is no part of the request's time.
    tokio::time::sleep(LIMIT).await;
    assert_eq!((get(&url, opened).await.status, count()), (Some(404), 1));
    let took = net.take("").0[0].took_ms;
    assert!(Duration::from_millis(took) < LIMIT, "{took} ms");
    // One that leads elsewhere is of no use.
    let opened = Opened::ahead(&url, addr.ip()).await.expect("a connection");
    let other = url.replace("app.example", "other.example");
    assert_eq!((get(&other, opened).await.status, count()), (Some(404), 3));
}
