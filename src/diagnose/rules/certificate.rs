//! The certificate of the PDS's own name: trust, dates and name, each judged by itself.

use pdsdoctor_probes::{
    fact::{FactId, FailureKind, Family, Role, Vantage},
    http_fact::HttpPurpose,
    tls_fact::{CertificateFact, PathVerdict, TlsFact, Validity},
};

use super::{Found, Rule, list};
use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Impact, Remedy, Scope,
    evidence::{Evidence, Line, Seen},
    step::{HostName, Settle, Url, command, entry, prose, quoted, run, say, word, write, write_all},
};

pub(super) const RULE: Rule = Rule {
    codes: &[
        Code::TlsPlainHttpOn443,
        Code::TlsOndemandRefused,
        Code::TlsInternalOrDefaultCa,
        Code::TlsIncompleteChain,
        Code::TlsExpired,
        Code::TlsNotYetValid,
        Code::TlsWrongName,
        Code::TlsNoCommonCipher,
        Code::TlsHandshakeFails,
    ],
    judge,
};

fn judge(evidence: &Evidence<'_>, found: &mut Found) {
    let Some(host) = evidence.host() else { return };
    let lines: Vec<Line<'_>> = evidence.target_lines().into_iter().filter(Line::connected).collect();
    let families: std::collections::BTreeSet<Family> = lines.iter().map(Line::family).collect();
    for line in &lines {
        let Some(tls) = line.tls else { continue };
        let finding = judge_one(evidence, host, line, tls);
        if let Some(mut cause) = finding {
            let names_another = tls.body.certificate.as_ref().is_some_and(|certificate| !certificate.name_matches);
            if names_another && !is_the_pdss(evidence, line) {
                cause = perhaps_a_strangers(evidence, cause, line);
            }
            // The same at every family: a fault of the server, not of an address.
            let everywhere = families.iter().all(|family| {
                lines.iter().filter(|other| other.family() == *family).all(|other| {
                    other.tls.is_none_or(|tls| {
                        judge_one(evidence, host, other, tls).is_some_and(|same| same.code == cause.code)
                    })
                })
            });
            if !everywhere && families.len() > 1 {
                cause.scope = Scope { family: Some(line.family()), ..Scope::default() };
            }
            found.cause(cause);
        } else if let Some(certificate) = &tls.body.certificate {
            let until = crate::diagnose::words::date(certificate.not_after);
            // What one address shows, another need not.
            let all_alike = lines.iter().all(|other| {
                other.tls.is_some_and(|tls| {
                    tls.body.certificate.is_some() && judge_one(evidence, host, other, tls).is_none()
                })
            });
            let family = (!all_alike).then(|| line.family());
            found.rule_out(
                Code::TlsInternalOrDefaultCa,
                Bounds::here(host).family(family),
                format!("the certificate is trusted, is for {host} and is valid until {until}"),
                [tls.id()],
            );
        }
    }
}

/// Somebody answers at the address: the PDS, its proxy, or a stranger whose address it is now? It is the PDS's where the
/// address is this machine's own and the PDS's, or where a PDS answers behind the certificate.
fn is_the_pdss(evidence: &Evidence<'_>, line: &Line<'_>) -> bool {
    let inside = evidence.inside();
    let own =
        inside.pds().is_some() && inside.addresses(&Vantage::Here).iter().any(|(_, address)| address.addr == line.addr);
    own || line.is_pds()
}

fn perhaps_a_strangers(evidence: &Evidence<'_>, mut cause: Cause, line: &Line<'_>) -> Cause {
    cause.confidence = cause.confidence.min(Confidence::Likely);
    cause = cause.saw(format!(
        "no PDS answers behind it: {} may as well be a stranger's by now, and the record in the DNS old",
        line.addr
    ));
    let settle =
        Settle::text(prose!["whether ", line.addr, " is the address of the PDS's own connection; on its machine:"])
            .and("curl -s https://icanhazip.com");
    // Inside, that was looked at, and a rule of its own says what came of it.
    if evidence.inside().is_empty() {
        cause.settle(settle)
    } else {
        cause.settle("the router's own address, or what the provider says it is")
    }
}

