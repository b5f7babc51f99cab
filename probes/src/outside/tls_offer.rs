//! What a server would take that the tool, as other clients of today, does not offer: a hand-made ClientHello with old
//! ciphers, old versions and rare curves, of which only the first answer is read. It is sent only where a server ended an
//! ordinary handshake for want of something in common, or said so.

use std::{net::IpAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    fact::{FactBody, Failure, FailureKind, ProbeName, Role},
    failure, limits,
    net::Net,
    outside::{
        tcp::{self, Connection},
        tls,
    },
    text::Text,
    tls_fact::TlsOfferFact,
};

/// The largest record that may carry a ServerHello or an alert (RFC 8446, section 5.1).
const RECORD: usize = 16_384 + 256;

/// Cipher suites: those of TLS 1.3, then ECDHE and DHE with and without AEAD, then RSA key exchange, the last with 3DES
/// (IANA, "TLS Cipher Suites").
const SUITES: &[(u16, &str)] = &[
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0xc02b, "ECDHE_ECDSA_AES_128_GCM_SHA256"),
    (0xc02c, "ECDHE_ECDSA_AES_256_GCM_SHA384"),
    (0xc02f, "ECDHE_RSA_AES_128_GCM_SHA256"),
    (0xc030, "ECDHE_RSA_AES_256_GCM_SHA384"),
    (0xcca9, "ECDHE_ECDSA_CHACHA20_POLY1305"),
    (0xcca8, "ECDHE_RSA_CHACHA20_POLY1305"),
    (0xc023, "ECDHE_ECDSA_AES_128_CBC_SHA256"),
    (0xc024, "ECDHE_ECDSA_AES_256_CBC_SHA384"),
    (0xc027, "ECDHE_RSA_AES_128_CBC_SHA256"),
    (0xc028, "ECDHE_RSA_AES_256_CBC_SHA384"),
    (0xc009, "ECDHE_ECDSA_AES_128_CBC_SHA"),
    (0xc00a, "ECDHE_ECDSA_AES_256_CBC_SHA"),
    (0xc013, "ECDHE_RSA_AES_128_CBC_SHA"),
    (0xc014, "ECDHE_RSA_AES_256_CBC_SHA"),
    (0x009e, "DHE_RSA_AES_128_GCM_SHA256"),
    (0x009f, "DHE_RSA_AES_256_GCM_SHA384"),
    (0x0067, "DHE_RSA_AES_128_CBC_SHA256"),
    (0x006b, "DHE_RSA_AES_256_CBC_SHA256"),
    (0x0033, "DHE_RSA_AES_128_CBC_SHA"),
    (0x0039, "DHE_RSA_AES_256_CBC_SHA"),
    (0x009c, "RSA_AES_128_GCM_SHA256"),
    (0x009d, "RSA_AES_256_GCM_SHA384"),
    (0x003c, "RSA_AES_128_CBC_SHA256"),
    (0x003d, "RSA_AES_256_CBC_SHA256"),
    (0x002f, "RSA_AES_128_CBC_SHA"),
    (0x0035, "RSA_AES_256_CBC_SHA"),
    (0x000a, "RSA_3DES_EDE_CBC_SHA"),
];

/// secp256r1, secp384r1, secp521r1, x25519, x448, secp256k1, brainpool, ffdhe2048 and 3072.
const GROUPS: &[u16] = &[0x0017, 0x0018, 0x0019, 0x001d, 0x001e, 0x0016, 0x001a, 0x001b, 0x001c, 0x0100, 0x0101];

/// Everything from Ed25519 down to SHA-1.
const SIGNATURES: &[u16] = &[
    0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0809, 0x080a, 0x080b, 0x0401, 0x0501, 0x0601,
    0x0203, 0x0201,
];

/// Asks the server at `addr`, which `host` was resolved to, two things: what of a wide offer it takes for `host`
/// ([`TlsOfferFact`]), and whether it completes an ordinary handshake for `other`, a name it need not know
/// ([`crate::tls_fact::TlsFact`]). Each within [`limits::TLS_HANDSHAKE`].
#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
pub async fn ask(net: &Net, role: Role, host: &str, other: &str, addr: IpAddr, port: u16) {
    let wide = wide(net, role, host, addr, port);
    let named = async {
        if let Ok(stream) = tcp::connect_within(addr, port, limits::TCP_CONNECT).await {
            tls::handshake(net, ProbeName::Tls, role, stream, other, &["http/1.1"]).await;
        }
    };
    tokio::join!(wide, named);
}

