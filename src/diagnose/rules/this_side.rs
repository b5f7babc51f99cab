//! The fault may be on this side. If this machine cannot reach anything, or resolve anything, no
//! word is said about the target.

use pdsdoctor_probes::{
    dns_fact::{DnsOutcome, DnsPurpose, SystemDnsOutcome},
    fact::{Family, NotMeasured, ProbeName, Role},
    text::Text,
};

use crate::diagnose::{
    Cause, Code, Confidence, Impact, Remedy,
    evidence::{Evidence, Line},
    par_stage::Stage,
    step::run,
    words::span,
};

/// Causes on this side that leave nothing to say about the target.
pub fn judge(evidence: &Evidence<'_>) -> Vec<Cause> {
    [no_resources(evidence), no_network(evidence), resolver(evidence), nothing_answers(evidence), intercepted(evidence)]
        .into_iter()
        .flatten()
        .take(1)
        .collect()
}

/// What the rules keep to themselves because this side cannot tell.
pub fn withheld(evidence: &Evidence<'_>) -> Vec<NotMeasured> {
    let mut withheld = Vec::new();
    let target_v6 = evidence.target_lines().iter().any(|line| line.family() == Family::V6);
    if target_v6 && evidence.family_fails(Family::V6) {
        withheld.push(NotMeasured {
            probe: ProbeName::Tcp,
            why: Text::new(
                "IPv6 does not work from this machine (other hosts fail too), so the target's is not judged",
            ),
            needs: Text::new("a machine with working IPv6"),
        });
    }
    let alike = |line: &Line<'_>| {
        line.tls.and_then(|tls| tls.body.certificate.as_ref()).is_some_and(|it| evidence.is_intercepted_alike(it))
    };
    let off = evidence.own_clock_error();
    if off != 0 {
        withheld.push(NotMeasured {
            probe: ProbeName::OwnNetwork,
            why: Text::new(&format!(
                "this machine's clock is {} {} other servers', so dates are judged by theirs",
                span(off),
                if off > 0 { "behind" } else { "ahead of" }
            )),
            needs: Text::new("a machine whose clock is right"),
        });
    }
    let unsaid = evidence
        .all_pars()
        .iter()
        .filter(|seen| seen.body.role == Role::Target && seen.body.arm.is_login())
        .map(|seen| evidence.stage_of(*seen))
        .collect::<Vec<_>>();
    if !unsaid.is_empty() && unsaid.iter().all(|stage| *stage == Stage::RequestRefused) {
        withheld.push(NotMeasured {
            probe: ProbeName::Par,
            why: Text::new(
                "the PDS refuses our login request (PAR) before it looks at the client, as some implementations do",
            ),
            needs: Text::new("a login with a real application"),
        });
    }
    if evidence.target_lines().iter().any(alike) {
        withheld.push(NotMeasured {
            probe: ProbeName::Tls,
            why: Text::new(
                "even the reference's certificate is not trusted here, so the target's issuer is not judged",
            ),
            needs: Text::new("--ca-cert FILE with this network's own root, or another network"),
        });
    }
    withheld
}

/// This process may open too few files, or there is no memory left: what it could not even try says nothing.
fn no_resources(evidence: &Evidence<'_>) -> Option<Cause> {
    let lacking = &evidence.unheard().out_of_resources;
    if lacking.is_empty() {
        return None;
    }
    let count = lacking.len();
    let words = evidence.run.facts.iter().filter(|fact| lacking.contains(&fact.id)).find_map(|fact| fact.body.words());
    Some(
        Cause::new(
            Code::ThisSideNoResources,
            Impact::Broken,
            Confidence::Confirmed,
            "This machine lets pdsdoctor have too little: open files, memory or threads ran out.",
        )
        .saw(format!(
            "{count} {} could not be made: {}",
            if count == 1 { "measurement" } else { "measurements" },
            words.unwrap_or("too little of it")
        ))
        .because(lacking.iter().take(12).cloned())
        .remedy(Remedy::new(
            "Give it more, and measure again",
            [run("ulimit -n 1024; ulimit -v unlimited; ulimit -u unlimited")],
            evidence.verify(),
        )),
    )
}