/// At most one finding per handshake: the one to mend first.
fn judge_one(evidence: &Evidence<'_>, host: &str, line: &Line<'_>, tls: Seen<'_, TlsFact>) -> Option<Cause> {
    if let Some(failure) = &tls.body.failure {
        let plain = line.plain.is_some_and(|seen| seen.body.status.is_some());
        return match failure.kind {
            FailureKind::NotTls | FailureKind::Closed | FailureKind::Reset if plain => {
                Some(not_tls(evidence, host, line, tls))
            }
            FailureKind::NotTls => Some(not_tls(evidence, host, line, tls)),
            FailureKind::TlsAlert => Some(alert(evidence, host, line, tls)),
            _ => Some(fails(evidence, host, tls)),
        };
    }
    let certificate = tls.body.certificate.as_ref()?;
    path(evidence, host, tls, certificate)
        .or_else(|| dates(evidence, host, tls, certificate))
        .or_else(|| name(evidence, host, tls, certificate))
}

fn not_tls(evidence: &Evidence<'_>, host: &str, line: &Line<'_>, tls: Seen<'_, TlsFact>) -> Cause {
    let port = tls.body.port;
    let plain = line.plain.filter(|seen| seen.body.status.is_some());
    let cause = Cause::new(
        Code::TlsPlainHttpOn443,
        Impact::Broken,
        if plain.is_some() { Confidence::Confirmed } else { Confidence::Likely },
        format!("Port {port} of {host} speaks plain HTTP, not TLS: every https client fails there."),
    )
    .saw("what came back on the TLS port is not TLS (\"wrong version number\" in OpenSSL's words)")
    .because([tls.id()])
    .remedy(Remedy::new(
        "Forward port 443 to the proxy's TLS port",
        [
            say("router or load balancer: external 443 must lead to the port where Caddy or nginx listens with TLS (443), not to 80 or 3000"),
            write("listen 443 ssl;").at("nginx").note("the word ssl may be missing"),
            say("behind Caddy: the site address must not begin with http://"),
        ],
        evidence.verify(),
    ));
    match plain {
        Some(seen) => cause.because([seen.id()]).contrast(
            format!("the same port {port}, asked with and without TLS"),
            "with TLS: not TLS".to_owned(),
            format!("without: HTTP {}", seen.body.status.unwrap_or(0)),
        ),
        None => cause.settle(Settle::run(command!["curl -v", Url::at("http", host, Some(port), "/")])),
    }
}

