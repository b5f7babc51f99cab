use std::{
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use hickory_resolver::proto::{
    op::{Edns, MessageType},
    rr::rdata::{A, AAAA, CAA, CNAME, NS, SOA, TXT},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

use super::*;
use crate::testing::net;

const LIMIT: Duration = Duration::from_millis(300);

/// Answers every datagram with what `answer` makes of it.
async fn udp_server(answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
    let addr = socket.local_addr().expect("address");
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            for datagram in answer(&buffer[..length]) {
                let _ = socket.send_to(&datagram, from).await;
            }
        }
    });
    addr
}

/// Answers with a well-formed message that `fill` completes.
async fn server(fill: impl Fn(&mut Message) + Send + 'static) -> SocketAddr {
    udp_server(move |raw| vec![answer_to(raw, &fill)]).await
}

fn answer_to(raw: &[u8], fill: &dyn Fn(&mut Message)) -> Vec<u8> {
    let question = Message::from_vec(raw).expect("question");
    let mut message = Message::response(question.metadata.id, question.metadata.op_code);
    message.metadata.recursion_available = true;
    message.add_queries(question.queries.clone());
    fill(&mut message);
    message.to_vec().expect("message")
}

fn name(text: &str) -> Name {
    let mut name = Name::from_str(text).expect("name");
    name.set_fqdn(true);
    name
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}

fn alias(owner: &str, target: &str) -> Record {
    record(owner, RData::CNAME(CNAME(name(target))))
}

fn soa(owner: &str) -> Record {
    record(owner, RData::SOA(SOA::new(name("ns.example"), name("admin.example"), 7, 1, 1, 1, 1)))
}

fn question(record_type: RecordType) -> Question {
    let name = "PDS.example.".to_owned();
    Question { role: Role::Target, purpose: DnsPurpose::Address, name, record_type }
}

async fn asked(server: SocketAddr, record_type: RecordType) -> DnsFact {
    let net = net();
    let fact = ask_within(&net, ProbeName::Dns, server, &question(record_type), LIMIT).await;
    let (facts, not_measured) = net.take("");
    assert_eq!((facts.len(), not_measured.len()), (usize::from(fact.attempt), 0), "every attempt is a fact");
    // What is recorded has passed the redactor.
    let mut kept = FactBody::Dns(fact.clone());
    crate::redact::fact(&mut kept);
    assert_eq!(facts.last().expect("fact").body, kept);
    fact
}

fn code(fact: &DnsFact) -> (DnsOutcome, Option<&str>) {
    (fact.outcome, fact.zone.as_deref())
}

#[tokio::test]
async fn addresses_through_aliases_in_any_order() {
    let server = server(|message| {
        message.add_answers([
            record("edge.cdn.example", RData::A(A::new(192, 0, 2, 9))),
            alias("www.cdn.example", "edge.cdn.example"),
            record("elsewhere.example", RData::A(A::new(203, 0, 113, 1))),
            record("Edge.CDN.example", RData::A(A::new(192, 0, 2, 10))),
            alias("pds.example", "WWW.cdn.example"),
        ]);
    })
    .await;
    let fact = asked(server, RecordType::A).await;
    assert_eq!(code(&fact), (DnsOutcome::Answer, None));
    assert_eq!(fact.records, ["192.0.2.10".into(), "192.0.2.9".into()]);
    assert_eq!(fact.cname_chain, ["www.cdn.example".into(), "edge.cdn.example".into()]);
    assert_eq!((fact.name.as_str(), fact.server, fact.attempt), ("PDS.example", server, 1));
    assert_eq!(fact.addresses(), [IpAddr::from([192, 0, 2, 10]), IpAddr::from([192, 0, 2, 9])]);
}

