//! This side: its clock, and its place in the network. What it gets wrong must not be the PDS's.

use std::net::IpAddr;

use pdsdoctor_probes::{
    fact::{FactId, FailureKind, Family, Role},
    par_fact::{ParArm, ParFact},
    tls_fact::{CertificateFact, Validity},
};

use super::{
    evidence::{Evidence, Seen, host_of},
    net_kinds::{AddressKind, address_kind},
    par_stage::{FetchFailure, Stage},
};

/// The `Date` header has a resolution of a second, and half a round trip is not known: less than
/// this is not a difference.
pub const CLOCK_NOTICEABLE_MS: i64 = 5_000;

/// Providers give a site a /56 or a /48 of IPv6 (RFC 6177): what shares a /56 is at one place.
const SITE_BITS: u32 = 56;

/// Other servers' clocks against this machine's.
#[derive(Debug)]
pub struct OtherClocks {
    /// What they show, in milliseconds after this machine's; 0 where one of them agrees with it.
    pub offset_ms: i64,
    /// One agrees with this machine's, or two hosts with each other.
    pub sure: bool,
    /// Facts.
    pub because: Vec<FactId>,
}

impl<'a> Evidence<'a> {
    /// What the clocks of hosts other than the target show. `None`: none was seen.
    pub fn other_clocks(&self) -> Option<OtherClocks> {
        let seen: Vec<(FactId, String, i64)> = self
            .all_http()
            .iter()
            .filter(|seen| matches!(seen.body.role, Role::Reference | Role::Client | Role::Directory))
            .filter_map(|seen| Some((seen.id(), host_of(&seen.body.url)?, seen.body.date_offset_ms?)))
            .collect();
        let near = |a: i64, b: i64| a.abs_diff(b) < CLOCK_NOTICEABLE_MS.unsigned_abs();
        let offset = middle(seen.iter().map(|(_, _, offset)| *offset))?;
        // A cache may serve a page with the date of its making: one witness for this machine's own
        // clock weighs more than any number of such pages.
        let agrees = seen.iter().any(|(_, _, offset)| near(*offset, 0));
        let two_agree = seen
            .iter()
            .any(|(_, host, a)| near(*a, offset) && seen.iter().any(|(_, other, b)| other != host && near(*a, *b)));
        Some(OtherClocks {
            offset_ms: if agrees { 0 } else { offset },
            sure: agrees || two_agree,
            because: seen.into_iter().map(|(id, ..)| id).collect(),
        })
    }

    /// How far this machine's clock is off by all that is known, in seconds; 0 if it is right.
    pub fn own_clock_error(&self) -> i64 {
        self.other_clocks()
            .map_or(0, |others| others.offset_ms)
            .checked_div(1_000)
            .filter(|seconds| seconds.unsigned_abs() >= CLOCK_NOTICEABLE_MS.unsigned_abs() / 1_000)
            .unwrap_or(0)
    }

    /// When a certificate was looked at, by the clock that all that is known says is right.
    pub fn judged_at(&self, certificate: &CertificateFact) -> i64 {
        certificate.judged_at.saturating_add(self.own_clock_error())
    }

    /// Where that stands against the certificate's dates.
    pub fn validity(&self, certificate: &CertificateFact) -> Validity {
        let now = self.judged_at(certificate);
        CertificateFact { judged_at: now, ..certificate.clone() }.validity()
    }

    /// The chain is trusted by someone here, or nothing is and this network is the suspect.
    pub fn trusts(&self, certificate: &CertificateFact) -> bool {
        certificate.is_trusted() || self.is_intercepted_alike(certificate)
    }

    /// A client that verifies certificates goes on.
    pub fn accepts(&self, certificate: &CertificateFact) -> bool {
        certificate.name_matches && self.trusts(certificate) && self.validity(certificate) == Validity::Valid
    }

    /// No public root knows this certificate, nor the reference's, and the same issuer made both:
    /// this network, not the PDS, is the suspect. Two servers with private CAs of their own are not.
    pub fn is_intercepted_alike(&self, certificate: &CertificateFact) -> bool {
        self.control_is_untrusted()
            && self.all_tls().iter().any(|seen| {
                seen.body.role == Role::Reference
                    && seen.body.certificate.as_ref().is_some_and(|other| other.issuer == certificate.issuer)
            })
    }

    /// A connection to `addr` failed for want of a route, and nothing else here was reached by that family: this
    /// machine has none. Otherwise the word is a router's on the way (RFC 4443, section 3.1, code 0).
    pub fn lacks_route(&self, addr: IpAddr, failure: Option<FailureKind>) -> bool {
        failure == Some(FailureKind::NetworkUnreachable) && self.family_works(Family::of(addr)).is_none()
    }

    /// Does the reference reach the target, made to fetch from it? `None`: it was not asked, or its answer says
    /// neither.
    pub fn second_look(&self) -> Option<(Seen<'a, ParFact>, bool)> {
        let (seen, stage) = self.par(Role::Reference, None, ParArm::TargetUrl)?;
        let reached = match &stage {
            // This one is not waited for until the reference gives up.
            Stage::NoRoute(FailureKind::Timeout) if self.takes_its_time() => return None,
            Stage::NoRoute(FailureKind::Timeout) => false,
            Stage::DocumentNotObtained(FetchFailure::Silence | FetchFailure::Refused | FetchFailure::Reset) => false,
            // A certificate was shown: packets pass.
            Stage::DocumentNotObtained(FetchFailure::Certificate) => true,
            stage => (stage.reached_host() == Some(true)).then_some(true)?,
        };
        Some((seen, reached))
    }

    /// The reference was made to fetch from the target and had no answer, at a time when it, or the target, was slow with
    /// everything: whether it would reach it is not known.
    pub fn second_look_withheld(&self) -> bool {
        let look = self.par(Role::Reference, None, ParArm::TargetUrl);
        matches!(look, Some((_, Stage::NoRoute(FailureKind::Timeout)))) && self.takes_its_time()
    }

    /// The reference, made to fetch from the target, was shown a certificate that it refuses: it met somebody, and that
    /// need not be the PDS.
    pub fn second_look_met_somebody(&self) -> bool {
        let stage = self.par(Role::Reference, None, ParArm::TargetUrl).map(|(_, stage)| stage);
        stage == Some(Stage::DocumentNotObtained(FetchFailure::Certificate))
    }

    /// This machine has a private IPv4 address: a router stands between it and the world, perhaps
    /// the same one that stands before the PDS.
    pub fn is_behind_nat(&self) -> bool {
        self.own_network(Family::V4)
            .and_then(|seen| seen.body.source)
            .is_some_and(|source| address_kind(source) != AddressKind::Public)
    }

    /// This machine shares an IPv6 network with an address of the target: what a router does to
    /// IPv4 connections that would have to turn round at it (NAT hairpin) is not what the world sees.
    pub fn is_at_the_same_site(&self) -> bool {
        let Some(IpAddr::V6(own)) = self.own_network(Family::V6).and_then(|seen| seen.body.source) else {
            return false;
        };
        let site = |addr: std::net::Ipv6Addr| addr.to_bits() >> (128 - SITE_BITS);
        address_kind(IpAddr::V6(own)) == AddressKind::Public
            && self.target_lines().iter().any(|line| matches!(line.addr, IpAddr::V6(addr) if site(addr) == site(own)))
    }
}

/// The median: one slow answer or one odd server does not move it.
pub fn middle(values: impl Iterator<Item = i64>) -> Option<i64> {
    let mut sorted: Vec<i64> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}