async fn wide(net: &Net, role: Role, host: &str, addr: IpAddr, port: u16) {
    let job = net.begin(ProbeName::Tls, format!("what else {host} at {addr} would take"));
    let mut fact =
        TlsOfferFact { role, addr, port, sni: Text::new(host), failure: None, alert: None, version: None, suite: None };
    match tcp::connect_within(addr, port, limits::TCP_CONNECT).await {
        Err(failure) => fact.failure = Some(failure),
        Ok(stream) => exchange(stream, host, limits::TLS_HANDSHAKE, &mut fact).await,
    }
    job.finish(FactBody::TlsOffer(fact));
}

async fn exchange(mut stream: Connection, host: &str, limit: Duration, fact: &mut TlsOfferFact) {
    let hello = client_hello(host);
    let answered = timeout(limit, async {
        stream.write_all(&hello).await?;
        let mut head = [0; 5];
        stream.read_exact(&mut head).await?;
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        // A record that is none is not read.
        let mut body = vec![0; if head[1] == 3 { length.min(RECORD) } else { 0 }];
        stream.read_exact(&mut body).await?;
        Ok::<_, std::io::Error>((head[0], body))
    });
    match answered.await {
        Err(_) => fact.failure = Some(failure::timeout(limit, "the answer to a wide offer")),
        Ok(Err(error)) => fact.failure = Some(failure::from_io(&error)),
        Ok(Ok((kind, body))) => read(kind, &body, fact),
    }
}

/// The first record of the answer: an alert (RFC 8446, section 6) or a ServerHello (section 4.1.3; the old one is alike up
/// to its suite, RFC 5246, section 7.4.1.3).
fn read(kind: u8, body: &[u8], fact: &mut TlsOfferFact) {
    match (kind, body) {
        (21, [_, description, ..]) => {
            fact.failure = Some(Failure::new(FailureKind::TlsAlert, &format!("alert {description}")));
            fact.alert = Some(*description);
        }
        (22, [2, _, _, _, hi, lo, rest @ ..]) if rest.len() > 32 => {
            let session = usize::from(rest[32]);
            let suite = rest.get(33 + session..35 + session).and_then(|bytes| <[u8; 2]>::try_from(bytes).ok());
            let Some(suite) = suite.map(u16::from_be_bytes) else {
                fact.failure = Some(Failure::new(FailureKind::NotTls, "a ServerHello that ends too soon"));
                return;
            };
            fact.suite = Some(suite_name(suite));
            fact.version = Some(Text::new(match (suite >> 8, *hi, *lo) {
                (0x13, ..) => "TLSv1_3",
                (_, 3, 3) => "TLSv1_2",
                (_, 3, 2) => "TLSv1_1",
                (_, 3, 1) => "TLSv1_0",
                _ => "another version",
            }));
        }
        _ => fact.failure = Some(Failure::new(FailureKind::NotTls, "neither a ServerHello nor an alert")),
    }
}

fn suite_name(suite: u16) -> Text {
    match SUITES.iter().find(|(number, _)| *number == suite) {
        Some((_, name)) => Text::new(name),
        None => Text::new(&format!("{suite:#06x}")),
    }
}

/// A whole record with a ClientHello (RFC 8446, section 4.1.2). No key share is offered: a TLS 1.3 server then asks for
/// one, which is a choice of suite all the same.
fn client_hello(host: &str) -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut extension = |number: u16, body: Vec<u8>| {
        extensions.extend(number.to_be_bytes());
        extensions.extend(vector(2, &body));
    };
    // An address is no server name (RFC 6066, section 3).
    if host.parse::<IpAddr>().is_err() {
        let mut name = vec![0];
        name.extend(vector(2, host.as_bytes()));
        extension(0, vector(2, &name));
    }
    extension(10, vector(2, &words(GROUPS)));
    extension(11, vec![1, 0]);
    extension(13, vector(2, &words(SIGNATURES)));
    extension(16, vector(2, &vector(1, b"http/1.1")));
    extension(23, Vec::new());
    extension(43, vector(1, &words(&[0x0304, 0x0303, 0x0302, 0x0301])));
    extension(51, vec![0, 0]);
    extension(0xff01, vec![0]);

    let mut body = vec![3, 3];
    // Nothing is to be kept secret: the handshake ends with the answer. What a server might compare is not zero alone.
    body.extend((0..32).map(|byte: u8| byte.wrapping_mul(37).wrapping_add(11)));
    body.push(0);
    body.extend(vector(2, &words(&SUITES.iter().map(|(suite, _)| *suite).collect::<Vec<_>>())));
    body.extend([1, 0]);
    body.extend(vector(2, &extensions));

    let mut handshake = vec![1];
    handshake.extend(vector(3, &body));
    let mut record = vec![22, 3, 1];
    record.extend(vector(2, &handshake));
    record
}

