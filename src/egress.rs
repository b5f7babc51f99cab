//! The hosts that a PDS is made to fetch from, to see how its way out is: where a login fails, the same question
//! about hosts of which the families and the distance are known tells what of its network is at fault.
//!
//! Any answer will do, a 404 too: what counts is how far the PDS got. The reference PDS fetches from port 443 only,
//! follows no redirect, refuses private addresses (`@atproto-labs/fetch-node`) and takes no address without a path
//! for a client's (`isOAuthClientIdDiscoverable` of `@atproto/oauth-types`).

use pdsdoctor_probes::par_fact::ParArm;
use strum::{Display, EnumIter, EnumString};

/// What a host is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Display, EnumIter, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum EgressFamily {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both, and near from everywhere.
    Near,
    /// Both, and at one place, far from most.
    Far,
}

impl EgressFamily {
    /// The arm of the experiment.
    pub fn arm(self) -> ParArm {
        match self {
            Self::Ipv4 => ParArm::Ipv4Only,
            Self::Ipv6 => ParArm::Ipv6Only,
            Self::Near => ParArm::Near,
            Self::Far => ParArm::Far,
        }
    }
}

/// What is asked for where a URL has no path: a PDS fetches no bare `/`.
pub const ANY_PATH: &str = "/robots.txt";

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressHost {
    /// What it is chosen for.
    pub family: EgressFamily,
    /// What is fetched there.
    pub url: String,
}

/// Those asked for where the user names none, in the order in which they matter: where many applications leave room
/// for few requests, the first ones are sent.
///
/// - `icanhazip.com` is run by Cloudflare at its anycast edge; these two names have one family each, which is what
///   they are for.
/// - `www.gstatic.com/generate_204` is what phones ask to see whether they are online: both families, near
///   everywhere, an empty answer, another operator than the two above.
/// - The mirror of Australia's research network: both families, and one place on earth. It is near for Australians
///   only, for whom nearly every application is the far one.
pub const EGRESS_HOSTS: &[(EgressFamily, &str)] = &[
    (EgressFamily::Ipv4, "https://ipv4.icanhazip.com/robots.txt"),
    (EgressFamily::Ipv6, "https://ipv6.icanhazip.com/robots.txt"),
    (EgressFamily::Near, "https://www.gstatic.com/generate_204"),
    (EgressFamily::Far, "https://mirror.aarnet.edu.au/robots.txt"),
];

/// What is asked for in a run: the user's hosts, of the command line before those of the environment
/// ([`crate::config::egress_hosts`]), and where third parties may be contacted the others of the table.
pub fn hosts(given: &[EgressHost], configured: &[EgressHost], no_third_party: bool) -> Vec<EgressHost> {
    EGRESS_HOSTS
        .iter()
        .filter_map(|(family, url)| {
            let named = given.iter().rev().chain(configured.iter().rev()).find(|host| host.family == *family).cloned();
            let usual = || (!no_third_party).then(|| EgressHost { family: *family, url: (*url).to_owned() });
            named.or_else(usual)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn every_family_has_one_host_that_a_pds_may_fetch_from() {
        for family in EgressFamily::iter() {
            assert_eq!(EGRESS_HOSTS.iter().filter(|(known, _)| *known == family).count(), 1);
        }
        for (_, url) in EGRESS_HOSTS {
            let parsed = url::Url::parse(url).expect("a URL");
            assert!(parsed.scheme() == "https" && parsed.port().is_none() && parsed.path() != "/", "{url}");
        }
    }

    #[test]
    fn what_the_user_names_replaces_and_the_rest_stays_unless_third_parties_are_not_wanted() {
        let mine = |family, url: &str| EgressHost { family, url: url.to_owned() };
        let given = [mine(EgressFamily::Far, "https://a.example/"), mine(EgressFamily::Far, "https://b.example/")];
        let all = hosts(&given, &[], false);
        assert_eq!(all.len(), EGRESS_HOSTS.len());
        assert!(all.contains(&given[1]), "the last one counts");
        assert_eq!(hosts(&given, &[], true), [given[1].clone()]);
        assert!(hosts(&[], &[], true).is_empty());
        // What is configured gives way to the command line, and to nothing else.
        let other = mine(EgressFamily::Near, "https://near.example/");
        let configured = [mine(EgressFamily::Far, "https://configured.example/"), other.clone()];
        let named = hosts(&given[1..2], &configured, true);
        assert!(named.len() == 2 && named.contains(&given[1]) && named.contains(&other), "{named:?}");
    }

    #[test]
    fn the_page_names_them() {
        let page = include_str!("../docs/probes.md");
        for (family, url) in EGRESS_HOSTS {
            assert!(page.contains(&format!("| `{family}` | `{url}` |")), "docs/probes.md lacks {family} {url}");
        }
    }
}
