//! Finding the PDS among the processes of this machine.

use std::time::{Duration, Instant};

use super::{
    environment::Environment,
    listeners,
    owner::Owner,
    proc_fs::{self, PROCESSES, arguments, pids, worked},
};

/// A machine with so many processes that they take this long is no place to be thorough: in the time of the processor, as
/// one that is busy with something else has no more of them.
const WORK: Duration = Duration::from_secs(2);
/// And where there is none to be had: what is asked afterwards needs some of the time that is left.
const PATIENCE: Duration = Duration::from_secs(4);

/// The most PDSes that are examined.
pub(super) const FOUND: usize = 4;

/// Programs that run JavaScript.
const RUNTIMES: &[&str] = &["node", "nodejs", "bun", "deno"];

/// Programs known to switch forwarding on or to look after the network; their names as `comm` has
/// them, cut to 15 characters (proc_pid_comm(5)).
pub(super) const DAEMONS: &[&str] = &[
    "dockerd",
    "containerd",
    "podman",
    "netavark",
    "libvirtd",
    "virtnetworkd",
    "tailscaled",
    "k3s-server",
    "k3s-agent",
    "k3s",
    "kubelet",
    "lxd",
    "incusd",
    "zerotier-one",
    "systemd-network",
    "systemd-resolve",
    "NetworkManager",
    "dhcpcd",
    "dhclient",
    "connmand",
    "wpa_supplicant",
    "ifplugd",
    "radvd",
    "cloudflared",
];

/// A daemon that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Daemon {
    /// One of [`DAEMONS`].
    pub(super) name: &'static str,
    pub(super) pid: u32,
}

/// A process that may be a PDS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) pid: u32,
    /// What was seen.
    pub(super) because: String,
    /// Its `PDS_HOSTNAME`, if it has the form of a host name.
    pub(super) hostname: Option<String>,
}

/// What a look at all processes gave.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) candidates: Vec<Candidate>,
    /// JavaScript processes of other users, whose environment may not be read.
    pub(super) unreadable: Vec<u32>,
    pub(super) daemons: Vec<Daemon>,
    /// There were more processes than were looked at.
    pub(super) cut_short: bool,
}

/// Looks at every process once.
pub(super) fn scan() -> Scan {
    let mut scan = Scan::default();
    let mut found: Vec<(Candidate, Rank)> = Vec::new();
    let own = std::process::id();
    let (started, before) = (Instant::now(), worked());
    let all = pids();
    scan.cut_short = all.len() == PROCESSES;
    for pid in all {
        if worked().saturating_sub(before) >= WORK || started.elapsed() >= PATIENCE {
            scan.cut_short = true;
            break;
        }
        let comm = proc_fs::comm(pid);
        let comm = comm.as_str();
        if let Some(name) = DAEMONS.iter().find(|name| comm == **name || (comm.starts_with(**name) && name.len() == 15))
        {
            scan.daemons.push(Daemon { name, pid });
        }
        if pid == own {
            continue;
        }
        match Environment::of(pid) {
            Ok(environment) => found.extend(candidate(pid, &environment)),
            // Kernel threads and processes that are gone have none.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && is_runtime(pid, comm) => {
                if is_pds_command(pid) {
                    let because = "its command line".to_owned();
                    found.push((
                        Candidate { pid, because, hostname: None },
                        Rank { silent: true, ..Rank::of(pid, String::new()) },
                    ));
                } else {
                    scan.unreadable.push(pid);
                }
            }
            Err(_) => {}
        }
    }
    scan.candidates = choose(found);
    scan
}

/// It runs JavaScript. Node names its main thread `node`, or `MainThread` since version 22.
fn is_runtime(pid: u32, comm: &str) -> bool {
    let is = |name: &str| RUNTIMES.contains(&name.rsplit('/').next().unwrap_or(name));
    is(&proc_fs::program(pid)) || is(comm) || arguments(pid).first().is_some_and(|word| is(word))
}

/// Its arguments name the PDS package.
fn is_pds_command(pid: u32) -> bool {
    arguments(pid).iter().any(|word| word.contains("@atproto/pds") || word.ends_with("/pds/index.js"))
}