/// No route on any family.
fn no_network(evidence: &Evidence<'_>) -> Option<Cause> {
    let families = [evidence.own_network(Family::V4)?, evidence.own_network(Family::V6)?];
    let usable = |index: usize| {
        let fact = families[index].body;
        fact.source.is_some() && fact.failure.is_none()
    };
    if usable(0) || usable(1) {
        return None;
    }
    // An answer from anywhere (a target on this very machine, say) proves the opposite.
    if evidence.all_connects().iter().any(|seen| seen.body.failure.is_none()) {
        return None;
    }
    Some(
        Cause::new(
            Code::ThisSideNoNetwork,
            Impact::Broken,
            Confidence::Confirmed,
            "This machine has no network: it has no route to the internet on IPv4 or IPv6.",
        )
        .saw("no source address towards a global destination, on either family")
        .because(families.iter().map(|seen| seen.id()))
        .remedy(Remedy::new(
            "Connect this machine, then run the check again",
            [run("ip route; ip -6 route")],
            evidence.verify(),
        )),
    )
}

/// No name at all could be resolved, the reference's and the application's neither.
fn resolver(evidence: &Evidence<'_>) -> Option<Cause> {
    // Its address was given, or some resolver knew it: what else fails to resolve is not the question.
    if evidence.target_lines().iter().any(Line::connected) {
        return None;
    }
    let direct = evidence.all_dns();
    let system = evidence.all_system_dns();
    if direct.is_empty() && system.is_empty() {
        return None;
    }
    if let Some(cause) = knows_nothing(evidence) {
        return Some(cause);
    }
    let direct_works = direct.iter().any(|seen| seen.body.outcome.is_definite());
    let system_works =
        system.iter().any(|seen| matches!(seen.body.outcome, SystemDnsOutcome::Answer | SystemDnsOutcome::NotFound));
    // EAI_NONAME for everything is also what a machine without any resolver gives.
    let system_found = system.iter().any(|seen| seen.body.outcome == SystemDnsOutcome::Answer);
    if direct_works || system_found || (direct.is_empty() && system_works) {
        return None;
    }
    let others_asked =
        direct.iter().any(|seen| matches!(seen.body.role, Role::Reference | Role::Client | Role::Directory))
            || system.iter().any(|seen| matches!(seen.body.role, Role::Reference | Role::Client | Role::Directory));
    let silent = direct.iter().all(|seen| !seen.body.outcome.is_reply());
    // Only the target's name was asked for, and a server answered: the fault may be its zone's.
    if !others_asked && !silent {
        return None;
    }
    let servers: std::collections::BTreeSet<String> = direct.iter().map(|seen| seen.body.server.to_string()).collect();
    let how = if silent {
        "does not answer"
    } else if direct.iter().any(|seen| seen.body.outcome == DnsOutcome::Refused) {
        "refuses to answer"
    } else {
        "fails for every name"
    };
    let who = super::list(servers);
    Some(
        Cause::new(
            Code::ThisSideResolverBroken,
            Impact::Broken,
            if others_asked { Confidence::Confirmed } else { Confidence::Likely },
            format!("This machine cannot resolve names: its name server {how}."),
        )
        .settle("a name that is known to exist, asked of the same name server")
        .saw(if who.is_empty() { "no name server is configured".to_owned() } else { format!("{who} {how}") })
        .because(direct.iter().map(|seen| seen.id()).take(12))
        .because(system.iter().map(|seen| seen.id()).take(4))
        .remedy(Remedy::new(
            "Use a resolver that works, or mend /etc/resolv.conf",
            [run(evidence.verify().with("--nameserver 1.1.1.1"))],
            evidence.verify(),
        )),
    )
}

