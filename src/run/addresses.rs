//! The addresses of a host, as they become known: the system's resolver and every configured name
//! server are asked at once, and a line starts with the first answer that names its address.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use pdsdoctor_probes::{
    dns_fact::{DnsPurpose, RecordType, SystemDnsOutcome},
    fact::{Family, ProbeName, Role},
    limits,
    outside::dns::{self, Question},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Context, contact::left_alone};

/// How many configured name servers are asked. Resolvers of Linux never use more than three (`MAXNS`).
const SERVERS: usize = 3;

/// The addresses of a host that may be asked, as they become known.
pub(super) struct Addresses {
    from: UnboundedReceiver<IpAddr>,
    refused: Arc<AtomicBool>,
}

impl Addresses {
    /// The next one.
    pub(super) async fn recv(&mut self) -> Option<IpAddr> {
        self.from.recv().await
    }

    /// The host, or an address of it, is there so far and may not be asked ([`super::contact`]); that is noted.
    pub(super) fn refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Starts to look up `host`; each address that may be asked comes once, as soon as anything names it. Ends when all
/// have answered.
pub(super) fn addresses(context: &Arc<Context>, probe: ProbeName, role: Role, host: &str, port: u16) -> Addresses {
    let (to, from) = unbounded_channel();
    let refused = Arc::new(AtomicBool::new(false));
    let from = Addresses { from, refused: Arc::clone(&refused) };
    if let Err(reason) = context.contacts.host(role, host, port) {
        refused.store(true, Ordering::Relaxed);
        left_alone(context, probe, role, (host, port), None, reason);
        return from;
    }
    let (raw, mut answers) = unbounded_channel::<IpAddr>();
    let host = host.to_owned();
    tokio::spawn({
        let (context, host) = (Arc::clone(context), host.clone());
        async move {
            let _looking = (role == Role::Target).then(|| context.contacts.looking());
            let (mut seen, mut known) = (Vec::new(), Vec::new());
            while let Some(addr) = answers.recv().await {
                if known.len() < limits::ADDRESSES && !known.contains(&addr) {
                    known.push(addr);
                    if let Err(reason) = context.contacts.address(role, &host, port, addr).await {
                        refused.store(true, Ordering::Relaxed);
                        left_alone(&context, probe, role, (&host, port), Some(addr), reason);
                        continue;
                    }
                    seen.push(addr);
                    if role == Role::Target {
                        context.bridge.address(addr);
                    }
                    // The receiver may have seen enough.
                    let _ = to.send(addr);
                }
            }
            note_untried(&context, &seen);
        }
    });
    if let Ok(literal) = host.parse() {
        let _ = raw.send(literal);
        return from;
    }
    let given = context.options.resolve.iter().find(|resolve| resolve.host == host && resolve.port == port);
    if let Some(given) = given {
        for addr in &given.addrs {
            let _ = raw.send(*addr);
        }
        return from;
    }
    // With --nameserver the user wants that server's view; the system's would only blur it.
    if !context.resolvers.given {
        let (context, host, raw) = (Arc::clone(context), host.clone(), raw.clone());
        tokio::spawn(async move {
            let answer = dns::system(&context.net, probe, role, &host).await;
            if matches!(answer.outcome, SystemDnsOutcome::Answer | SystemDnsOutcome::NotFound) {
                context.resolver_answered.store(true, Ordering::Relaxed);
            }
            send(&raw, answer.addresses);
        });
    }
    for server in context.resolvers.servers.iter().take(SERVERS).copied() {
        for record_type in [RecordType::A, RecordType::Aaaa] {
            let (context, host, raw) = (Arc::clone(context), host.clone(), raw.clone());
            tokio::spawn(async move {
                let question = Question { role, purpose: DnsPurpose::Address, name: host, record_type };
                let answer = dns::ask(&context.net, probe, server, &question).await;
                if answer.outcome.is_reply() {
                    context.resolver_answered.store(true, Ordering::Relaxed);
                }
                send(&raw, answer.addresses());
            });
        }
    }
    from
}

fn send(to: &UnboundedSender<IpAddr>, addrs: Vec<IpAddr>) {
    for addr in addrs {
        let _ = to.send(addr);
    }
}

/// An address family that exists out there and not here is said, once.
fn note_untried(context: &Context, addrs: &[IpAddr]) {
    for family in [Family::V4, Family::V6] {
        let untried = addrs.iter().any(|addr| Family::of(*addr) == family && !context.can_try(*addr));
        if !untried {
            continue;
        }
        let excluded = match family {
            Family::V4 => context.options.only_v6,
            Family::V6 => context.options.only_v4,
        };
        let (why, needs) = if excluded {
            (format!("{family} was left out"), "a run without -4 or -6".to_owned())
        } else {
            (format!("this machine has no way to the internet by {family}"), format!("a machine with {family}"))
        };
        context.net.not_measured(ProbeName::Tcp, &why, &needs);
    }
}