#[tokio::test]
async fn negative_answers() {
    let nothing = server(|message| {
        message.add_authority(soa("Example"));
    });
    assert_eq!(code(&asked(nothing.await, RecordType::Aaaa).await), (DnsOutcome::NoData, Some("example")));
    let bare = server(|_| {});
    assert_eq!(code(&asked(bare.await, RecordType::Aaaa).await), (DnsOutcome::NoData, None));
    let missing = server(|message| {
        message.metadata.response_code = ResponseCode::NXDomain;
        message.add_authority(soa("cdn.example"));
        message.add_answer(alias("pds.example", "gone.cdn.example"));
    });
    let fact = asked(missing.await, RecordType::A).await;
    assert_eq!(code(&fact), (DnsOutcome::NxDomain, Some("cdn.example")));
    assert_eq!(fact.cname_chain, ["gone.cdn.example".into()], "the alias that dangles");
    let dangling = server(|message| {
        message.add_answer(alias("pds.example", "empty.cdn.example"));
        message.add_authority(soa("cdn.example"));
    });
    let fact = asked(dangling.await, RecordType::A).await;
    assert_eq!((fact.outcome, fact.cname_chain.len()), (DnsOutcome::NoData, 1));
}

#[tokio::test]
async fn servers_that_do_not_say() {
    for (rcode, outcome) in [
        (ResponseCode::ServFail, (DnsOutcome::ServFail, 1)),
        (ResponseCode::Refused, (DnsOutcome::Refused, 1)),
        (ResponseCode::NotAuth, (DnsOutcome::OtherCode, 1)),
        (ResponseCode::FormErr, (DnsOutcome::OtherCode, 2)),
    ] {
        let server = server(move |message| message.metadata.response_code = rcode).await;
        let fact = asked(server, RecordType::A).await;
        assert_eq!((fact.outcome, fact.attempt), outcome, "{rcode}");
    }
    let referring = server(|message| {
        message.metadata.recursion_available = false;
        message.add_authority(record("example", RData::NS(NS(name("ns.example")))));
    });
    assert_eq!(asked(referring.await, RecordType::A).await.outcome, DnsOutcome::OtherCode);
    let bogus = server(|message| {
        message.metadata.response_code = ResponseCode::ServFail;
        let mut edns = Edns::new();
        edns.options_mut().insert(EdnsOption::Unknown(15, b"\x00\x06no \x1b[31mkey".to_vec()));
        message.set_edns(edns);
    });
    let fact = asked(bogus.await, RecordType::A).await;
    assert_eq!(fact.detail.as_deref(), Some("extended error 6 (DNSSEC bogus) no \u{FFFD}[31mkey"));
}

#[tokio::test]
async fn silence_is_asked_twice_and_an_icmp_error_is_not_silence() {
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    let silent = udp_server(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Vec::new()
    });
    let started = Instant::now();
    let fact = asked(silent.await, RecordType::A).await;
    assert_eq!((fact.outcome, fact.attempt), (DnsOutcome::Timeout, 2));
    assert_eq!(count.load(Ordering::SeqCst), 2, "no hidden repetition");
    assert!(started.elapsed() >= LIMIT * 2);

    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind").local_addr().expect("address");
    let started = Instant::now();
    let fact = asked(free, RecordType::A).await;
    assert_eq!((fact.outcome, fact.attempt), (DnsOutcome::Unreachable, 1));
    assert!(started.elapsed() < LIMIT);
}

#[tokio::test]
async fn old_routers_that_refuse_or_drop_edns() {
    let answer: fn(&mut Message) = |message| {
        message.add_answer(record("pds.example", RData::A(A::new(192, 0, 2, 1))));
    };
    let has_edns = |raw: &[u8]| Message::from_vec(raw).expect("question").edns.is_some();
    let refusing = udp_server(move |raw| {
        let refusal: fn(&mut Message) = |message| message.metadata.response_code = ResponseCode::FormErr;
        vec![answer_to(raw, if has_edns(raw) { &refusal } else { &answer })]
    });
    let fact = asked(refusing.await, RecordType::A).await;
    assert_eq!((fact.outcome, fact.attempt), (DnsOutcome::Answer, 2));
    let dropping = udp_server(move |raw| if has_edns(raw) { vec![] } else { vec![answer_to(raw, &answer)] });
    let fact = asked(dropping.await, RecordType::A).await;
    assert_eq!((fact.outcome, fact.attempt), (DnsOutcome::Answer, 2));
}

