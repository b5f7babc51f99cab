//! Who listens where: the PDS's own port, and port 443 before it.

use std::collections::BTreeSet;

use super::{
    answers::{alive, at_port, gateway, own_front},
    upstream,
};
use pdsdoctor_probes::{
    fact::Vantage,
    http_fact::HttpFact,
    process_fact::{DEFAULT_PORT, Listener, ListenersFact},
    secret::Form,
};

use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy,
    evidence::{Evidence, Seen},
    inside::place_words,
    rules::{Found, Rule, list},
    step::{Settle, command, entry, prose, quoted, run, run_or, say, word, write},
};

pub(in crate::diagnose) const RULE: Rule =
    Rule { codes: &[Code::Port2583Vs3000, Code::ProxyWrongAddress, Code::FwProxyToPds, Code::PortTaken], judge };

/// What the official images set, and every guide tells a proxy to ask.
const IMAGE_PORT: u16 = 3000;

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    // What the proxy asks was read and tried: that outweighs what guides say.
    match upstream::judge(evidence) {
        upstream::Judged::Read(cause) => found.causes.extend(cause.map(|cause| *cause)),
        upstream::Judged::Unread => found.causes.extend(wrong_port(evidence)),
    }
    found.causes.extend(taken(evidence));
}

fn listener<'a>(seen: Option<&Seen<'a, ListenersFact>>, port: u16) -> Option<&'a Listener> {
    seen?.body.sockets.iter().find(|socket| socket.port == port)
}

/// The proxy asks at one port and the PDS listens at another, as it seems where its configuration was not read.
#[expect(clippy::too_many_lines, reason = "one judgment, in the order in which its questions are asked")]
fn wrong_port(evidence: &Evidence<'_>) -> Option<Cause> {
    let inside = evidence.inside();
    let pds = inside.pds()?;
    let port = pds.body.effective_port();
    let other = if port == DEFAULT_PORT { IMAGE_PORT } else { DEFAULT_PORT };
    let place = inside.place();
    let sockets = inside.listeners(&place)?;
    let (mine, theirs) = (listener(Some(&sockets), port), listener(Some(&sockets), other));
    if mine.is_none() || theirs.is_some() || ![DEFAULT_PORT, IMAGE_PORT].contains(&port) {
        return None;
    }
    // Docker forwards to a port at which nobody listens.
    let published = inside.containers().find(|seen| {
        let mut ports = seen.body.published.iter();
        inside.is_confined() && ports.any(|published| published.container_port == other)
    });
    let failing = gateway(evidence);
    if failing.is_none() && (published.is_none() || !evidence.target_lines().is_empty()) {
        return None;
    }
    let well = at_port(evidence, port).filter(|seen| seen.body.is_expected());
    // What Docker hands on to is known. What a proxy asks was not seen: it may be another port, another address or a
    // firewall before the right one.
    let confidence = match (published.is_some() && well.is_some(), failing.is_some()) {
        (true, true) => Confidence::Confirmed,
        (true, false) => Confidence::Likely,
        _ => Confidence::Possible,
    };
    let environment = pds.body.environment.iter().find(|entry| entry.key.as_str() == "PDS_PORT");
    let why = match environment {
        None if port == DEFAULT_PORT => "PDS_PORT is not set, and the program's own default is 2583".to_owned(),
        Some(entry) if entry.form != Form::Number => "PDS_PORT is set to something that is no number, which counts as not set (Kubernetes does that for a service called `pds`)".to_owned(),
        _ => format!("PDS_PORT says {port}"),
    };
    let mut cause = Cause::new(
        Code::Port2583Vs3000,
        Impact::Broken,
        confidence,
        if published.is_some() {
            format!("The PDS listens at port {port} and what comes for it is handed on to {other}: nothing gets through.")
        } else {
            format!("The PDS listens at port {port}, and its proxy, which reaches nobody, may ask at another ({other} is what guides say).")
        },
    )
    .saw(why)
    .because([pds.id(), sockets.id()])
    .because(published.map(|seen| seen.id()))
    .because(failing);
    cause = match well {
        Some(seen) => cause.because([seen.id()]).because(at_port(evidence, other).map(|seen| seen.id())).contrast(
            format!("_health, asked in {}", place_words(&place)),
            format!("port {other}: nobody listens"),
            format!("port {port}: the PDS answers"),
        ),
        None => cause.settle(
            Settle::run(command!["curl -s", word!["http://127.0.0.1:", port, "/xrpc/_health"]])
                .then(", where the PDS runs"),
        ),
    };
    if confidence == Confidence::Likely {
        cause = cause.settle("what the web server before it answers now: 502 or 504, if nothing gets through");
    }
    if confidence == Confidence::Possible {
        cause =
            cause.settle("what the proxy's configuration asks: reverse_proxy in the Caddyfile, proxy_pass of nginx");
    }
    Some(
        cause
            .remedy(
                Remedy::new(
                    prose!["Let the PDS listen at ", other],
                    [write(entry!["PDS_PORT=", other]).note("in /pds/pds.env"), run("sudo systemctl restart pds")],
                    evidence.verify(),
                )
                .disruptive()
                .undo(say("remove the line"))
                .undo(run("sudo systemctl restart pds")),
            )
            .remedy(Remedy::new(
                prose!["Let the proxy ask at ", port],
                [
                    write(entry!["reverse_proxy http://localhost:", port]).at("Caddyfile"),
                    run("sudo docker restart caddy").note("Caddy of the official install"),
                    write(entry!["proxy_pass http://127.0.0.1:", port, ";"]).at("nginx"),
                    run("sudo nginx -s reload").note("nginx"),
                ],
                evidence.verify(),
            )),
    )
}

