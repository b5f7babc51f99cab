//! What the user asked of `check`, free of the command line's own types.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use pdsdoctor_probes::{fact::ProbeName, identifier::TargetInput};
use strum::{EnumString, IntoEnumIterator};

use crate::egress::EgressHost;

/// The time limit of a whole run. A PDS may wait 10 s for a dead client document before it answers
/// a PAR (`@atproto-labs/fetch-node`); finding the way there and back needs a few seconds more.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

/// Known-good PDSes, tried in this order. `tngl.sh` runs the reference implementation and is its own
/// authorization server (it was the control of the first field report); `bsky.social` is an entryway,
/// another program, and therefore the last resort.
pub const REFERENCES: &[&str] = &["tngl.sh", "bsky.social"];

/// Entryways: login servers of many PDSes. Their answers are another program's.
pub const ENTRYWAYS: &[&str] = &["bsky.social"];

/// The client of the first field report.
pub const DEFAULT_CLIENT_ID: &str = "https://tangled.org/oauth/client-metadata.json";

/// Everything `check` needs to know.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// What to examine, as typed.
    pub input: String,
    /// The same, read; `None`: this machine, as the host of a PDS.
    pub target: Option<TargetInput>,
    /// `--against`: the reference the user named.
    pub against: Option<String>,
    /// `--no-reference`.
    pub no_reference: bool,
    /// `--no-third-party`: only the target and what the user named is contacted.
    pub no_third_party: bool,
    /// `--client-id`, or the default client.
    pub client_ids: Vec<String>,
    /// The user named the client documents.
    pub client_ids_given: bool,
    /// Hosts for the PDS's way out: `--egress-host`, and the others of the table.
    pub egress_hosts: Vec<EgressHost>,
    /// The user named some of them: the way out is examined whatever the login says.
    pub egress_hosts_given: bool,
    /// `-4`.
    pub only_v4: bool,
    /// `-6`.
    pub only_v6: bool,
    /// `--only`, less `--skip`.
    pub probes: Vec<ProbeName>,
    /// `--host-probes`.
    pub host_probes: HostProbes,
    /// `--container`: the PDS is in this container, on this machine.
    pub container: Option<String>,
    /// `--pid`: this process is the PDS.
    pub pid: Option<u32>,
    /// `--with-node`: the PDS's own Node program is run.
    pub with_node: bool,
    /// `--log`: the PDS's log.
    pub log: Option<PathBuf>,
    /// `--env-file`: the PDS's file of settings.
    pub env_file: Option<PathBuf>,
    /// `--resolve HOST:PORT:ADDR`, as curl.
    pub resolve: Vec<Resolve>,
    /// `--nameserver`.
    pub nameservers: Vec<SocketAddr>,
    /// `--timeout`.
    pub timeout: Duration,
    /// The options given whose values are no part of a run: whoever measures again must know of them.
    pub also_given: Vec<&'static str>,
}

/// When this machine is examined as the PDS's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum HostProbes {
    /// If it is: an address of the target is ours, or a process here has its `PDS_HOSTNAME`.
    #[default]
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

/// What a probe rests on: without it, it cannot run.
fn rests_on(probe: ProbeName) -> &'static [ProbeName] {
    match probe {
        ProbeName::Tcp | ProbeName::Port80 => &[ProbeName::Dns],
        ProbeName::Tls => &[ProbeName::Tcp],
        ProbeName::Http => &[ProbeName::Tls],
        ProbeName::OauthDiscovery | ProbeName::Handles | ProbeName::Websocket => &[ProbeName::Http],
        ProbeName::Par => &[ProbeName::OauthDiscovery],
        probe if probe.is_inside() && probe != ProbeName::PdsProcess => &[ProbeName::PdsProcess],
        _ => &[],
    }
}

/// The probes asked for with everything they rest on (`--only http` connects first), less those left
/// out with everything that rests on them. Which network there is, is always looked at.
pub fn closure(only: &[ProbeName], skip: &[ProbeName]) -> Vec<ProbeName> {
    fn needs(probe: ProbeName, wanted: ProbeName) -> bool {
        probe == wanted || rests_on(probe).iter().any(|below| needs(*below, wanted))
    }
    ProbeName::iter()
        .filter(|probe| {
            *probe == ProbeName::OwnNetwork || only.is_empty() || only.iter().any(|asked| needs(*asked, *probe))
        })
        .filter(|probe| !skip.iter().any(|left| needs(*probe, *left)))
        .collect()
}

/// One `--resolve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// Host name, lower case.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The addresses to use instead of asking.
    pub addrs: Vec<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_probe_rests_on_comes_with_it() {
        use ProbeName::{Dns, Http, OwnNetwork, Par, Tcp, Tls};
        assert_eq!(closure(&[Http], &[]), [OwnNetwork, Dns, Tcp, Tls, Http]);
        assert_eq!(closure(&[Dns], &[]), [OwnNetwork, Dns]);
        assert_eq!(closure(&[], &[]).len(), ProbeName::iter().count());
        let without_http = closure(&[], &[Http]);
        assert!(!without_http.contains(&Par) && without_http.contains(&Tls));
    }
}
