//! The PDS asked on its own machine: at its own port, and through whatever holds port 443 there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use futures_util::future::join_all;

use super::{
    listeners,
    survey::{PdsProcess, Place},
};
use crate::{
    fact::{ProbeName, Role},
    http_fact::HttpPurpose,
    limits,
    net::Net,
    outside::fetch,
    process_fact::DEFAULT_PORT,
};

/// The port that the official images set.
pub const IMAGE_PORT: u16 = 3000;

/// The most addresses of this machine at which its front is asked.
const FRONTS: usize = 3;

/// Asks `_health` of the PDS process at its own port, at an address that it listens at, and at the two usual ones, from its
/// own network. Records [`crate::http_fact::HttpFact`]s of [`ProbeName::PdsProcess`].
pub async fn own_port(net: &Net, pds: &PdsProcess) {
    let Some(place) = &pds.place else { return };
    let mut ports = vec![pds.fact.effective_port(), IMAGE_PORT, DEFAULT_PORT];
    ports.sort_unstable();
    ports.dedup();
    let there = net.at(place.vantage.clone());
    let own = pds.fact.effective_port();
    let work = move || async move {
        // What listens at one address only, such as `::1`, does not answer at 127.0.0.1.
        let bound: Vec<IpAddr> =
            listeners::listening("thread-self").into_iter().filter(|it| it.port == own).map(|it| it.addr).collect();
        let at_loopback = bound.iter().any(|addr| addr.is_unspecified() || *addr == IpAddr::V4(Ipv4Addr::LOCALHOST));
        let elsewhere = bound.first().filter(|_| !at_loopback).map(|addr| (*addr, own));
        let asked = ports
            .iter()
            .map(|port| (IpAddr::V4(Ipv4Addr::LOCALHOST), *port))
            .chain(elsewhere)
            .map(|(addr, port)| ask(&there, format!("http://{}/xrpc/_health", SocketAddr::new(addr, port)), addr));
        join_all(asked).await;
    };
    // That it may not be entered was said by the survey.
    let _ = place.namespace.run(work).await;
}

/// Asks `_health` of `host` at port 443 of this machine itself: its loopback and `own` addresses.
pub async fn own_front(net: &Net, host: &str, own: &[IpAddr]) {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let own = own.iter().copied().filter(|addr| addr.is_ipv4() && !addr.is_loopback());
    let addrs: Vec<IpAddr> = loopback.into_iter().chain(own).take(FRONTS).collect();
    let (there, url) = (net.clone(), format!("https://{host}/xrpc/_health"));
    let work = move || async move {
        join_all(addrs.iter().map(|addr| ask(&there, url.clone(), *addr))).await;
    };
    let _ = Place::here().namespace.run(work).await;
}

async fn ask(net: &Net, url: String, addr: IpAddr) {
    let request =
        fetch::Request { role: Role::Target, purpose: HttpPurpose::Health, url: &url, addr, limit: limits::FETCH };
    fetch::get(net, ProbeName::PdsProcess, &request).await;
}
