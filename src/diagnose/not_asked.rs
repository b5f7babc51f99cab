//! What was left alone because only a document names it: nothing is known of it, and nothing may be concluded.

use pdsdoctor_probes::{
    contact_fact::{NotAsked, NotAskedFact},
    fact::{FactBody, Role},
    record::Run,
};

/// Everything that was left alone.
pub fn all(run: &Run) -> impl Iterator<Item = &NotAskedFact> {
    run.facts.iter().filter_map(|fact| match &fact.body {
        FactBody::NotAsked(fact) => Some(fact),
        _ => None,
    })
}

/// What was left alone of this role.
pub fn of(run: &Run, role: Role) -> Option<&NotAskedFact> {
    all(run).find(|fact| fact.role == role)
}

/// The host was left alone, wholly or at an address that might have answered.
pub fn is_host(run: &Run, host: &str) -> bool {
    all(run).any(|fact| fact.host.as_str() == host)
}

/// What was left alone on the way to the target's PDS, or is it itself: host, and why.
pub fn on_the_way(run: &Run) -> Option<(&str, String)> {
    let left = of(run, Role::Target).or_else(|| of(run, Role::Directory))?;
    Some((left.host.as_str(), why(left)))
}

/// In words: why.
fn why(fact: &NotAskedFact) -> String {
    match fact.reason {
        NotAsked::NoName => "it is no host name".to_owned(),
        NotAsked::Port => format!("port {} is none that is asked for a document's sake", fact.port),
        NotAsked::NotPublic => match fact.addr {
            Some(addr) => format!("{addr} is no public address"),
            None => "it has no public address".to_owned(),
        },
        NotAsked::ThirdParty => "--no-third-party leaves it out".to_owned(),
        NotAsked::TooMany | NotAsked::TooManyAddresses => "too many hosts are named".to_owned(),
    }
}