#[tokio::test]
async fn answers_that_do_not_belong_are_waited_past() {
    let answer: fn(&mut Message) = |message| {
        message.add_answer(record("pds.example", RData::AAAA(AAAA::from_str("2001:db8::1").expect("address"))));
    };
    let server = udp_server(move |raw| {
        let mut forged = answer_to(raw, &answer);
        forged[0] ^= 0xff;
        let other = answer_to(raw, &|message| message.queries[0].name = name("other.example"));
        let question = answer_to(raw, &|message| message.metadata.message_type = MessageType::Query);
        vec![vec![], vec![1], forged, other, question, answer_to(raw, &answer)]
    });
    let fact = asked(server.await, RecordType::Aaaa).await;
    assert_eq!((fact.outcome, fact.records), (DnsOutcome::Answer, vec!["2001:db8::1".into()]));
    let only_strays = udp_server(|raw| vec![vec![raw[0] ^ 1, raw[1]]]).await;
    let fact = asked(only_strays, RecordType::A).await;
    assert_eq!(fact.outcome, DnsOutcome::Timeout);
    assert!(fact.detail.expect("detail").contains("do not belong"));
}

#[tokio::test]
async fn rubbish() {
    for tail in [&b""[..], b"\xff", b"\x81\x80\x00\x01\xff\xff\xff\xff\xff\xff", &[0xc0; 600]] {
        let server = udp_server(move |raw| vec![[&raw[..2], tail].concat()]).await;
        assert_eq!(asked(server, RecordType::A).await.outcome, DnsOutcome::Malformed, "{tail:?}");
    }
    // Every answer with one byte flipped: any outcome but a panic.
    let good = |message: &mut Message| {
        message.add_answers([alias("pds.example", "x.example"), record("x.example", RData::A(A::new(192, 0, 2, 1)))]);
    };
    let mut sample = Message::query();
    sample.add_query(hickory_resolver::proto::op::Query::query(name("pds.example"), rr::RecordType::A));
    let raw = sample.to_vec().expect("question");
    let answer = answer_to(&raw, &good);
    for at in 0..answer.len() {
        for bits in [0x01, 0x80, 0xff] {
            let mut bent = answer.clone();
            bent[at] ^= bits;
            if let Ok(message) = Message::from_vec(&bent) {
                let mut fact = blank_fact();
                judge(&message, &sample, &mut fact);
            }
        }
    }
}

fn blank_fact() -> DnsFact {
    DnsFact {
        role: Role::Target,
        purpose: DnsPurpose::Address,
        name: "pds.example".into(),
        record_type: RecordType::A,
        server: ([127, 0, 0, 1], 53).into(),
        attempt: 1,
        outcome: DnsOutcome::Malformed,
        records: Vec::new(),
        cname_chain: Vec::new(),
        zone: None,
        detail: None,
    }
}

#[tokio::test]
async fn aliases_in_a_circle_and_too_many_records() {
    let circle = server(|message| {
        message.add_answers([alias("pds.example", "b.example"), alias("b.example", "pds.example")]);
    });
    let fact = asked(circle.await, RecordType::A).await;
    assert_eq!(fact.outcome, DnsOutcome::Malformed);
    assert!(fact.cname_chain.len() <= ALIASES);
    let many = server(|message| {
        message.add_answers((0..200).map(|n| record("pds.example", RData::A(A::new(192, 0, 2, n)))));
    });
    let fact = asked(many.await, RecordType::A).await;
    assert_eq!(fact.records.len(), limits::DNS_RECORDS, "{fact:?}");
}

#[tokio::test]
async fn other_types() {
    let server = server(|message| {
        message.add_answers([
            record("pds.example", RData::TXT(TXT::from_bytes(vec![b"did=did:plc:", b"abc\x1b[2J"]))),
            record("pds.example", RData::TXT(TXT::from_bytes(vec![b"\xff\xfe"]))),
            record("pds.example", RData::NS(NS(name("NS1.example")))),
            record("pds.example", RData::SOA(SOA::new(name("ns.example"), name("admin.example"), 7, 1, 1, 1, 1))),
            record("pds.example", RData::CAA(CAA::new_issue(true, Some(name("letsencrypt.org")), vec![]))),
            alias("pds.example", "x.example"),
        ]);
        if message.queries[0].query_type != rr::RecordType::CNAME {
            message.answers.pop();
        }
    })
    .await;
    for (record_type, expected) in [
        (RecordType::Txt, vec!["did=did:plc:abc\u{FFFD}[2J", "\u{FFFD}\u{FFFD}"]),
        (RecordType::Ns, vec!["ns1.example"]),
        (RecordType::Soa, vec!["ns.example admin.example 7"]),
        (RecordType::Cname, vec!["x.example"]),
    ] {
        let fact = asked(server, record_type).await;
        let records: Vec<&str> = fact.records.iter().map(Text::as_str).collect();
        assert_eq!((fact.outcome, records), (DnsOutcome::Answer, expected), "{record_type}");
        assert!(fact.cname_chain.is_empty());
    }
    let caa = asked(server, RecordType::Caa).await;
    assert!(caa.records[0].starts_with("128 issue \"letsencrypt.org"), "{:?}", caa.records);
}

