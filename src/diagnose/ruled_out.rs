//! A theory that the facts killed: which one, at which host, and seen from where.

use pdsdoctor_probes::fact::{FactId, Family, Vantage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Code, Scope, words::place_words};

/// A theory that the facts killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuledOut {
    /// Its stable name.
    pub code: Code,
    /// Where it is dead, and no further.
    pub scope: Bounds,
    /// What killed it.
    pub why: String,
    /// Facts.
    pub because: Vec<FactId>,
}

/// How far a theory is dead: at which host, and seen from where. Neither can be left out: what is not so at one host, or
/// from one place, may be so at another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Bounds {
    host: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    family: Option<Family>,
    vantage: String,
}

/// The PDS itself went there, made to by a request from outside.
const BY_THE_PDS: &str = "pds";
/// The same of the reference.
const BY_THE_REFERENCE: &str = "reference";

impl Bounds {
    /// Measured at a host from a place of the tool's own.
    pub fn seen(host: &str, from: &Vantage) -> Self {
        Self { host: host.to_owned(), family: None, vantage: from.clone().into() }
    }

    /// Measured at a host from the machine that runs the tool.
    pub fn here(host: &str) -> Self {
        Self::seen(host, &Vantage::Here)
    }

    /// Shown by what the PDS itself did towards a host.
    pub fn by_pds(host: &str) -> Self {
        Self { host: host.to_owned(), family: None, vantage: BY_THE_PDS.to_owned() }
    }

    /// Shown by what the reference did towards a host: true of everybody but the PDS.
    pub fn by_reference(host: &str) -> Self {
        Self { host: host.to_owned(), family: None, vantage: BY_THE_REFERENCE.to_owned() }
    }

    /// Of one address family only.
    #[must_use]
    pub fn family(mut self, family: impl Into<Option<Family>>) -> Self {
        self.family = family.into();
        self
    }

    /// At which host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Of which family, if of one only.
    pub fn of_family(&self) -> Option<Family> {
        self.family
    }

    /// Is this within what was measured? Every family, unless one is named.
    pub fn has_family(&self, family: Family) -> bool {
        self.family.is_none_or(|own| own == family)
    }

    /// The place of the tool it was measured from; `None`: the PDS or the reference went there.
    pub fn place(&self) -> Option<Vantage> {
        self.vantage.parse().ok()
    }

    /// The PDS itself went there.
    pub fn is_by_pds(&self) -> bool {
        self.vantage == BY_THE_PDS
    }

    /// The same dimensions as a cause has them.
    pub fn as_scope(&self) -> Scope {
        Scope { host: Some(self.host.clone()), family: self.family, vantage: Some(self.vantage.clone()) }
    }

    /// In words: `tangled.org, IPv6, from this machine`.
    pub fn words(&self) -> String {
        let from = match (self.vantage.as_str(), self.place()) {
            (BY_THE_PDS, _) => "by the PDS itself".to_owned(),
            (BY_THE_REFERENCE, _) => "by the reference".to_owned(),
            (_, Some(place)) => format!("from {}", place_words(&place)),
            (other, None) => format!("from {other}"),
        };
        match self.family {
            Some(family) => format!("{}, {family}, {from}", self.host),
            None => format!("{}, {from}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_say_which_host_and_from_where() {
        assert_eq!(Bounds::here("a.example").words(), "a.example, from this machine");
        assert_eq!(Bounds::here("a.example").family(Family::V6).words(), "a.example, IPv6, from this machine");
        assert_eq!(Bounds::by_pds("a.example").words(), "a.example, by the PDS itself");
        assert!(Bounds::by_pds("a.example").place().is_none());
        assert_eq!(Bounds::here("a.example").place(), Some(Vantage::Here));
    }
}
