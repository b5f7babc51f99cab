//! Who listens where on the PDS's machine, and what the proxy there asks: faults, twins, look-alikes.

use pdsdoctor::diagnose::{Code, Confidence, Impact};
use pdsdoctor_probes::{
    fact::{FactBody, FailureKind, ProbeName, Role, Vantage},
    http_fact::{BodyClass, Content, HttpPurpose},
    process_fact::{Listener, Owner, ProxyFact, Upstream},
    secret::Form,
};

use crate::{host::*, world::*};

/// `_health`, asked on the PDS's machine.
pub fn health(world: &mut World, at: &Vantage, url: &str, addr: &str, outcome: Result<u16, FailureKind>) {
    let content = Some(Content::Health { version: t("0.4.219") });
    let mut body = http(Role::Target, HttpPurpose::Health, url, addr, content);
    match outcome {
        Ok(200) => {}
        Ok(status) => answer(&mut body, status, BodyClass::Html, "<html>"),
        Err(kind) => no_answer(&mut body, kind),
    }
    world.inside(at, ProbeName::PdsProcess, FactBody::Http(body));
}

/// The PDS listens at its default port, the proxy asks at the usual one.
pub fn wrong_port(form: Option<Form>) -> World {
    let mut world = machine_host_network()
        .http(Role::Target, HttpPurpose::Health, |it| answer(it, 502, BodyClass::Html, "<html>"))
        .http(Role::Target, HttpPurpose::DescribeServer, |it| answer(it, 502, BodyClass::Html, "<html>"))
        .each(|fact| match &mut fact.body {
            FactBody::Process(body) => {
                body.port = None;
                body.environment = form
                    .map(|form| pdsdoctor_probes::process_fact::EnvironmentKey { key: t("PDS_PORT"), form })
                    .into_iter()
                    .collect();
            }
            FactBody::Listeners(body) => {
                for socket in body.sockets.iter_mut().filter(|socket| socket.port == 3_000) {
                    socket.port = 2_583;
                }
            }
            _ => {}
        });
    health(&mut world, &Vantage::Here, "http://127.0.0.1:2583/xrpc/_health", "127.0.0.1", Ok(200));
    let refused = Err(FailureKind::Refused);
    health(&mut world, &Vantage::Here, "http://127.0.0.1:3000/xrpc/_health", "127.0.0.1", refused);
    world
}

#[test]
fn the_proxy_asks_at_another_port() {
    let told = |port| asks(wrong_port(None), "localhost", port, &[("127.0.0.1", FailureKind::Refused)]);
    for port in [3_000, 8_080] {
        let judged = told(port).finds(Code::Port2583Vs3000, Impact::Broken, Confidence::Confirmed);
        let cause = judged.cause(Code::Port2583Vs3000);
        assert!(cause.symptoms.iter().any(|it| it.code == Code::ProxyUpstreamDown), "{cause:?}");
        assert!(cause.summary.contains(&format!("localhost:{port}")), "{}", cause.summary);
        assert!(cause.remedies[0].title.contains("2583"), "{cause:?}");
        // The file that was read, and the program that read it.
        let lines = cause.remedies[0].lines().concat();
        assert!(lines.contains("/etc/caddy/Caddyfile") && !lines.contains("nginx"), "{lines}");
    }
    // Nobody looked at what the proxy asks: no more than a guess.
    let judged = wrong_port(None).judge();
    let cause = judged.cause(Code::Port2583Vs3000);
    assert_eq!(cause.confidence, Confidence::Possible, "{}", judged.show());
    assert!(format!("{:?}", cause.settle).contains("reverse_proxy"), "{cause:?}");
    assert!(wrong_port(Some(Form::Url)).judge().show().contains("no number"));
    // The PDS listens at 2583 and the proxy knows.
    let fine = wrong_port(None)
        .http(Role::Target, HttpPurpose::Health, |it| {
            *it = http(it.role, it.purpose, &it.url, PDS_V4, Some(Content::Health { version: t("0.4.219") }));
        })
        .http(Role::Target, HttpPurpose::DescribeServer, |it| {
            let content = Content::DescribeServer {
                did: Some(t("did:web:pds.example.com")),
                available_user_domains: vec![t(".pds.example.com")],
            };
            *it = http(it.role, it.purpose, &it.url, PDS_V4, Some(content));
        });
    fine.never_says(Code::Port2583Vs3000);
    // It does not run at all: another cause.
    wrong_port(None)
        .each(|fact| {
            if let FactBody::Listeners(body) = &mut fact.body {
                body.sockets.retain(|socket| socket.port != 2_583);
            }
        })
        .never_says(Code::Port2583Vs3000);
}

/// The proxy's configuration says this, and what it asks came to these ends.
pub fn asks(world: World, host: &str, port: u16, ends: &[(&str, FailureKind)]) -> World {
    world.with(|world| {
        let body = ProxyFact {
            pid: 900,
            program: t("caddy"),
            files: vec![t("/etc/caddy/Caddyfile")],
            upstreams: vec![Upstream { host: t(host), port, tls: false, sites: vec![t(PDS)] }],
            unreadable: Vec::new(),
        };
        world.inside(&Vantage::Here, ProbeName::PdsProcess, FactBody::Proxy(body));
        let name = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        for (addr, kind) in ends {
            let url = format!("http://{name}:{port}/xrpc/_health");
            let mut body = http(Role::Target, HttpPurpose::Upstream, &url, addr, None);
            no_answer(&mut body, *kind);
            world.inside(&Vantage::Here, ProbeName::PdsProcess, FactBody::Http(body));
        }
    })
}