/// The server said no to the name.
fn alert(evidence: &Evidence<'_>, host: &str, line: &Line<'_>, tls: Seen<'_, TlsFact>) -> Cause {
    let alert = tls.body.alert.as_deref().unwrap_or("unknown");
    if let Some(cause) = no_common_cipher(evidence, host, line, tls, alert) {
        return cause;
    }
    let refuses_name = matches!(
        alert,
        "InternalError" | "UnrecognizedName" | "UnrecognisedName" | "HandshakeFailure" | "AccessDenied"
    );
    if !refuses_name {
        return fails(evidence, host, tls);
    }
    let caddy = evidence.http(Role::Target, HttpPurpose::PlainPort80).into_iter().find(|seen| {
        seen.body.headers.get("server").is_some_and(|server| server.to_ascii_lowercase().contains("caddy"))
    });
    let other_name = evidence
        .all_tls()
        .iter()
        .find(|seen| seen.body.addr == line.addr && seen.body.sni.as_str() != host && seen.body.failure.is_none());
    // "Handshake failure" is first of all said of an offer with nothing in it to the server's taste: only another name
    // that it does serve tells the two apart.
    let of_the_offer = alert == "HandshakeFailure";
    let confidence = match (other_name.is_some(), caddy.is_some(), of_the_offer) {
        (true, ..) | (_, true, false) => Confidence::Confirmed,
        (_, _, false) => Confidence::Likely,
        (_, _, true) => Confidence::Possible,
    };
    let mut cause = Cause::new(
        Code::TlsOndemandRefused,
        Impact::Broken,
        confidence,
        format!("The server at {host} has no certificate for this name and could not get one, so nobody can connect."),
    )
    .saw(format!("TCP connects, then the server ends the handshake with the TLS alert {alert}"))
    .because([tls.id()])
    .because(line.connect.map(|seen| seen.id()))
    .because(caddy.map(|seen| seen.id()))
    .because(other_name.map(Seen::id))
    .contrast(
        format!("{}: the same connection, before and in the handshake", line.addr),
        format!("TLS for {host}: refused with {alert}"),
        format!("TCP: connected in {} ms", line.connect.map_or(0, |seen| seen.took())),
    )
    .remedy(Remedy::new(
        "Caddy with on-demand TLS: see why it may not issue, then restart it",
        [
            run(command!["curl -i", word!["http://localhost:3000/tls-check?domain=", HostName::new(host)]])
                .note("on the PDS's machine: must say 200; refused: the PDS is down"),
            run("sudo docker logs --tail 50 caddy 2>&1 | grep -iE 'obtain|ask|error'"),
            run("sudo systemctl restart pds"),
        ],
        evidence.verify(),
    ))
    .remedy(Remedy::new(
        "Another proxy, or a PDS without /tls-check: give the name a certificate of its own",
        [
            write_all([
                entry![HostName::new(host), ", *.", HostName::new(host), " {"],
                entry!["    reverse_proxy localhost:3000"],
                entry!["}"],
            ])
            .at("Caddyfile, with a DNS challenge for the wildcard"),
            write(entry!["server_name ", HostName::new(host), ";"])
                .at("nginx, in a server block that has the certificate of this name"),
        ],
        evidence.verify(),
    ));
    if let Some(seen) = other_name {
        cause = cause.contrast(
            "the same address, another server name",
            format!("{host}: refused with {alert}"),
            format!("{}: handshake completed", seen.body.sni),
        );
    }
    if cause.confidence != Confidence::Confirmed {
        cause = cause.settle(if of_the_offer {
            "a handshake for another name that the server has, and one that offers more: openssl s_client with -cipher 'ALL:@SECLEVEL=0'"
        } else {
            "the proxy's own log at the time of the check"
        });
    }
    cause
}

/// Of a wider offer the server takes something that clients of today do not have.
fn no_common_cipher(
    evidence: &Evidence<'_>,
    host: &str,
    line: &Line<'_>,
    tls: Seen<'_, TlsFact>,
    alert: &str,
) -> Option<Cause> {
    let offer = evidence
        .all_offers()
        .iter()
        .find(|seen| seen.body.addr == line.addr && seen.body.sni.as_str() == host && seen.body.suite.is_some())?;
    let (version, suite) = (offer.body.version.as_deref()?, offer.body.suite.as_deref()?);
    let cause = Cause::new(
        Code::TlsNoCommonCipher,
        Impact::Broken,
        Confidence::Confirmed,
        format!("{host} speaks only a TLS that relays and other servers no longer do ({version}, {suite}), so they cannot connect."),
    )
    .saw(format!("an ordinary offer ends with the TLS alert {alert}; of a wider one the server takes {suite}"))
    .because([tls.id(), offer.id()])
    .contrast(
        format!("{}: the same name, two offers", line.addr),
        format!("TLS 1.2 and 1.3, as clients of today: {alert}"),
        format!("old ciphers, versions and curves as well: {version}, {suite}"),
    )
    .remedy(Remedy::new(
        "Let the proxy offer TLS 1.2 and 1.3 with forward secrecy, and use a certificate with a common key",
        [
            write("ssl_protocols TLSv1.2 TLSv1.3;").at("nginx"),
            say("take out ssl_ciphers and ssl_ecdh_curve, or what corresponds to them in another proxy"),
            say("let the certificate's key be RSA with 2048 bits, or on the curve P-256 (not secp256k1)"),
        ],
        evidence.verify(),
    ));
    Some(cause)
}