/// Somebody else holds port 443 of the PDS's machine.
fn taken(evidence: &Evidence<'_>) -> Option<Cause> {
    let inside = evidence.inside();
    let pds = alive(evidence)?;
    let sockets = inside.listeners(&Vantage::Here)?;
    let fronts = own_front(evidence);
    let reached = fronts.iter().any(|seen| seen.body.is_expected());
    let holder = listener(Some(&sockets), 443)?;
    let owner = holder.owner.as_ref()?;
    // Another program is there to be the PDS's proxy and has not got the port.
    let others: BTreeSet<String> = waiting_proxies(evidence, &owner.program);
    // 502 to 504 is a proxy that is meant to lead to the PDS. So may be one that has no certificate yet, speaks
    // no TLS or sends everybody elsewhere, unless another is there for it.
    let foreign =
        |status: u16| !(500..=599).contains(&status) && (!others.is_empty() || !(300..=399).contains(&status));
    let answers: Vec<_> = fronts
        .iter()
        .filter(|seen| match seen.body.status {
            Some(status) => foreign(status),
            None => seen.body.failure.as_ref().is_some_and(|failure| {
                use pdsdoctor_probes::fact::FailureKind::{NotTls, TlsAlert, TlsOther};
                !others.is_empty() && matches!(failure.kind, NotTls | TlsAlert | TlsOther)
            }),
        })
        .collect();
    if reached || answers.is_empty() || owner.pid == inside.pds()?.body.pid {
        return None;
    }
    let confidence = if others.is_empty() { Confidence::Likely } else { Confidence::Confirmed };
    // A program's name is no unit's; these are installed as units of their own name.
    let unit = || SERVICES.iter().find(|name| **name == owner.program.as_str()).copied();
    let stop = unit().and_then(|unit| command!["sudo systemctl disable --now", unit]);
    let start = unit().and_then(|unit| command!["sudo systemctl enable --now", unit]);
    let mut cause = Cause::new(
        Code::PortTaken,
        Impact::Broken,
        confidence,
        format!("Port 443 is held by {} (process {}), which does not lead to the PDS.", owner.program, owner.pid),
    )
    .because([sockets.id(), pds.id()])
    .because(answers.iter().map(|seen| seen.id()))
    .contrast(
        "_health, asked on this machine",
        format!("port 443: {}", answers.first().map(|seen| words(seen.body)).unwrap_or_default()),
        "the PDS's own port: answers".to_owned(),
    );
    if others.is_empty() {
        cause = cause.settle(prose![
            "is ",
            quoted(&owner.program),
            " meant to be the PDS's proxy? Then it lacks its site: host-not-a-pds"
        ]);
    } else {
        cause = cause.saw(format!("{} runs beside it without the port", list(&others)));
    }
    Some(
        cause.remedy(
            Remedy::new(
                prose!["Free the port of ", quoted(&owner.program), ", or let it pass the PDS's name on"],
                [
                    run("sudo ss -ltnp 'sport = :443 or sport = :80'"),
                    run_or(
                        stop.clone(),
                        prose!["stop the service that starts ", quoted(&owner.program), ", if nothing else needs it"],
                    )
                    .note("if nothing else needs it"),
                    run("sudo docker restart caddy"),
                ],
                evidence.verify(),
            )
            .disruptive()
            .undo(run_or(start, "start that service again")),
        ),
    )
}

fn words(seen: &HttpFact) -> String {
    match (&seen.failure, seen.status) {
        (Some(failure), _) => failure.kind.to_string().replace('_', " "),
        (None, status) => format!("HTTP {}", status.unwrap_or(0)),
    }
}

/// Programs that distributions start by a unit of the same name (Debian, Fedora, Arch).
const SERVICES: &[&str] =
    &["caddy", "nginx", "traefik", "haproxy", "apache2", "httpd", "lighttpd", "varnish", "envoy", "sslh"];

/// Web servers with a listener on this machine, other than the holder of port 443.
fn waiting_proxies(evidence: &Evidence<'_>, holder: &str) -> BTreeSet<String> {
    const PROXIES: &[&str] = &["caddy", "nginx", "traefik", "haproxy", "apache2", "httpd"];
    let listeners = evidence.inside().listeners(&Vantage::Here);
    let sockets = listeners.iter().flat_map(|seen| seen.body.sockets.iter());
    let owners = sockets.filter_map(|socket| socket.owner.as_ref());
    let other = |program: &str| program != holder && PROXIES.contains(&program);
    owners.filter(|owner| other(&owner.program)).map(|owner| owner.program.to_string()).collect()
}
