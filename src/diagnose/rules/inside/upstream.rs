//! A proxy that finds nobody behind it, beside a PDS that is well: what the proxy asks, read from its configuration and
//! tried from its network, is set beside where the PDS listens.

use std::net::IpAddr;

use pdsdoctor_probes::{
    fact::{Failure, FailureKind, Vantage},
    http_fact::{HttpFact, HttpPurpose},
    process_fact::{Listener, ProxyFact, Upstream},
};

use super::{
    answers::{at_port, gateway},
    keeper::Keeper,
};
use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy,
    evidence::{Evidence, Seen},
    inside::{Fate, fate, place_words},
    rules::list,
    step::{Prose, Settle, Url, command, compose, entry, prose, quoted, run, say, told, write},
};

/// What came of it.
pub(super) enum Judged {
    /// The proxy's configuration is known; this is what is wrong with it, if anything.
    Read(Option<Box<Cause>>),
    /// It is not.
    Unread,
}

/// What the proxy asks, with what became of it.
struct Asked<'a> {
    upstream: &'a Upstream,
    tries: Vec<Seen<'a, HttpFact>>,
}

impl Asked<'_> {
    fn words(&self) -> String {
        let host = if self.upstream.host.contains(':') {
            format!("[{}]", self.upstream.host)
        } else {
            self.upstream.host.to_string()
        };
        format!("{host}:{}", self.upstream.port)
    }

    /// What became of it, in words.
    fn how(&self) -> String {
        let how = |seen: &Seen<'_, HttpFact>| match &seen.body.failure {
            Some(failure) => failure.kind.to_string().replace('_', " "),
            None => format!("HTTP {}", seen.body.status.unwrap_or(0)),
        };
        let all = self.tries.iter().map(|seen| match seen.body.addr {
            Some(addr) if addr.to_string() != self.upstream.host.as_str() => format!("{addr}: {}", how(seen)),
            _ => how(seen),
        });
        let all: Vec<String> = all.collect();
        if all.is_empty() { "not tried".to_owned() } else { list(all) }
    }
}

pub(super) fn judge(evidence: &Evidence<'_>) -> Judged {
    let inside = evidence.inside();
    let Some(proxy) = inside.proxies().find(|seen| !seen.body.upstreams.is_empty()) else { return Judged::Unread };
    let tries: Vec<_> = inside.exchanges().filter(|seen| seen.body.purpose == HttpPurpose::Upstream).collect();
    let asked: Vec<Asked<'_>> = proxy.body.upstreams.iter().map(|upstream| of(upstream, &tries)).collect();
    // The configuration leads to the PDS: what the proxy does all the same is another story.
    if asked.iter().any(|asked| asked.tries.iter().any(|seen| seen.body.is_expected())) {
        return Judged::Read(None);
    }
    Judged::Read(cause(evidence, proxy, &asked).map(Box::new))
}