/// The PDS among the processes of a container whose first process is `first`: the best candidate, else
/// the first that runs JavaScript, else that first one. `None`: `first` is of another container.
pub(super) fn in_container(id: &str, first: u32) -> Option<u32> {
    let group = |pid: u32| proc_fs::control_groups(pid).unwrap_or_default();
    let of = |pid: u32| super::cgroup::confinement(&group(pid)).id;
    let named = of(first);
    // An engine inside a container of its own may leave no trace of its containers in the names.
    let is_id = named.as_ref().is_some_and(|named| named.len() == 64);
    if is_id && named.as_deref() != Some(id) || !proc_fs::exists(first) {
        return None;
    }
    let first_group = group(first);
    let space = |pid: u32| proc_fs::namespace(pid, "pid");
    let own_space = space(std::process::id());
    let first_space = space(first).filter(|space| Some(space) != own_space.as_ref());
    let inside = |pid: &u32| {
        *pid == first || (is_id && group(*pid) == first_group) || (first_space.is_some() && space(*pid) == first_space)
    };
    let members: Vec<u32> = pids().into_iter().filter(inside).collect();
    let found = members.iter().filter_map(|pid| candidate(*pid, &Environment::of(*pid).ok()?)).collect();
    let runtime = || members.iter().copied().find(|pid| is_runtime(*pid, &proc_fs::comm(*pid)));
    choose(found).first().map(|candidate| candidate.pid).or_else(runtime).or(Some(first))
}

/// Whether `pid` is in the container whose first process is `first`: in its namespace of processes, which is none of
/// this machine's, or else in its control groups, as engines that give no such namespace have it.
pub(super) fn shares_container(first: u32, pid: u32) -> bool {
    let group = |pid: u32| proc_fs::control_groups(pid).ok();
    let space = |pid: u32| proc_fs::namespace(pid, "pid");
    let (own, theirs) = (space(std::process::id()), space(first));
    if pid == first || theirs.is_some() && theirs != own && theirs == space(pid) {
        return true;
    }
    // The kernel's word on the groups: another name would be another line.
    let groups = group(first);
    groups.is_some() && groups == group(pid)
}

/// How good a candidate is, and to which PDS it belongs.
struct Rank {
    /// It does not listen on its port.
    silent: bool,
    started: u64,
    group: String,
}

impl Rank {
    fn of(pid: u32, group: String) -> Self {
        Self { silent: false, started: proc_fs::started_ticks(pid).unwrap_or(u64::MAX), group }
    }
}

/// A process with the environment of a PDS that runs JavaScript or listens on the port it was told:
/// shells, `dumb-init` and `docker compose` have the same environment and are none.
fn candidate(pid: u32, environment: &Environment) -> Option<(Candidate, Rank)> {
    let named = environment.has("PDS_HOSTNAME");
    let because = if named {
        "PDS_HOSTNAME in its environment".to_owned()
    } else if environment.has("PDS_DATA_DIRECTORY") || environment.has("PDS_DATADIR") {
        "PDS_DATA_DIRECTORY in its environment".to_owned()
    } else if is_pds_command(pid) {
        "its command line".to_owned()
    } else {
        return None;
    };
    let port = environment.port().unwrap_or(crate::process_fact::DEFAULT_PORT);
    let inodes = proc_fs::sockets(pid);
    let of_process = pid.to_string();
    let listens =
        listeners::listening(&of_process).iter().any(|socket| socket.port == port && inodes.contains(&socket.inode));
    if !listens && !is_runtime(pid, &proc_fs::comm(pid)) {
        return None;
    }
    // One PDS may have helpers (goat, a debugger) with the same environment in the same container. What is another
    // owner's is none of them: whoever it is says the same.
    let hostname = environment.hostname().map(|name| name.to_string());
    let (owner, network) = (Owner::of(pid), super::namespace::network_of(pid));
    let group = format!("{} {port} {network:?} {owner:?}", hostname.as_deref().unwrap_or_default());
    Some((Candidate { pid, because, hostname }, Rank { silent: !listens, ..Rank::of(pid, group) }))
}

/// The best candidate of each PDS: the one that listens, else the oldest.
fn choose(mut found: Vec<(Candidate, Rank)>) -> Vec<Candidate> {
    found.sort_by_key(|(candidate, rank)| (rank.silent, rank.started, candidate.pid));
    let mut groups: Vec<String> = Vec::new();
    let mut chosen = Vec::new();
    for (candidate, rank) in found {
        if !rank.group.is_empty() && groups.contains(&rank.group) {
            continue;
        }
        groups.push(rank.group);
        chosen.push(candidate);
    }
    chosen
}
