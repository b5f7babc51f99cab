//! Hosted handles: a label nobody has, which a wildcard must answer for, and the handles of real
//! accounts, which must verify.

use std::{net::IpAddr, sync::Arc};

use pdsdoctor_probes::{
    fact::{ProbeName, Role},
    http_fact::{Content, HttpPurpose},
    identifier, limits,
};

use tokio::task::JoinSet;

use super::{
    Context,
    ahead::{Names, Sample, repos},
    identity::{handle_txt, misplaced_txt, most_likely, well_known, well_known_at},
};

/// How many accounts are looked at: enough to tell one broken handle from all of them.
const ACCOUNTS: usize = 3;

/// Looks at the handle domains of a PDS and at the handles of some of its accounts.
pub(super) async fn examine(context: &Arc<Context>, pds: (&str, u16, IpAddr), domains: &[String], mut ahead: Names) {
    if !context.measures(ProbeName::Handles) {
        return;
    }
    let domains: Vec<String> = domains
        .iter()
        .map(|domain| domain.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase())
        .filter(|domain| identifier::is_handle(&format!("x.{domain}")))
        .take(limits::HANDLE_DOMAINS)
        .collect();
    let samples = domains.iter().map(|domain| sample(context, domain, pds.2, ahead.sample(domain)));
    let samples = futures_util::future::join_all(samples.collect::<Vec<_>>());
    tokio::join!(samples, accounts(context, pds, ahead));
}

/// A random label under one handle domain.
async fn sample(context: &Arc<Context>, domain: &str, addr: IpAddr, begun: Option<Sample>) {
    let name = format!("{}.{domain}", context.label);
    let seen = match begun {
        Some(begun) => begun.finish(context).await,
        None => None,
    };
    let seen = match seen {
        Some(seen) => seen,
        None => well_known(context, ProbeName::Handles, Role::HandleSample, &name).await,
    };
    if !seen.any_address {
        // The contrast: the same name at the PDS's own address, past DNS.
        well_known_at(context, ProbeName::Handles, Role::HandleSample, &name, addr).await;
    }
}

async fn accounts(context: &Arc<Context>, (host, port, addr): (&str, u16, IpAddr), mut ahead: Names) {
    let probe = ProbeName::Handles;
    let listed = match ahead.repos().await {
        Some(listed) => listed,
        None => repos(context, host, port, addr).await,
    };
    let Some((mut line, listed)) = listed else { return };
    let Some(Content::RepoList { dids }) = listed.content else { return };
    let mut looked_at = JoinSet::new();
    for did in dids.iter().filter(|did| identifier::is_did(did)).take(ACCOUNTS) {
        let path = format!("/xrpc/com.atproto.repo.describeRepo?repo={did}");
        let described = line.get(&context.net, probe, HttpPurpose::DescribeRepo, &path).await;
        let Some(Content::Repo { handle, .. }) = described.content else { continue };
        let handle = handle.to_ascii_lowercase();
        if identifier::is_handle(&handle) && handle != "handle.invalid" {
            let context = Arc::clone(context);
            looked_at.spawn(async move { verify(&context, probe, Role::HostedHandle, &handle, Some(addr)).await });
        }
    }
    while looked_at.join_next().await.is_some() {}
}

/// Both ways in which a handle can be verified, side by side; where neither gives a DID, the places
/// where the record lands by mistake, and the handle's own host at the PDS's address.
pub(super) async fn verify(
    context: &Arc<Context>,
    probe: ProbeName,
    role: Role,
    handle: &str,
    pds: Option<IpAddr>,
) -> Option<String> {
    let (txt, seen) = tokio::join!(handle_txt(context, probe, role, handle), well_known(context, probe, role, handle));
    if let Some(did) = txt.did.or(seen.did) {
        return Some(did);
    }
    // A malformed or doubled record still says whose handle it was meant to be.
    if role == Role::Handle && !txt.candidates.is_empty() {
        return most_likely(context, handle, &txt.candidates).await;
    }
    let past_dns = async {
        if let Some(addr) = pds.filter(|_| !seen.any_address) {
            well_known_at(context, probe, role, handle, addr).await;
        }
    };
    let misplaced = async { if txt.definite { misplaced_txt(context, probe, role, handle).await } else { None } };
    let (misplaced, ()) = tokio::join!(misplaced, past_dns);
    misplaced
}