/// Bytes with their length before them, in `width` bytes.
fn vector(width: usize, bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_be_bytes();
    [&length[8 - width..], bytes].concat()
}

fn words(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test's own
mod tests {
    use super::*;

    fn blank() -> TlsOfferFact {
        TlsOfferFact {
            role: Role::Target,
            addr: IpAddr::from([127, 0, 0, 1]),
            port: 443,
            sni: Text::new("a.example"),
            failure: None,
            alert: None,
            version: None,
            suite: None,
        }
    }

    #[test]
    fn the_lengths_of_the_hello_fit() {
        let hello = client_hello("pds.example.com");
        assert_eq!(hello[..3], [22, 3, 1]);
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
        assert_eq!(hello[5], 1);
        assert_eq!(u32::from_be_bytes([0, hello[6], hello[7], hello[8]]) as usize, hello.len() - 9);
        assert!(hello.windows(15).any(|part| part == b"pds.example.com"));
        assert!(!client_hello("127.0.0.1").windows(9).any(|part| part == b"127.0.0.1"));
    }

    #[test]
    fn the_first_record_is_read() {
        let mut fact = blank();
        read(21, &[2, 40], &mut fact);
        assert_eq!(fact.alert, Some(40));
        for (session, suite, version, name) in [
            (0, [0x00, 0x2f], [3, 3], ("TLSv1_2", "RSA_AES_128_CBC_SHA")),
            (32, [0x13, 0x01], [3, 3], ("TLSv1_3", "TLS_AES_128_GCM_SHA256")),
            (0, [0x00, 0x35], [3, 1], ("TLSv1_0", "RSA_AES_256_CBC_SHA")),
        ] {
            let mut body = vec![2, 0, 0, 70];
            body.extend(version);
            body.extend([7; 32]);
            body.push(session);
            body.extend(vec![9; usize::from(session)]);
            body.extend(suite);
            body.push(0);
            let mut fact = blank();
            read(22, &body, &mut fact);
            assert_eq!((fact.version.as_deref(), fact.suite.as_deref()), (Some(name.0), Some(name.1)));
            // Cut anywhere, it is no answer and no panic.
            for end in 0..body.len() - 1 {
                let mut fact = blank();
                read(22, &body[..end], &mut fact);
                assert!(fact.suite.is_none() && fact.failure.is_some(), "{end}");
            }
        }
        for kind in [0, 20, 23, 72] {
            let mut fact = blank();
            read(kind, b"TP/1.1 400", &mut fact);
            assert_eq!(fact.failure.map(|failure| failure.kind), Some(FailureKind::NotTls));
        }
    }

    /// One that refuses, and one that says nothing.
    #[tokio::test]
    async fn a_server_that_answers_and_one_that_does_not() {
        use tokio::net::TcpListener;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 5];
            stream.read_exact(&mut head).await.unwrap();
            stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).await.unwrap();
            let (_silent, _) = listener.accept().await.unwrap();
            std::future::pending::<()>().await;
        });
        let mut fact = blank();
        let stream = tcp::connect_within(addr.ip(), addr.port(), limits::TCP_CONNECT).await.unwrap();
        exchange(stream, "a.example", limits::TLS_HANDSHAKE, &mut fact).await;
        assert_eq!(fact.alert, Some(40), "{fact:?}");
        let mut fact = blank();
        let stream = tcp::connect_within(addr.ip(), addr.port(), limits::TCP_CONNECT).await.unwrap();
        exchange(stream, "a.example", Duration::from_millis(50), &mut fact).await;
        assert_eq!(fact.failure.map(|failure| failure.kind), Some(FailureKind::Timeout));
        server.abort();
    }
}
