//! Who is taken for the PDS, where more than one process says that it is.
//!
//! A host name in an environment is a claim: anybody on the machine can start a process with it. Two of one owner are one
//! PDS, and what it is started with: a helper, an old process that still ends. Of two owners one may be an impostor, and
//! neither its user's number, nor its age, nor that it listens tells which. What does is the word of a container engine
//! that runs as root: whose container was *made* with that host name. Else nobody is taken for the PDS, until the user
//! names one.

use std::collections::BTreeSet;

use super::{
    engine::Named,
    find::Candidate,
    listeners,
    owner::{Owner, words},
    proc_fs,
    survey::PdsProcess,
};
use crate::{net::Net, process_fact::FoundBy, text::Text};

/// A process that says which PDS it is, and was not taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The process.
    pub pid: u32,
    /// The host name that it has in its environment.
    pub hostname: Text,
    /// The process in words: number, user, program.
    pub words: String,
}

/// What was decided.
#[derive(Default)]
pub(super) struct Decided {
    /// Who is taken for a PDS, with what was recorded of it.
    pub(super) taken: Vec<(PdsProcess, Net)>,
    /// Who is not.
    pub(super) claims: Vec<Claim>,
    /// What is to be said of it: the reason, and what would settle it.
    pub(super) said: Vec<(String, String)>,
}

/// Decides between `examined`, of all `candidates`. `made` are the containers that a root's engine has.
pub(super) fn decide(examined: Vec<(PdsProcess, Net)>, candidates: &[Candidate], made: &[Named]) -> Decided {
    let mut decided = Decided::default();
    let mut hosts: BTreeSet<Text> = examined.iter().filter_map(|(process, _)| process.fact.hostname.clone()).collect();
    hosts.extend(candidates.iter().filter_map(|candidate| candidate.hostname.as_deref().map(Text::new)));
    let mut taken = examined;
    for host in hosts {
        let mut claimants: BTreeSet<u32> = candidates
            .iter()
            .filter(|candidate| candidate.hostname.as_deref() == Some(host.as_str()))
            .map(|candidate| candidate.pid)
            .collect();
        let is_it = |process: &PdsProcess| process.fact.hostname.as_ref() == Some(&host);
        claimants.extend(taken.iter().filter(|(process, _)| is_it(process)).map(|(process, _)| process.fact.pid));
        let owners: BTreeSet<Owner> = claimants.iter().map(|pid| Owner::of(*pid)).collect();
        // Containers that were made with that name, in which none of them is.
        let is_in = |named: &&Named| {
            taken.iter().any(|(process, _)| is_it(process) && process.vouched.as_ref() == Some(&named.id))
        };
        let elsewhere: Vec<&Named> = made.iter().filter(|named| named.hostname == host && !is_in(named)).collect();
        if owners.len() < 2 && elsewhere.is_empty() {
            continue;
        }
        let vouched: BTreeSet<Text> = taken
            .iter()
            .filter(|(process, _)| is_it(process))
            .filter_map(|(process, _)| process.vouched.clone())
            .collect();
        // Of several containers each may be meant: an old one and the one in its place.
        let winner = vouched.iter().next().filter(|_| vouched.len() == 1).cloned();
        let wins = |process: &PdsProcess| winner.is_some() && process.vouched == winner;
        let (kept, left): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|(process, _)| !is_it(process) || wins(process));
        taken = kept;
        drop(left);
        let winners: BTreeSet<u32> =
            taken.iter().filter(|(process, _)| is_it(process)).map(|(process, _)| process.fact.pid).collect();
        let losers: Vec<u32> = claimants.into_iter().filter(|pid| !winners.contains(pid)).collect();
        if losers.is_empty() {
            continue;
        }
        decided.said.push(said(&host, &losers, winner.as_deref(), &elsewhere));
        let claim = |pid: u32| Claim { pid, hostname: host.clone(), words: words(pid) };
        decided.claims.extend(losers.into_iter().take(NAMED).map(claim));
    }
    decided.taken = taken;
    decided
}

/// The most that are named.
const NAMED: usize = 6;

fn said(host: &Text, losers: &[u32], winner: Option<&str>, elsewhere: &[&Named]) -> (String, String) {
    let named: Vec<String> = losers.iter().take(NAMED).map(|pid| words(*pid)).collect();
    let named = named.join(", ");
    let pids: Vec<String> = losers.iter().take(NAMED).map(|pid| format!("--pid {pid}")).collect();
    let pids = pids.join(" or ");
    if let Some(id) = winner {
        let id: String = id.chars().take(12).collect();
        let why =
            format!("{named}: also called {host} by its own word, and not looked at; the PDS is container {id}'s");
        return (why, pids);
    }
    if elsewhere.is_empty() {
        let why =
            format!("{named}: each says that it is {host}, and nothing here tells which is; none is taken for it");
        return (why, format!("{pids}, or --container NAME: the one that is meant"));
    }
    let containers: Vec<String> =
        elsewhere.iter().take(NAMED).map(|named| format!("{} ({})", named.name, named.status)).collect();
    let why = format!(
        "{named}: called {host} by its own word, and not taken for it; the container engine made {} for that name",
        containers.join(", ")
    );
    (why, format!("{pids}, or --container NAME: the one that is meant"))
}

/// Candidates that tell no host name, examined or not, but those of an owner whose other process does.
pub(super) fn unnamed(candidates: &[Candidate], taken: &[PdsProcess]) -> Vec<(u32, String)> {
    let named = taken.iter().filter(|process| process.fact.hostname.is_some());
    let owners: BTreeSet<Owner> = named.map(|process| Owner::of(process.fact.pid)).collect();
    let without = candidates.iter().filter(|candidate| candidate.hostname.is_none()).map(|candidate| candidate.pid);
    let others = without.filter(|pid| !owners.contains(&Owner::of(*pid)));
    others.take(NAMED).map(|pid| (pid, words(pid))).collect()
}

/// Who holds the port that the process says is its own, if that is of another owner: then it is not what answers there.
pub(super) fn port_of_another(process: &PdsProcess) -> Option<String> {
    if process.fact.found != FoundBy::Scan {
        return None;
    }
    let (pid, port) = (process.fact.pid, process.fact.effective_port());
    let sockets = listeners::listening(&pid.to_string());
    let inodes: Vec<u64> = sockets.iter().filter(|socket| socket.port == port).map(|socket| socket.inode).collect();
    // A socket that it was handed is another's too.
    if proc_fs::sockets(pid).iter().any(|held| inodes.contains(held)) {
        return None;
    }
    let own = Owner::of(pid);
    let holders: BTreeSet<u32> = listeners::owners(inodes).into_values().collect();
    if holders.is_empty() || holders.iter().any(|holder| *holder == pid || Owner::of(*holder) == own) {
        return None;
    }
    holders.first().map(|holder| format!("port {port}, which it says is its own, is held by {}", words(*holder)))
}

#[cfg(test)]
mod tests;