/// The same port over UDP and TCP; over UDP every answer is cut short.
async fn truncating(over_tcp: Option<fn(&mut Message)>) -> SocketAddr {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen");
        let addr = listener.local_addr().expect("address");
        // Another test may have this port for UDP.
        let Ok(socket) = UdpSocket::bind(addr).await else { continue };
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let cut = answer_to(&buffer[..length], &|message| message.metadata.truncation = true);
                let _ = socket.send_to(&cut, from).await;
            }
        });
        if let Some(fill) = over_tcp {
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let length = stream.read_u16().await.expect("length");
                    let mut raw = vec![0; usize::from(length)];
                    stream.read_exact(&mut raw).await.expect("question");
                    let answer = answer_to(&raw, &fill);
                    stream.write_u16(u16::try_from(answer.len()).expect("length")).await.expect("write");
                    stream.write_all(&answer).await.expect("write");
                }
            });
        }
        return addr;
    }
}

#[tokio::test]
async fn what_is_cut_short_is_asked_over_tcp() {
    let server = truncating(Some(|message| {
        message.add_answers((0..250).map(|n| record("pds.example", RData::TXT(TXT::new(vec![format!("{n:->200}")])))));
    }));
    let fact = asked(server.await, RecordType::Txt).await;
    assert_eq!((fact.outcome, fact.records.len(), fact.attempt), (DnsOutcome::Answer, limits::DNS_RECORDS, 1));
    let fact = asked(truncating(None).await, RecordType::Txt).await;
    assert_eq!(fact.outcome, DnsOutcome::Unreachable);
    assert!(fact.detail.expect("detail").starts_with("cut short over UDP"));
}

#[tokio::test]
async fn names_that_cannot_be_asked() {
    let server = server(|_| {}).await;
    for bad in ["a..b".to_owned(), "x".repeat(64), "x.".repeat(200)] {
        let net = net();
        let question = Question { name: bad, ..question(RecordType::A) };
        let fact = ask_within(&net, ProbeName::Dns, server, &question, LIMIT).await;
        assert_eq!(fact.outcome, DnsOutcome::Malformed, "{fact:?}");
        assert!(fact.detail.expect("detail").contains("cannot be asked"));
    }
    let net = net();
    let handle = Question { name: "_atproto.alice.example".to_owned(), ..question(RecordType::Txt) };
    assert_eq!(ask_within(&net, ProbeName::Dns, server, &handle, LIMIT).await.outcome, DnsOutcome::NoData);
}

#[tokio::test]
async fn the_systems_resolver() {
    let net = net();
    let fact = system(&net, ProbeName::Dns, Role::Target, "localhost").await;
    assert_eq!(fact.outcome, SystemDnsOutcome::Answer);
    assert!(fact.addresses.iter().all(IpAddr::is_loopback) && !fact.addresses.is_empty());
    let fact = system(&net, ProbeName::Dns, Role::Target, "a\0b").await;
    assert_eq!((fact.outcome, fact.addresses.len()), (SystemDnsOutcome::Failed, 0));
    assert_eq!(net.take("").0.len(), 2);
}

#[test]
fn given_name_servers_are_the_only_ones() {
    let net = net();
    let server: SocketAddr = ([192, 0, 2, 53], 5353).into();
    let resolvers = configured_resolvers(&net, &[server]);
    assert_eq!(resolvers, Resolvers { servers: vec![server], given: true });
    let configured = configured_resolvers(&net, &[]);
    assert!(!configured.given && configured.servers.len() <= CONFIGURED_SERVERS);
    let (facts, _) = net.take("");
    assert_eq!(facts.len(), 2);
}