fn of<'a>(upstream: &'a Upstream, tries: &[Seen<'a, HttpFact>]) -> Asked<'a> {
    let scheme = if upstream.tls { "https" } else { "http" };
    let name = if upstream.host.contains(':') { format!("[{}]", upstream.host) } else { upstream.host.to_string() };
    let url = format!("{scheme}://{name}:{}/xrpc/_health", upstream.port);
    let of_it = tries.iter().filter(|seen| seen.body.url.as_str() == url).copied();
    Asked { upstream, tries: of_it.collect() }
}

fn cause(evidence: &Evidence<'_>, proxy: Seen<'_, ProxyFact>, asked: &[Asked<'_>]) -> Option<Cause> {
    let inside = evidence.inside();
    let failing = gateway(evidence)?;
    let pds = inside.pds()?;
    let port = pds.body.effective_port();
    let place = inside.place();
    let sockets = inside.listeners(&place)?;
    let listening: Vec<&Listener> = sockets.body.sockets.iter().filter(|socket| socket.port == port).collect();
    // It does not listen at all: it is down, which is no matter of the proxy's.
    listening.first()?;
    let well = at_port(evidence, port).filter(|seen| seen.body.is_expected());
    let first = asked.first()?;
    // A port that Docker publishes leads to the container's.
    let leads_to = |asked: &Asked<'_>| {
        let published = inside.containers().filter(|_| inside.is_confined()).find_map(|seen| {
            let mut ports = seen.body.published.iter();
            ports.find(|it| it.host_port == asked.upstream.port).map(|it| it.container_port)
        });
        published.unwrap_or(asked.upstream.port)
    };
    let tried = asked.iter().any(|asked| !asked.tries.is_empty());
    let confidence = match (tried, well.is_some()) {
        (true, true) => Confidence::Confirmed,
        (true, false) | (false, true) => Confidence::Likely,
        (false, false) => Confidence::Possible,
    };
    let mut where_ = list(listening.iter().map(|it| at(it.addr, it.port)));
    if place != Vantage::Here {
        where_ = format!("{where_} in {}", place_words(&place));
    }
    let asks = list(asked.iter().map(Asked::words));
    let program = proxy.body.program.as_str();
    let same_port: Vec<&Asked<'_>> = asked.iter().filter(|asked| leads_to(asked) == port).collect();
    let (code, summary) = if same_port.is_empty() {
        let summary =
            format!("The PDS listens at port {port}, and its proxy ({program}) asks at {asks}: nothing gets through.");
        (Code::Port2583Vs3000, summary)
    } else if same_port.iter().any(|asked| asked.tries.iter().any(is_stopped)) {
        let summary =
            format!("The PDS listens at {where_}, and what its proxy ({program}) sends to {asks} does not get there.");
        (Code::FwProxyToPds, summary)
    } else if same_port.iter().any(|asked| is_elsewhere(asked, &listening, &place)) {
        let summary = format!("The PDS listens at {where_} alone, and its proxy ({program}) asks at {asks}.");
        (Code::ProxyWrongAddress, summary)
    } else {
        return None;
    };
    let mut cause = Cause::new(code, Impact::Broken, confidence, summary)
        .saw(format!("{program} is told so in {}", list(proxy.body.files.iter().take(3))))
        .because([proxy.id(), pds.id(), sockets.id(), failing])
        .because(asked.iter().flat_map(|asked| &asked.tries).map(Seen::id));
    if code == Code::Port2583Vs3000 && pds.body.port.is_none() {
        cause = cause.saw("PDS_PORT is not set to a number, and the program's own default is 2583");
    }
    cause = match well {
        Some(seen) => cause.because([seen.id()]).contrast(
            "_health, as the proxy asks it and where the PDS listens",
            format!("{}: {}", first.words(), list(asked.iter().map(Asked::how))),
            format!("{where_}: the PDS answers"),
        ),
        // Asked from here, it was stopped in the same way.
        None if code == Code::FwProxyToPds => {
            let rule = Settle::run("sudo nft list ruleset | grep -iE 'drop|reject'");
            cause.settle(rule.then(prose![": is there a rule that catches port ", port, "?"]))
        }
        None => cause.settle("_health, asked where the PDS runs, at its own port"),
    };
    if cause.confidence != Confidence::Confirmed && cause.settle.is_none() {
        let asked = Url::at(
            if first.upstream.tls { "https" } else { "http" },
            &first.upstream.host,
            Some(first.upstream.port),
            "/xrpc/_health",
        );
        cause =
            cause.settle(Settle::text("what the proxy asks, asked where it runs:").and(command!["curl -sv", asked]));
    }
    Some(with_remedies(cause, evidence, code, port, first, proxy.body))
}

fn at(addr: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(addr, port).to_string()
}

/// Silence, or the word of a firewall: nobody's own machine refuses so.
fn is_stopped(seen: &Seen<'_, HttpFact>) -> bool {
    let stopped = |failure: &Failure| {
        matches!(fate(Some(failure)), Fate::Silent | Fate::Prohibited) || failure.kind == FailureKind::HostUnreachable
    };
    seen.body.status.is_none() && seen.body.failure.as_ref().is_some_and(stopped)
}

/// Refused at an address where the PDS does not listen.
fn is_elsewhere(asked: &Asked<'_>, listening: &[&Listener], place: &Vantage) -> bool {
    let takes = |addr: IpAddr| {
        listening.iter().any(|it| {
            // `::` takes IPv4 as well, unless the program said otherwise; 0.0.0.0 does not take IPv6.
            it.addr == addr || it.addr.is_unspecified() && (it.addr.is_ipv6() || addr.is_ipv4())
        })
    };
    let refused = |seen: &Seen<'_, HttpFact>| {
        seen.body.failure.as_ref().is_some_and(|failure| {
            matches!(failure.kind, FailureKind::Refused | FailureKind::Reset | FailureKind::Closed)
        })
    };
    // In another network the addresses that the proxy means are not those that the PDS has: its own loopback, say.
    let another = asked.tries.iter().any(|seen| seen.fact.vantage != *place);
    !asked.tries.is_empty()
        && asked.tries.iter().all(|seen| refused(seen) && seen.body.addr.is_some_and(|addr| another || !takes(addr)))
}

