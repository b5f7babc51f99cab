//! A connection with TLS to one address, ready for HTTP.

use std::net::IpAddr;

use pdsdoctor_probes::{
    fact::{FailureKind, ProbeName, Role},
    http_fact::HttpPurpose,
    outside::{
        http::{self, Line},
        tcp::{self, Connection},
        tls, tls_offer,
    },
};

use super::Context;

/// Alerts that a server sends where it finds nothing to its taste in an offer, and some also where it has no certificate
/// for a name, in rustls's words (RFC 8446, section 6.2).
const IN_VAIN: &[&str] = &["HandshakeFailure", "InsufficientSecurity", "ProtocolVersion"];

/// Connects and shakes hands; `None` where either failed (the facts say why). When the TLS port does
/// not speak TLS, it is asked in plain HTTP, to prove it.
#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
pub(super) async fn open(
    context: &Context,
    probe: ProbeName,
    role: Role,
    host: &str,
    sni: &str,
    port: u16,
    addr: IpAddr,
) -> Option<Line> {
    let stream = tcp::connect(&context.net, probe, role, host, addr, port).await.ok()?;
    open_over(context, probe, role, sni, stream).await
}

/// The same over a connection that stands.
pub(super) async fn open_over(
    context: &Context,
    probe: ProbeName,
    role: Role,
    sni: &str,
    stream: Connection,
) -> Option<Line> {
    let net = &context.net;
    let (addr, port) = (stream.peer().ip(), stream.peer().port());
    let tls_probe = if probe == ProbeName::Tcp { ProbeName::Tls } else { probe };
    let handshake = tls::handshake(net, tls_probe, role, stream, sni, &["http/1.1"]).await;
    let Some(stream) = handshake.stream else {
        // Servers without TLS answer a handshake with HTTP, or hang up. One that is silent is not
        // asked again: a dead path costs one time limit.
        let kind = handshake.fact.failure.map(|failure| failure.kind);
        // Has it no certificate for the name, or nothing in common with clients of today? Asked of the target alone.
        let nothing_in_common = handshake.fact.alert.as_deref().is_some_and(|alert| IN_VAIN.contains(&alert));
        if nothing_in_common && role == Role::Target && probe == ProbeName::Tcp {
            tls_offer::ask(net, role, sni, &format!("{}.invalid", context.label), addr, port).await;
        }
        if matches!(kind, Some(FailureKind::NotTls | FailureKind::Closed | FailureKind::Reset)) {
            http::plain_get(net, tls_probe, role, sni, addr, port, HttpPurpose::PlainOnTlsPort).await;
        }
        return None;
    };
    Line::open(net, role, sni, addr, port, stream, true).await.ok()
}