/// Every name that is known to exist, the reference's and the application's, is denied: a resolver
/// that sees a closed network, or that answers for a captive portal. What it denies means nothing.
fn knows_nothing(evidence: &Evidence<'_>) -> Option<Cause> {
    let is_control = |role: Role| matches!(role, Role::Reference | Role::Client);
    let direct = evidence.all_dns().iter().filter(|seen| seen.body.purpose == DnsPurpose::Address);
    let system = evidence.all_system_dns();
    let answered = direct.clone().any(|seen| seen.body.outcome == DnsOutcome::Answer)
        || system.iter().any(|seen| seen.body.outcome == SystemDnsOutcome::Answer);
    let denied: Vec<_> = direct
        .filter(|seen| is_control(seen.body.role))
        .filter(|seen| matches!(seen.body.outcome, DnsOutcome::NxDomain | DnsOutcome::NoData))
        .collect();
    if answered || denied.is_empty() {
        return None;
    }
    let names: std::collections::BTreeSet<&str> = denied.iter().map(|seen| seen.body.name.as_str()).collect();
    Some(
        Cause::new(
            Code::ThisSideResolverBroken,
            Impact::Broken,
            Confidence::Likely,
            "This machine cannot resolve names: its name server denies even names that exist.",
        )
        .saw(format!("{}: no such name, says the name server", super::list(names)))
        .settle("the same names, asked of another name server")
        .because(denied.iter().map(|seen| seen.id()).take(12))
        .remedy(Remedy::new(
            "Use a resolver that knows the internet, or log in to this network first",
            [run(evidence.verify().with("--nameserver 1.1.1.1"))],
            evidence.verify(),
        )),
    )
}

/// Names resolve and routes exist, but neither the target nor any other host answers.
fn nothing_answers(evidence: &Evidence<'_>) -> Option<Cause> {
    let connects = evidence.all_connects();
    let others: Vec<_> = evidence.control_connects().collect();
    // In whatever way: a network that lets nobody out but through its proxy may refuse everything.
    let all_fail = connects.iter().all(|seen| seen.body.failure.is_some())
        && !evidence.all_http().iter().any(|seen| seen.body.status.is_some());
    // Two other hosts are more than a coincidence; one might be down by itself.
    let hosts: std::collections::BTreeSet<&str> = others.iter().map(|seen| seen.body.host.as_str()).collect();
    if !all_fail || hosts.len() < 2 {
        return None;
    }
    Some(
        Cause::new(
            Code::ThisSideNoNetwork,
            Impact::Broken,
            Confidence::Likely,
            "This machine reaches nothing: no connection to the target, the reference or any other host succeeds.",
        )
        .saw(format!("no TCP connection to any of {} addresses succeeded", connects.len()))
        .settle("the same from another network")
        .because(connects.iter().map(|seen| seen.id()).take(12))
        .remedy(Remedy::new(
            "Check this machine's own network and firewall, or run from elsewhere",
            [run("ip route; ip -6 route"), run("curl -v https://example.com")],
            evidence.verify(),
        )),
    )
}

/// Every certificate seen, the reference's too, is from an issuer nobody knows.
fn intercepted(evidence: &Evidence<'_>) -> Option<Cause> {
    if !evidence.control_is_untrusted() {
        return None;
    }
    let of = |role| {
        evidence
            .all_tls()
            .iter()
            .filter(move |seen| seen.body.role == role)
            .filter_map(|seen| seen.body.certificate.as_ref().map(|certificate| (seen.id(), certificate)))
            .collect::<Vec<_>>()
    };
    let target = of(Role::Target);
    let reference = of(Role::Reference);
    use pdsdoctor_probes::tls_fact::PathVerdict::Trusted;
    // Trusted by the system alone is what a company's proxy root, or a lab's, looks like: it works here.
    let untrusted_here = |list: &[(_, &pdsdoctor_probes::tls_fact::CertificateFact)]| {
        !list.is_empty() && list.iter().all(|(_, certificate)| certificate.trust_system != Trusted)
    };
    if !untrusted_here(&reference) || !untrusted_here(&target) {
        return None;
    }
    // An interceptor signs for all hosts with one CA; two servers with CAs of their own it is not.
    if !target.iter().any(|(_, certificate)| evidence.is_intercepted_alike(certificate)) {
        return None;
    }
    let issuer = reference.first().map(|(_, certificate)| certificate.issuer.to_string()).unwrap_or_default();
    Some(
        Cause::new(
            Code::ThisSideTlsIntercepted,
            Impact::Broken,
            Confidence::Likely,
            "This network shows certificates from an unknown issuer for every host, the known-good one too.",
        )
        .saw(format!("the reference's certificate was issued by {issuer}"))
        .settle("the same from another network (a phone's)")
        .because(target.iter().chain(&reference).map(|(id, _)| id.clone()))
        .remedy(Remedy::new(
            "Name this network's root, or run from a network that does not intercept TLS",
            [run(evidence.verify().with("--ca-cert FILE")).note("FILE has the root of this network, as PEM")],
            evidence.verify(),
        )),
    )
}
