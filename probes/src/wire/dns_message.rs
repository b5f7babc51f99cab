//! DNS on the wire: one question, one server, one attempt.
//!
//! Messages are hickory's; the socket is ours. hickory-net's UDP client repeats a silent query by
//! itself (three times, `retry`), and its unconnected socket never learns of an ICMP "port
//! unreachable": a dead server and a refusing one would look alike.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_resolver::proto::{
    op::{Edns, Message, MessageType, Query},
    rr::{DNSClass, Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout_at},
};

use crate::{fact::FailureKind, failure};

/// The largest answer asked for over UDP: fits every path without fragments (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;

/// The largest datagram there is, should a server send more than was asked for: a part of it would
/// look malformed.
const UDP_BUFFER: usize = 65_535;

/// What became of a question.
pub(crate) enum Reply {
    /// An answer that belongs to the question.
    Message(Box<Message>),
    /// Nothing came in time.
    Silent(String),
    /// The system or the network says that the server cannot be reached.
    Unreachable(String),
    /// This side could not ask at all.
    NotAsked(String),
    /// Something came that is no answer.
    Malformed(String),
}

/// A question as it is sent: recursion wanted, a random number, and EDNS (RFC 6891) without DNSSEC if `edns`.
pub(crate) fn question(name: &str, record_type: RecordType, edns: bool) -> Result<Message, String> {
    let mut owner = Name::from_ascii(name).map_err(|error| error.to_string())?;
    owner.set_fqdn(true);
    let mut query = Query::query(owner, record_type);
    query.set_query_class(DNSClass::IN);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(query);
    if edns {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD);
        message.set_edns(edns);
    }
    Ok(message)
}

/// Asks over UDP, and over TCP if the answer is cut short (RFC 7766), all within `limit`.
pub(crate) async fn exchange(server: SocketAddr, question: &Message, limit: Duration) -> Reply {
    let deadline = Instant::now() + limit;
    let raw = match question.to_vec() {
        Ok(raw) => raw,
        Err(error) => return Reply::Malformed(error.to_string()),
    };
    let first = over_udp(server, question, &raw, deadline).await;
    match &first {
        Reply::Message(message) if message.metadata.truncation => {}
        _ => return first,
    }
    let over_tcp = async {
        match timeout_at(deadline, over_tcp(server, &raw)).await {
            Err(_) => Reply::Silent("cut short over UDP, and no answer over TCP".to_owned()),
            Ok(Err(error)) => unreachable(&error, "cut short over UDP; over TCP: "),
            Ok(Ok(raw)) => match Message::from_vec(&raw) {
                Ok(message) if belongs(&message, question) => Reply::Message(Box::new(message)),
                Ok(_) => Reply::Malformed("an answer to another question, over TCP".to_owned()),
                Err(error) => Reply::Malformed(error.to_string()),
            },
        }
    };
    over_tcp.await
}

async fn over_udp(server: SocketAddr, question: &Message, raw: &[u8], deadline: Instant) -> Reply {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let connected = async {
        let socket = UdpSocket::bind(any).await?;
        // Connected, so that the kernel drops what others send and hands us ICMP errors.
        socket.connect(server).await?;
        socket.send(raw).await?;
        Ok::<_, io::Error>(socket)
    };
    let socket = match timeout_at(deadline, connected).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return unreachable(&error, ""),
        Err(_) => return Reply::Silent("the query could not be sent".to_owned()),
    };
    let mut buffer = vec![0; UDP_BUFFER];
    let mut strays = 0_u32;
    loop {
        let length = match timeout_at(deadline, socket.recv(&mut buffer)).await {
            Ok(Ok(length)) => length,
            Ok(Err(error)) => return unreachable(&error, ""),
            Err(_) if strays > 0 => {
                return Reply::Silent(format!("only {strays} datagrams that do not belong to the question"));
            }
            Err(_) => return Reply::Silent("no answer".to_owned()),
        };
        let datagram = &buffer[..length];
        // Whatever does not carry our number may be forged; the true answer may still come.
        if datagram.get(..2) != Some(&question.metadata.id.to_be_bytes()[..]) {
            strays = strays.saturating_add(1);
            continue;
        }
        match Message::from_vec(datagram) {
            Ok(message) if belongs(&message, question) => return Reply::Message(Box::new(message)),
            Ok(_) => strays = strays.saturating_add(1),
            Err(error) => return Reply::Malformed(error.to_string()),
        }
    }
}

async fn over_tcp(server: SocketAddr, raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = u16::try_from(raw.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    framed.extend_from_slice(raw);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// An answer to this question (RFC 1035, section 7.3). A server that fails may leave the question out.
fn belongs(message: &Message, question: &Message) -> bool {
    message.metadata.id == question.metadata.id
        && message.metadata.message_type == MessageType::Response
        && (message.queries == question.queries || message.queries.is_empty())
}

fn unreachable(error: &io::Error, before: &str) -> Reply {
    let failure = failure::from_io(error);
    if failure.kind == FailureKind::ThisSideResources {
        return Reply::NotAsked(failure.detail.to_string());
    }
    Reply::Unreachable(format!("{before}{}", failure.detail))
}
