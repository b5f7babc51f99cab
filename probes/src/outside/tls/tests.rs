use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    outside::tcp::connect,
    testing::{
        Ca, alpn_server, drip, hold, net, net_with, raw_server, refused_port, reset, roots_with, serve, tls_server,
        write_all,
    },
    tls_fact::PathVerdict,
};

/// Long enough for a handshake on a busy machine, short enough for a test that waits for it.
const LIMIT: Duration = Duration::from_millis(400);

async fn shake_with(net: &Net, addr: SocketAddr, sni: &str, limit: Duration) -> Handshake {
    let stream = connect(net, ProbeName::Tcp, Role::Target, sni, addr.ip(), addr.port()).await.expect("connect");
    handshake_within(net, ProbeName::Tls, Role::Target, stream, sni, &["http/1.1"], limit).await
}

async fn failure_of(addr: SocketAddr) -> Failure {
    let net = net();
    let made = shake_with(&net, addr, "pds.example", LIMIT).await;
    assert!(made.stream.is_none());
    let (facts, not_measured) = net.take("");
    assert_eq!((facts.len(), not_measured.len()), (2, 0));
    assert_eq!(facts[1].body, FactBody::Tls(made.fact.clone()));
    made.fact.failure.expect("failure")
}

#[tokio::test]
async fn a_good_handshake() {
    let root = Ca::root("root");
    let addr = tls_server(&root.leaf(&["pds.example"], |_| {}), vec![], hold).await;
    let net = net_with(roots_with(&[], &[root.der()]));
    let made = shake_with(&net, addr, "pds.example", LIMIT).await;
    assert!(made.stream.is_some());
    let fact = made.fact;
    assert_eq!((fact.failure, fact.alert), (None, None));
    assert_eq!(fact.version.as_deref(), Some("TLSv1_3"));
    assert_eq!(fact.alpn.as_deref(), Some("http/1.1"));
    assert_eq!((fact.addr, fact.port, fact.sni.as_str()), (addr.ip(), addr.port(), "pds.example"));
    let certificate = fact.certificate.expect("certificate");
    assert!(certificate.trust_given && certificate.name_matches);
}

#[tokio::test]
async fn a_bad_certificate_does_not_hide_what_is_behind_it() {
    let addr = tls_server(&Ca::root("unknown").leaf(&["other.example"], |_| {}), vec![], hold).await;
    let net = net_with(roots_with(&[Ca::root("known").der()], &[]));
    let made = shake_with(&net, addr, "127.0.0.1", LIMIT).await;
    assert!(made.stream.is_some(), "{:?}", made.fact.failure);
    let certificate = made.fact.certificate.expect("certificate");
    assert_eq!(certificate.trust_system, PathVerdict::UnknownIssuer);
    assert!(!certificate.name_matches);
}

#[tokio::test]
async fn no_common_application_protocol() {
    let leaf = Ca::root("root").leaf(&["pds.example"], |_| {});
    let addr = alpn_server(&leaf, vec![], &["h2"], hold).await;
    let failure = failure_of(addr).await;
    assert_eq!(failure.kind, FailureKind::TlsAlert, "{failure:?}");
    assert!(failure.detail.contains("NoApplicationProtocol"), "{}", failure.detail);
}

#[tokio::test]
async fn plain_http_on_the_tls_port() {
    let failure = failure_of(raw_server("HTTP/1.1 400 Bad Request\r\nServer: \u{1b}[31mx\r\n\r\n").await).await;
    assert_eq!(failure.kind, FailureKind::Timeout, "raw_server waits for a request head that never ends");
    let addr = serve(|mut stream| async move {
        write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\nServer: \x1b[31mx\r\n\r\n").await;
        hold(stream).await;
    })
    .await;
    let failure = failure_of(addr).await;
    assert_eq!(failure.kind, FailureKind::NotTls);
    assert_eq!(failure.detail.as_str(), "not TLS, but: HTTP/1.1 400 Bad Request Server: \u{FFFD}[31mx");
}

#[tokio::test]
async fn alert_internal_error() {
    // What Caddy says when it may not issue a certificate: fatal (2), internal_error (80).
    let addr = serve(|mut stream| async move {
        write_all(&mut stream, &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 80]).await;
        hold(stream).await;
    })
    .await;
    let net = net();
    let fact = shake_with(&net, addr, "pds.example", LIMIT).await.fact;
    assert_eq!(fact.failure.expect("failure").kind, FailureKind::TlsAlert);
    assert_eq!(fact.alert.as_deref(), Some("InternalError"));
}