fn fails(evidence: &Evidence<'_>, host: &str, tls: Seen<'_, TlsFact>) -> Cause {
    let (detail, kind) =
        tls.body.failure.as_ref().map_or((String::new(), FailureKind::Other), |f| (f.detail.to_string(), f.kind));
    let summary = if kind == FailureKind::Timeout {
        format!("{host} accepts connections but never answers the TLS handshake.")
    } else {
        format!("The TLS handshake with {host} fails: {detail}.")
    };
    Cause::new(Code::TlsHandshakeFails, Impact::Broken, Confidence::Likely, summary)
        .saw(format!("{}: {detail} after {} ms", tls.body.addr, tls.took()))
        .because([tls.id()])
        .settle(if kind == FailureKind::Timeout {
            Settle::text(
                "the handshake from another network: if it works there, large packets are lost on this path (MTU)",
            )
        } else {
            Settle::run(command![
                "openssl s_client -connect",
                word![HostName::new(host), ":", tls.body.port],
                "-servername",
                HostName::new(host),
                "</dev/null"
            ])
        })
        .remedy(Remedy::new(
            "Look into the proxy's log at the time of the check",
            [
                run("sudo docker logs --tail 50 caddy").note("Caddy in the official install"),
                run("sudo tail -50 /var/log/nginx/error.log").note("nginx"),
            ],
            evidence.verify(),
        ))
}

/// The control that makes a word about trust possible, and what it proves.
fn control(evidence: &Evidence<'_>) -> (Confidence, Option<FactId>) {
    match evidence.trusted_control() {
        Some(id) => (Confidence::Confirmed, Some(id)),
        None => (Confidence::Likely, None),
    }
}

fn path(evidence: &Evidence<'_>, host: &str, tls: Seen<'_, TlsFact>, certificate: &CertificateFact) -> Option<Cause> {
    if certificate.trust_given || certificate.trust_mozilla == PathVerdict::Trusted {
        return None;
    }
    // Where nothing is trusted, this network is the suspect.
    if evidence.is_intercepted_alike(certificate) {
        return None;
    }
    let (confidence, control) = control(evidence);
    if certificate.trust_mozilla == PathVerdict::ChainExpired {
        let cause = Cause::new(
            Code::TlsExpired,
            Impact::Broken,
            confidence,
            format!("A certificate in the chain of {host} has expired (the host's own has not)."),
        )
        .saw(format!("chain: {}", list(&certificate.chain_subjects)))
        .because([tls.id()])
        .because(control.clone())
        .remedy(renew(evidence, host));
        return Some(with_control(evidence, cause, host, "a certificate in it has expired", control.is_some()));
    }
    if certificate.trust_system == PathVerdict::Trusted {
        return Some(only_here(evidence, host, tls, certificate, control));
    }
    if lacks_intermediate(evidence, certificate) {
        let mut cause = Cause::new(
            Code::TlsIncompleteChain,
            Impact::Broken,
            if control.is_some() && certificate.public_ca_marks { Confidence::Confirmed } else { Confidence::Likely },
            format!("{host} does not send its intermediate certificate: browsers often cope, servers and the PDS network do not."),
        )
        .saw(format!("one certificate was sent, issued by {}; that issuer is no root, and its certificate is missing", certificate.issuer))
        .because([tls.id()])
        .because(control.clone())
        .remedy(Remedy::new(
            "Serve the full chain",
            [
                write(entry!["ssl_certificate /etc/letsencrypt/live/", HostName::new(host), "/fullchain.pem;"])
                    .at("nginx")
                    .note("not cert.pem; the folder may have another name"),
                run("sudo nginx -t && sudo systemctl reload nginx"),
            ],
            evidence.verify(),
        ));
        if let Some(url) = &certificate.issuer_url {
            cause = cause.saw(format!("the missing certificate is at {url}"));
        }
        if cause.confidence != Confidence::Confirmed {
            cause = cause.settle(
                "the issuer's own certificate: is it signed by a root that browsers have, or is it a private CA's?",
            );
        }
        return Some(with_control(evidence, cause, host, "one certificate, no path to a root", control.is_some()));
    }
    let what = if certificate.self_issued { "signed by itself" } else { "from a CA that nobody else knows" };
    let mut cause = Cause::new(
        Code::TlsInternalOrDefaultCa,
        Impact::Broken,
        confidence,
        format!("The certificate of {host} is {what}: browsers, apps and relays refuse it."),
    )
    .saw(format!("issued by {}", certificate.issuer))
    .because([tls.id()])
    .because(control.clone())
    .remedy(Remedy::new(
        "Get a public certificate on the listener that serves this name",
        [
            say("Caddy: remove \"tls internal\" from the site; check that the name is public and ports 80 and 443 are open"),
            say("Traefik, nginx ingress: a self-signed default certificate means no router or server block matches the name"),
            say("several listeners (Step-CA and Let's Encrypt): the public certificate must be on the one whose host name matches"),
        ],
        evidence.verify(),
    ));
    if !certificate.name_matches {
        cause = cause.saw(format!("it is not even for this name, but for {}", list(certificate.names.iter().take(4))));
    }
    if evidence.validity(certificate) != Validity::Valid {
        cause = cause.saw("it is out of date as well");
    }
    Some(with_control(evidence, cause, host, &format!("issuer {}", certificate.issuer), control.is_some()))
}