#[expect(clippy::too_many_lines, reason = "one remedy for each way in which a proxy asks elsewhere")]
#[expect(clippy::too_many_arguments, reason = "all that the remedies name")]
fn with_remedies(
    cause: Cause,
    evidence: &Evidence<'_>,
    code: Code,
    port: u16,
    first: &Asked<'_>,
    proxy: &ProxyFact,
) -> Cause {
    let verify = evidence.verify();
    let point = |title: Prose, to: Option<IpAddr>| {
        let (caddy, nginx) = match to {
            Some(to) if to.is_ipv6() => {
                (entry!["reverse_proxy http://[", to, "]:", port], entry!["proxy_pass http://[", to, "]:", port, ";"])
            }
            Some(to) => {
                (entry!["reverse_proxy http://", to, ":", port], entry!["proxy_pass http://", to, ":", port, ";"])
            }
            None => {
                (entry!["reverse_proxy http://localhost:", port], entry!["proxy_pass http://localhost:", port, ";"])
            }
        };
        // Which of several that it reads has the line is not known.
        let at = match proxy.files.as_slice() {
            [] => None,
            [file] => Some(prose!["in ", quoted(file)]),
            files => Some(prose!["in ", quoted(&list(files.iter().take(3))), ", whichever has it"]),
        };
        let steps = if proxy.program.as_str() == "nginx" {
            vec![write(nginx).at(at.unwrap_or_else(|| "nginx".into())), run("sudo nginx -t && sudo nginx -s reload")]
        } else {
            vec![
                write(caddy).at(at.unwrap_or_else(|| "Caddyfile".into())),
                run("sudo systemctl reload caddy").note("Caddy as a service"),
                run("sudo docker restart caddy").note("Caddy of the official install"),
            ]
        };
        Remedy::new(title, steps, verify.clone())
    };
    match code {
        Code::Port2583Vs3000 => {
            let other = first.upstream.port;
            cause.remedy(point(prose!["Let the proxy ask at ", port], None)).remedy(
                Remedy::new(
                    prose!["Let the PDS listen at ", other],
                    [write(entry!["PDS_PORT=", other]).at("/pds/pds.env"), run("sudo systemctl restart pds")],
                    verify.clone(),
                )
                .disruptive()
                .undo(say("remove the line"))
                .undo(run("sudo systemctl restart pds")),
            )
        }
        Code::ProxyWrongAddress => match listens_at(evidence, port) {
            Some(addr) => {
                let to = at(addr, port);
                let title = prose!["Let the proxy ask at ", told(&to), ", where the PDS listens"];
                cause.remedy(point(title, Some(addr)))
            }
            None if !matches!(Keeper::of(evidence), Keeper::Machine | Keeper::Docker) => {
                let title =
                    prose!["Let the proxy ask where the PDS is: in ", told(&place_words(&evidence.inside().place()))];
                let see = match Keeper::of(evidence) {
                    Keeper::Namespace(pid) => run(command!["sudo nsenter -t", pid, "-n ip -br address"])
                        .note("the addresses that it has there"),
                    _ => say("or publish its port at 127.0.0.1 of this machine"),
                };
                let mut remedy = point(title, None);
                remedy.steps.insert(0, see);
                cause.remedy(remedy)
            }
            None => cause.remedy(
                Remedy::new(
                    "Let the container's port be reached where the proxy asks",
                    [
                        write(entry!["ports: [\"127.0.0.1:", port, ":", port, "\"]"])
                            .at("compose.yaml, under the PDS's service"),
                        compose("sudo docker compose up -d"),
                    ],
                    verify,
                )
                .disruptive()
                .undo(say("remove the line"))
                .undo(run("sudo docker compose up -d")),
            ),
        },
        _ => cause.remedy(Remedy::new(
            prose!["Let TCP ", port, " pass from the proxy to the PDS"],
            [
                run("sudo nft list ruleset | grep -iE 'drop|reject'").note("find the rule, and take it out"),
                run("sudo iptables -L -nv"),
            ],
            verify,
        )),
    }
}

/// The first address at which the PDS listens, where the proxy of the machine can ask it.
fn listens_at(evidence: &Evidence<'_>, port: u16) -> Option<IpAddr> {
    let inside = evidence.inside();
    let sockets = inside.listeners(&inside.place())?;
    let first = sockets.body.sockets.iter().find(|socket| socket.port == port)?;
    (inside.place() == Vantage::Here && !first.addr.is_unspecified()).then_some(first.addr)
}
