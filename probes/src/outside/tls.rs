//! One TLS handshake with one server name at one address.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    fact::{FactBody, Failure, FailureKind, ProbeName, Role},
    failure, limits,
    net::Net,
    outside::tcp::Connection,
    text::Text,
    tls_fact::TlsFact,
    wire::{certificate, tap::Seen, trust_all},
};

/// A handshake: the fact as it was recorded, and the stream if it was completed.
pub struct Handshake {
    /// What was recorded.
    pub fact: TlsFact,
    /// Ready for HTTP, whatever the certificate says.
    pub stream: Option<TlsStream<Connection>>,
}

/// Does a whole handshake within [`limits::TLS_HANDSHAKE`], offering `alpn` (RFC 7301). `sni` is the
/// name that the certificate must cover; an IP address is not sent (RFC 6066, section 3), but must be
/// covered as well. Records [`TlsFact`].
#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
pub async fn handshake(
    net: &Net,
    probe: ProbeName,
    role: Role,
    stream: Connection,
    sni: &str,
    alpn: &[&str],
) -> Handshake {
    handshake_within(net, probe, role, stream, sni, alpn, limits::TLS_HANDSHAKE).await
}

#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
pub(crate) async fn handshake_within(
    net: &Net,
    probe: ProbeName,
    role: Role,
    stream: Connection,
    sni: &str,
    alpn: &[&str],
    limit: Duration,
) -> Handshake {
    let (addr, port) = (stream.peer().ip(), stream.peer().port());
    let job = net.begin(probe, format!("a TLS handshake as {sni} with {addr}"));
    let mut fact = TlsFact {
        role,
        addr,
        port,
        sni: Text::new(sni),
        max_segment: stream.max_segment(),
        received: None,
        failure: None,
        alert: None,
        version: None,
        alpn: None,
        certificate: None,
    };
    let stream = shake(net, stream, sni, alpn, limit, &mut fact).await;
    job.finish(FactBody::Tls(fact.clone()));
    Handshake { fact, stream }
}

#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
async fn shake(
    net: &Net,
    stream: Connection,
    sni: &str,
    alpn: &[&str],
    limit: Duration,
    fact: &mut TlsFact,
) -> Option<TlsStream<Connection>> {
    let Ok(name) = ServerName::try_from(sni.to_owned()) else {
        fact.failure = Some(Failure::new(FailureKind::Other, "this name cannot be a TLS server name"));
        return None;
    };
    let (config, recorder) = match trust_all::config(alpn) {
        Ok(made) => made,
        Err(error) => {
            fact.failure = Some(failure::from_rustls(&error));
            return None;
        }
    };
    let seen = stream.seen();
    seen.allow(limits::HANDSHAKE_BYTES);
    let result = timeout(limit, TlsConnector::from(Arc::new(config)).connect(name.clone(), stream)).await;
    fact.received = Some(seen.bytes());
    fact.certificate = certificate::judge(&recorder.take(), &name, net.roots(), now());
    match result {
        Err(_) => {
            let words = "the TLS handshake";
            let slow = seen.bytes() > 0;
            fact.failure = Some(if slow { failure::too_slow(limit, words) } else { failure::timeout(limit, words) });
            None
        }
        Ok(Err(error)) => {
            fact.alert = failure::alert_of(&error);
            fact.failure = Some(told(&error, &seen));
            None
        }
        Ok(Ok(stream)) => {
            seen.allow(limits::CONNECTION_BYTES);
            let (_, session) = stream.get_ref();
            fact.version = session.protocol_version().map(|version| Text::limited(&format!("{version:?}"), 40));
            fact.alpn = session.alpn_protocol().map(Text::from_bytes);
            Some(stream)
        }
    }
}

fn told(error: &io::Error, seen: &Seen) -> Failure {
    let failure = seen.named(failure::from_io(error));
    match failure.kind {
        FailureKind::Closed => Failure::new(FailureKind::Closed, "the connection was closed during the TLS handshake"),
        FailureKind::NotTls => {
            let beginning = seen.beginning();
            let words = format!("not TLS, but: {}", String::from_utf8_lossy(&beginning));
            Failure::new(FailureKind::NotTls, &words)
        }
        _ => failure,
    }
}

/// Own clock, seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
