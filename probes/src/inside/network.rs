//! The network of one namespace: interfaces, routes, sources, settings.

use std::{collections::BTreeMap, io, net::IpAddr, time::Duration};

use tokio::time::timeout;

use super::{links, routes, sysctl};
use crate::{
    fact::{FactBody, Family, ProbeName},
    host_fact::{InterfaceFact, RoutesFact, SOMEWHERE},
    net::Net,
    text::Text,
};

/// The kernel answers from its memory; this is for a machine that is drowning.
const KERNEL: Duration = Duration::from_secs(2);

/// What was seen of a namespace, for those who go on from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    pub(super) interfaces: Vec<InterfaceFact>,
    pub(super) routes: Vec<RoutesFact>,
    pub(super) settings: Vec<crate::host_fact::SysctlFact>,
}

impl Network {
    /// Every address of this namespace.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.interfaces.iter().flat_map(|interface| interface.addresses.iter().map(|found| found.addr)).collect()
    }

    /// A live setting, such as (`ipv6`, `eth0`, `accept_ra`).
    pub(super) fn setting(&self, family: &str, interface: &str, name: &str) -> Option<i64> {
        let key = format!("net/{family}/conf/{interface}/{name}");
        let mut values = self.settings.iter().flat_map(|fact| &fact.values);
        values.find(|value| value.key.as_str() == key)?.live
    }
}

/// Examines the namespace of this thread. Records [`InterfaceFact`]s, [`RoutesFact`]s,
/// [`crate::host_fact::SourceFact`]s (towards the internet and towards `destinations`) and
/// [`crate::host_fact::SysctlFact`]s.
pub(super) async fn examine(net: &Net, destinations: &[IpAddr], boot: &sysctl::Boot) -> Network {
    let mut network = Network::default();
    match timeout(KERNEL, over_netlink(net, destinations, &mut network)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            net.not_measured(ProbeName::HostNetwork, &format!("rtnetlink: {error}"), "a kernel that answers");
        }
        Err(_) => net.not_measured(ProbeName::HostNetwork, "the kernel did not answer in time", "an idle machine"),
    }
    let interfaces: Vec<&str> = network.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    let job_settings = sysctl::settings(net, &interfaces, boot);
    network.settings = job_settings;
    network
}

/// What the kernel would do with packets to `destinations`. Records [`crate::host_fact::SourceFact`]s.
pub(super) async fn ways(net: &Net, destinations: &[IpAddr]) {
    let work = async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let driver = tokio::spawn(connection);
        let interfaces = links::interfaces(&handle).await?;
        let names: BTreeMap<u32, Text> =
            interfaces.into_iter().map(|interface| (interface.index, interface.name)).collect();
        for destination in destinations {
            let job = net.begin(ProbeName::HostNetwork, format!("the way to {destination}"));
            job.finish(FactBody::Source(routes::source(&handle, *destination, &names).await));
        }
        driver.abort();
        io::Result::Ok(())
    };
    // The connections themselves say more; without this only the choice of a source is not known.
    let _ = timeout(KERNEL, work).await;
}

async fn over_netlink(net: &Net, destinations: &[IpAddr], network: &mut Network) -> io::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let driver = tokio::spawn(connection);
    let begun = net.begin(ProbeName::HostNetwork, "the interfaces");
    network.interfaces = links::interfaces(&handle).await?;
    drop(begun);
    for interface in &network.interfaces {
        net.begin(ProbeName::HostNetwork, "an interface").finish(FactBody::Interface(interface.clone()));
    }
    let names: BTreeMap<u32, Text> =
        network.interfaces.iter().map(|interface| (interface.index, interface.name.clone())).collect();
    for family in [Family::V4, Family::V6] {
        let job = net.begin(ProbeName::HostNetwork, format!("the {family} routes"));
        let found = routes::routes(&handle, family, &names).await?;
        job.finish(FactBody::Routes(found.clone()));
        network.routes.push(found);
    }
    let mut wanted: Vec<IpAddr> = SOMEWHERE.into_iter().chain(destinations.iter().copied()).collect();
    wanted.sort();
    wanted.dedup();
    for destination in wanted {
        let job = net.begin(ProbeName::HostNetwork, format!("the way to {destination}"));
        job.finish(FactBody::Source(routes::source(&handle, destination, &names).await));
    }
    driver.abort();
    Ok(())
}