/// Trusted by this machine's own store alone.
fn only_here(
    evidence: &Evidence<'_>,
    host: &str,
    tls: Seen<'_, TlsFact>,
    certificate: &CertificateFact,
    control: Option<FactId>,
) -> Cause {
    // Without a control it may be the tool's own copy of Mozilla's roots that is old; and a CA with a
    // public one's marks is one, in this machine's store and not, or no longer, in Mozilla's.
    let public = certificate.public_ca_marks;
    let (impact, confidence) = if control.is_some() && !public {
        (Impact::Broken, Confidence::Likely)
    } else {
        (Impact::Risk, Confidence::Possible)
    };
    let summary = if public {
        format!(
            "The certificate of {host} is from a CA that this machine trusts and Mozilla does not: some clients may refuse it."
        )
    } else {
        format!("The certificate of {host} is trusted only by machines that know its private CA, as this one does.")
    };
    let cause = Cause::new(Code::TlsInternalOrDefaultCa, impact, confidence, summary)
        .saw(format!("issuer {}: in this machine's store, not in Mozilla's", certificate.issuer))
        .because([tls.id()])
        .because(control.clone())
        .settle("the same check from a machine that does not have your root installed")
        .remedy(Remedy::new(
            "Get a certificate from a public CA",
            [say("Caddy: remove \"tls internal\" from the site"), run("sudo certbot --nginx").note("nginx")],
            evidence.verify(),
        ));
    with_control(evidence, cause, host, &format!("issuer {}", certificate.issuer), control.is_some())
}

fn with_control(evidence: &Evidence<'_>, cause: Cause, host: &str, this: &str, proven: bool) -> Cause {
    match evidence.reference() {
        Some(reference) if proven => cause.contrast(
            "the chain, judged against Mozilla's roots",
            format!("{host}: {this}"),
            format!("{reference}: trusted"),
        ),
        _ if cause.settle.is_none() => cause.settle("a reference whose certificate is trusted from here"),
        _ => cause,
    }
}

/// One certificate, not signed by itself, whose issuer looks like an intermediate: from a public CA
/// by its marks, or seen sending the rest elsewhere in this run, or by its own name.
fn lacks_intermediate(evidence: &Evidence<'_>, certificate: &CertificateFact) -> bool {
    if certificate.chain_length != 1 || certificate.self_issued {
        return false;
    }
    let issuer = certificate.issuer.to_ascii_lowercase();
    let sent_elsewhere = evidence.all_tls().iter().any(|seen| {
        seen.body.certificate.as_ref().is_some_and(|other| other.chain_subjects.contains(&certificate.issuer))
    });
    certificate.public_ca_marks
        || certificate.issuer_url.is_some()
        || sent_elsewhere
        || ["intermediate", "issuing", "sub ca", "subca"].iter().any(|word| issuer.contains(word))
}

