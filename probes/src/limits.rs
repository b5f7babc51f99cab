//! Time and size limits of single measurements, each with its reason.

use std::time::Duration;

/// One DNS query. Resolvers answer what they know within a round trip and give up on dead name
/// servers after a few seconds; a second, visible attempt follows a silent first one.
pub const DNS_QUERY: Duration = Duration::from_millis(2_500);

/// Visible attempts per DNS question and server: a lost datagram must not look like a dead resolver.
pub const DNS_ATTEMPTS: u8 = 2;

/// `getaddrinfo`: glibc tries each of two servers twice for five seconds; more than this is an
/// answer nobody waits for.
pub const SYSTEM_DNS: Duration = Duration::from_secs(6);

/// One TCP connect. The kernel repeats a lost SYN after 1 s and 3 s, so two lost packets on a
/// path of half a second still connect; beyond that the path is called silent.
pub const TCP_CONNECT: Duration = Duration::from_secs(4);

/// One TLS handshake, on-demand certificate issuance included where it is quick
/// (Caddy's takes 10 to 30 s the first time: that is reported as a slow handshake).
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(6);

/// One HTTP exchange on an open connection. The relay gives `describeServer` 5 s
/// (indigo `host_checker.go`); a little more shows how late an answer is.
pub const HTTP_EXCHANGE: Duration = Duration::from_secs(7);

/// An upgrade to WebSocket: what a relay gives it (indigo, `HandshakeTimeout` of its dialer).
pub const UPGRADE: Duration = Duration::from_secs(5);

/// How long an open event stream may be silent before it is taken for one that has nothing to say. The reference PDS answers
/// what is asked there at once.
pub const FIRST_FRAME: Duration = Duration::from_secs(2);

/// A PAR. The PDS gives the fetch of client metadata 10 s before it answers
/// (`@atproto-labs/fetch-node`, `timedFetch(10e3)`); connecting and the way back come on top.
pub const PAR: Duration = Duration::from_millis(15_000);

/// A PAR about the target's own address, at the target or at the reference. The connection it tests goes to the next router at most, and a healthy
/// run must not wait 10 s for a router that drops it: what [`TCP_CONNECT`] says of a path is said here too.
pub const PAR_OWN_URL: Duration = Duration::from_millis(4_000);

/// A request that makes the PDS look something up (`atproto-proxy`, `resolveHandle`). The PDS itself gives that
/// 3 s (`@atproto/identity`, `timeout`; `resolverTimeout` of the PDS's configuration) or asks its AppView.
pub const LOOKUP: Duration = Duration::from_secs(9);

/// The whole of fetching a document over a connection of its own: connect, TLS, exchange.
pub const FETCH: Duration = Duration::from_secs(9);

/// The most bytes of a body that are read. The largest document looked at, OAuth metadata, is
/// about 4 KiB; the PDS itself reads client metadata up to 512 KiB.
pub const BODY_BYTES: usize = 512 * 1024;

/// The most bytes that may come in the course of one exchange, as the protocol has them: four times the largest body that is
/// read. What exceeds that is no answer: interim answers without end (RFC 9110, section 15.2, sets no limit), frames of
/// HTTP/2 that carry nothing, chunks of one byte. Each costs time to read, and would keep a processor busy.
pub const EXCHANGE_BYTES: u64 = 4 * BODY_BYTES as u64;

/// The most bytes that a server may send in a TLS handshake: rustls takes certificates up to 64 KiB, and a certificate
/// authority's longest chain has 10.
pub const HANDSHAKE_BYTES: u64 = 256 * 1024;

/// The most bytes that may come over one connection, encrypted: several exchanges follow each other on it.
pub const CONNECTION_BYTES: u64 = 6 * EXCHANGE_BYTES;

/// How many bodies of more than [`SMALL_BODY`] are read at once. A PDS with many addresses, handles and documents could
/// send a hundred of the largest at the same time.
pub const LARGE_BODIES: usize = 8;

/// What counts as small: eight times the largest document that is known, OAuth metadata.
pub const SMALL_BODY: usize = 32 * 1024;

/// The most bytes of response headers that are read.
pub const HEADER_BYTES: usize = 64 * 1024;

/// The most addresses of one host that are tried.
pub const ADDRESSES: usize = 8;

/// The most handle domains of one PDS that are looked at.
pub const HANDLE_DOMAINS: usize = 6;

/// The most names of one certificate that are kept.
pub const CERT_NAMES: usize = 40;

/// The most records of one DNS answer that are kept.
pub const DNS_RECORDS: usize = 40;
