//! One TCP connect to one address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    fact::{ConnectFact, FactBody, Failure, ProbeName, Role},
    failure, limits,
    net::Net,
    text::Text,
    wire::tap::{Seen, Tap},
};

/// An open TCP connection that knows where it leads (the kernel forgets the peer's address as soon as
/// a reset has come) and how what came over it began.
pub struct Connection {
    stream: Tap<TcpStream>,
    peer: SocketAddr,
    max_segment: Option<u16>,
    seen: Seen,
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, max_segment: Option<u16>) -> Self {
        let (stream, seen) = Tap::new(stream);
        Self { stream, peer, max_segment, seen }
    }

    /// The largest segment that the peer was told to send, if it was.
    pub(crate) fn max_segment(&self) -> Option<u16> {
        self.max_segment
    }

    /// The address and port it leads to.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What came over it.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connects to `addr`, which `host` was resolved to, within [`limits::TCP_CONNECT`]. Records [`ConnectFact`].
///
/// # Errors
///
/// Why it did not connect; the same is in the fact.
#[expect(clippy::too_many_arguments, reason = "role, host, address and port are an endpoint, and no type says so yet")]
pub async fn connect(
    net: &Net,
    probe: ProbeName,
    role: Role,
    host: &str,
    addr: IpAddr,
    port: u16,
) -> Result<Connection, Failure> {
    let job = net.begin(probe, format!("a TCP connection to {}", SocketAddr::new(addr, port)));
    let result = connect_within(addr, port, limits::TCP_CONNECT).await;
    let failure = result.as_ref().err().cloned();
    job.finish(FactBody::Connect(ConnectFact { role, host: Text::new(host), addr, port, failure }));
    result
}

/// One attempt, within `limit`.
pub(crate) async fn connect_within(addr: IpAddr, port: u16, limit: Duration) -> Result<Connection, Failure> {
    connect_with(addr, port, limit, None).await
}

/// One attempt, within `limit`. With `max_segment`, neither side sends segments with more bytes of data than that.
pub(crate) async fn connect_with(
    addr: IpAddr,
    port: u16,
    limit: Duration,
    max_segment: Option<u16>,
) -> Result<Connection, Failure> {
    let peer = SocketAddr::new(addr, port);
    let connecting = async {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(bytes) = max_segment {
            SockRef::from(&socket).set_tcp_mss(u32::from(bytes))?;
        }
        socket.connect(peer).await
    };
    match timeout(limit, connecting).await {
        Err(_) => Err(failure::timeout(limit, "the TCP connection")),
        Ok(Err(error)) => Err(failure::from_io(&error)),
        Ok(Ok(stream)) => {
            // Small requests must not wait for an acknowledgement: times are evidence. A failure
            // to set it only makes a time longer.
            let _ = stream.set_nodelay(true);
            Ok(Connection::new(stream, peer, max_segment))
        }
    }
}