fn renew(evidence: &Evidence<'_>, host: &str) -> Remedy {
    Remedy::new(
        "Renew it, and see why it was not renewed by itself",
        [
            run("sudo docker logs --tail 100 caddy 2>&1 | grep -iE 'renew|obtain|error'").note("Caddy: why not?"),
            run("sudo systemctl restart pds").note("Caddy of the official install: tries again"),
            run("sudo certbot renew && sudo systemctl reload nginx").note("nginx with certbot"),
            say(prose!["port 80 of ", quoted(host), " must be open for the HTTP challenge"]),
        ],
        evidence.verify(),
    )
}

fn dates(evidence: &Evidence<'_>, host: &str, tls: Seen<'_, TlsFact>, certificate: &CertificateFact) -> Option<Cause> {
    let when = crate::diagnose::words::date;
    let ago = crate::diagnose::words::span;
    // The reference's certificate is judged by the same clock; if that is in date, the clock is not far off.
    let control = evidence.all_tls().iter().find(|seen| {
        seen.body.role == Role::Reference
            && seen.body.certificate.as_ref().is_some_and(|other| evidence.validity(other) == Validity::Valid)
    });
    // Where the reference's is out of date as well, this machine's clock is the suspect.
    let own_clock = control.is_none()
        && evidence.all_tls().iter().any(|seen| seen.body.role == Role::Reference && seen.body.certificate.is_some());
    let (impact, confidence) = match (&control, own_clock) {
        (Some(_), _) => (Impact::Broken, Confidence::Confirmed),
        (None, false) => (Impact::Broken, Confidence::Likely),
        (None, true) => (Impact::Risk, Confidence::Possible),
    };
    let now = evidence.judged_at(certificate);
    let (code, summary, remedy) = match evidence.validity(certificate) {
        Validity::Valid => return None,
        Validity::Expired => (
            Code::TlsExpired,
            format!(
                "The certificate of {host} expired on {} ({} ago).",
                when(certificate.not_after),
                ago(now.saturating_sub(certificate.not_after))
            ),
            renew(evidence, host),
        ),
        Validity::NotYet => (
            Code::TlsNotYetValid,
            format!(
                "The certificate of {host} is valid only from {} (in {}).",
                when(certificate.not_before),
                ago(certificate.not_before.saturating_sub(now))
            ),
            Remedy::new(
                "Check the clock of the machine that made it, then issue it again",
                [run("timedatectl status"), run("sudo timedatectl set-ntp true"), say("then renew the certificate")],
                evidence.verify(),
            ),
        ),
    };
    let cause = Cause::new(code, impact, confidence, summary)
        .saw(format!("valid from {} to {}", when(certificate.not_before), when(certificate.not_after)))
        .because([tls.id()])
        .because(control.map(Seen::id))
        .remedy(remedy);
    Some(match (control, evidence.reference()) {
        (Some(_), Some(reference)) => cause.contrast(
            "the dates, judged by the same clock (this machine's)",
            format!("{host}: out of date"),
            format!("{reference}: in date"),
        ),
        _ => cause.settle("this machine's own clock, against another"),
    })
}

fn name(evidence: &Evidence<'_>, host: &str, tls: Seen<'_, TlsFact>, certificate: &CertificateFact) -> Option<Cause> {
    if certificate.name_matches {
        return None;
    }
    let names = list(certificate.names.iter().take(4));
    let more = certificate.name_count.saturating_sub(4);
    let names = if more > 0 { format!("{names} and {more} more") } else { names };
    Some(
        Cause::new(
            Code::TlsWrongName,
            Impact::Broken,
            Confidence::Confirmed,
            format!("The certificate that {host} shows is for another name, so clients refuse it."),
        )
        .saw(format!("it is valid for {names}"))
        .because([tls.id()])
        .contrast(
            "the name asked for, and the names in the certificate",
            format!("asked: {host}"),
            format!("certificate: {names}"),
        )
        .remedy(Remedy::new(
            "Serve a certificate that covers the name",
            [
                write(entry!["server_name ", HostName::new(host), ";"])
                    .at("nginx, in a server block of its own with its own certificate (another block answers now)"),
                say(prose!["Caddy: a site of which the address is ", quoted(host)]),
                say(prose!["is ", tls.body.addr, " the right machine for ", quoted(host), "?"]),
            ],
            evidence.verify(),
        )),
    )
}