/// 502 beside a PDS that listens at its usual port, at this address alone.
pub fn bound_to(addr: &str) -> World {
    let mut world = machine_host_network()
        .http(Role::Target, HttpPurpose::Health, |it| answer(it, 502, BodyClass::Html, "<html>"))
        .http(Role::Target, HttpPurpose::DescribeServer, |it| answer(it, 502, BodyClass::Html, "<html>"))
        .each(|fact| {
            if let FactBody::Listeners(body) = &mut fact.body {
                body.sockets.iter_mut().filter(|socket| socket.port == 3_000).for_each(|socket| socket.addr = ip(addr));
            }
        });
    let bound = std::net::SocketAddr::new(ip(if addr == "::" { "127.0.0.1" } else { addr }), 3_000);
    let url = format!("http://{bound}/xrpc/_health");
    health(&mut world, &Vantage::Here, &url, &bound.ip().to_string(), Ok(200));
    world
}

#[test]
fn the_proxy_asks_at_an_address_where_nobody_listens() {
    let refused = [("127.0.0.1", FailureKind::Refused)];
    let judged = asks(bound_to("::1"), "127.0.0.1", 3_000, &refused).finds(
        Code::ProxyWrongAddress,
        Impact::Broken,
        Confidence::Confirmed,
    );
    let cause = judged.cause(Code::ProxyWrongAddress);
    assert!(cause.remedies[0].title.contains("[::1]:3000"), "{cause:?}");
    assert!(cause.symptoms.iter().any(|it| it.code == Code::ProxyUpstreamDown), "{cause:?}");
    assert!(!judged.says(Code::Port2583Vs3000), "{}", judged.show());
    let other = asks(bound_to("127.0.0.1"), "::1", 3_000, &[("::1", FailureKind::Refused)]);
    other.finds(Code::ProxyWrongAddress, Impact::Broken, Confidence::Confirmed);
    // It listens there, and refuses: a moment ago it was down, perhaps.
    asks(bound_to("::"), "127.0.0.1", 3_000, &refused).never_says(Code::ProxyWrongAddress);
}

#[test]
fn a_firewall_before_the_pds_s_port() {
    for kind in [FailureKind::Timeout, FailureKind::Prohibited] {
        let judged = asks(bound_to("::"), "127.0.0.1", 3_000, &[("127.0.0.1", kind)]).finds(
            Code::FwProxyToPds,
            Impact::Broken,
            Confidence::Confirmed,
        );
        assert!(!judged.says(Code::Port2583Vs3000), "{}", judged.show());
    }
    // The PDS does not listen: it is down.
    asks(bound_to("::"), "127.0.0.1", 3_000, &[("127.0.0.1", FailureKind::Timeout)])
        .each(|fact| {
            if let FactBody::Listeners(body) = &mut fact.body {
                body.sockets.retain(|socket| socket.port != 3_000);
            }
        })
        .never_says(Code::FwProxyToPds);
}

/// A web server of somebody else holds port 443; the PDS's own proxy has only port 80, or nothing.
pub fn taken(waiting: bool) -> World {
    let mut world = machine_host_network()
        .http(Role::Target, HttpPurpose::Health, |it| answer(it, 404, BodyClass::Html, "<html>"))
        .http(Role::Target, HttpPurpose::DescribeServer, |it| answer(it, 404, BodyClass::Html, "<html>"))
        .each(|fact| {
            if let FactBody::Listeners(body) = &mut fact.body {
                body.sockets.retain(|socket| socket.port == 3_000);
                let owned = |port, pid, program| Listener {
                    port,
                    addr: ip("0.0.0.0"),
                    owner: Some(Owner { pid, program: t(program), hands_to: None }),
                };
                body.sockets.push(owned(443, 812, "apache2"));
                if waiting {
                    body.sockets.push(owned(2_019, 900, "caddy"));
                }
            }
        });
    health(&mut world, &Vantage::Here, "http://127.0.0.1:3000/xrpc/_health", "127.0.0.1", Ok(200));
    health(&mut world, &Vantage::Here, "https://pds.example.com/xrpc/_health", "127.0.0.1", Ok(404));
    world
}

#[test]
fn somebody_else_holds_the_port() {
    taken(true).finds(Code::PortTaken, Impact::Broken, Confidence::Confirmed);
    // The PDS's own proxy holds it and the PDS is down.
    let mut down = machine_host_network()
        .http(Role::Target, HttpPurpose::Health, |it| answer(it, 502, BodyClass::Html, "<html>"))
        .http(Role::Target, HttpPurpose::DescribeServer, |it| answer(it, 502, BodyClass::Html, "<html>"));
    health(&mut down, &Vantage::Here, "https://pds.example.com/xrpc/_health", "127.0.0.1", Ok(502));
    down.never_says(Code::PortTaken);
}