#[tokio::test]
async fn servers_that_close_or_cut() {
    let closed = serve(|mut stream| async move {
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
        hold(stream).await;
    });
    assert_eq!(failure_of(closed.await).await.kind, FailureKind::Closed);
    // Closed with our ClientHello unread: the kernel answers it with a reset, or not, as it comes.
    let gone = failure_of(serve(|stream| async { drop(stream) }).await).await;
    assert!(matches!(gone.kind, FailureKind::Closed | FailureKind::Reset), "{gone:?}");
    let cut = failure_of(serve(|stream| async { reset(stream) }).await).await;
    assert_eq!(cut.kind, FailureKind::Reset, "{cut:?}");
}

#[tokio::test]
async fn a_reset_before_the_handshake_keeps_its_address() {
    let addr = serve(|stream| async { reset(stream) }).await;
    let net = net();
    let stream = connect(&net, ProbeName::Tcp, Role::Target, "x", addr.ip(), addr.port()).await.expect("connect");
    tokio::time::sleep(Duration::from_millis(50)).await; // the reset is here: getpeername fails now
    let made = handshake_within(&net, ProbeName::Tls, Role::Target, stream, "x.example", &[], LIMIT).await;
    assert_eq!((made.fact.addr, made.fact.port), (addr.ip(), addr.port()));
    assert_eq!(made.fact.failure.expect("failure").kind, FailureKind::Reset);
}

#[tokio::test]
async fn silence_and_slowness_are_told_apart() {
    let started = Instant::now();
    assert_eq!(failure_of(serve(hold).await).await.kind, FailureKind::Timeout);
    // A record of 16 KiB announced, and then one byte at a time.
    let slow = serve(|mut stream| async move {
        write_all(&mut stream, &[0x16, 0x03, 0x03, 0x40, 0x00]).await;
        drip(&mut stream, 0x02).await;
    })
    .await;
    assert_eq!(failure_of(slow).await.kind, FailureKind::TooSlow);
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn endless_rubbish_after_a_record_header() {
    let addr = serve(|mut stream| async move {
        let rubbish = [&[0x16, 0x03, 0x03, 0x3f, 0xff][..], &[0xff; 0x3fff]].concat();
        while tokio::io::AsyncWriteExt::write_all(&mut stream, &rubbish).await.is_ok() {}
    })
    .await;
    let failure = failure_of(addr).await;
    assert!(matches!(failure.kind, FailureKind::TooLarge | FailureKind::TlsOther | FailureKind::Reset), "{failure:?}");
}

#[tokio::test]
async fn a_certificate_with_ten_thousand_names() {
    let root = Ca::root("root");
    let limit = Duration::from_secs(20); // an unoptimised build on a busy machine
    // 10,000 short names fit into the 64 KiB that a handshake message may have.
    let short: Vec<String> = (0..10_000).map(|n| format!("{:04x}", 0xa000 + n)).collect();
    let names: Vec<&str> = short.iter().map(String::as_str).collect();
    let addr = tls_server(&root.leaf(&names, |_| {}), vec![], hold).await;
    let fact = shake_with(&net(), addr, "pds.example", limit).await.fact;
    let certificate = fact.certificate.expect("certificate");
    assert_eq!((certificate.name_count, certificate.names.len()), (10_000, limits::CERT_NAMES));
    // 10,000 long ones do not: the handshake ends with a clear word, not with a large allocation.
    let long: Vec<String> = (0..10_000).map(|n| format!("name-{n}.pds.example")).collect();
    let names: Vec<&str> = long.iter().map(String::as_str).collect();
    let addr = tls_server(&root.leaf(&names, |_| {}), vec![], hold).await;
    let failure = shake_with(&net(), addr, "pds.example", limit).await.fact.failure.expect("failure");
    assert_eq!(failure.kind, FailureKind::TooLarge, "{failure:?}");
}

#[tokio::test]
async fn names_that_cannot_be_sent() {
    let addr = serve(hold).await;
    for sni in ["", "a b", "pds..example", "é.example"] {
        let fact = shake_with(&net(), addr, sni, LIMIT).await.fact;
        assert_eq!(fact.failure.expect("failure").kind, FailureKind::Other, "{sni}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let addr = refused_port().await;
    let net = net();
    let failure =
        connect(&net, ProbeName::Tcp, Role::Target, "x", addr.ip(), addr.port()).await.err().expect("failure");
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.errno.is_some());
    let (facts, _) = net.take("");
    let FactBody::Connect(fact) = &facts[0].body else { panic!("{facts:?}") };
    assert_eq!((fact.failure.as_ref(), fact.addr, fact.port), (Some(&failure), addr.ip(), addr.port()));
}

#[tokio::test]
async fn what_is_dropped_leaves_no_fact() {
    let addr = serve(hold).await;
    let net = net();
    let dropped = tokio::time::timeout(Duration::from_millis(50), shake_with(&net, addr, "x.example", LIMIT)).await;
    assert!(dropped.is_err());
    let (facts, not_measured) = net.take("the time was up");
    assert_eq!((facts.len(), not_measured.len()), (1, 0), "only the connect");
}
