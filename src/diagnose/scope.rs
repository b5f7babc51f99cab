//! What a cause is about: which host, which family, seen from where.

use pdsdoctor_probes::fact::Family;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a cause is about. A dimension left out means all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Scope {
    /// A host (an application's, a handle's).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// An address family.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub family: Option<Family>,
    /// Where it was seen from, where that matters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vantage: Option<String>,
}

impl Scope {
    /// The same, or the same seen once from outside and once at a place inside.
    pub fn is_also(&self, other: &Self) -> bool {
        let placeless = |scope: &Self| Self { vantage: None, ..scope.clone() };
        let (a, b) = (placeless(self), placeless(other));
        let twice_seen = self.vantage.is_some() != other.vantage.is_some();
        self == other || twice_seen && (a.covers(&b) || b.covers(&a))
    }

    /// Everything in `other` lies within this scope.
    pub fn covers(&self, other: &Self) -> bool {
        fn dimension<T: PartialEq>(mine: &Option<T>, theirs: &Option<T>) -> bool {
            mine.is_none() || mine == theirs
        }
        // `*.pds.example` is every name directly under it.
        let under = |mine: &str, theirs: &str| {
            mine.strip_prefix("*.")
                .is_some_and(|domain| theirs.split_once('.').is_some_and(|(_, parent)| parent == domain))
        };
        let host = match (self.host.as_deref(), other.host.as_deref()) {
            (Some(mine), Some(theirs)) => mine == theirs || under(mine, theirs),
            (mine, _) => mine.is_none(),
        };
        // What was seen from outside is said of no place inside.
        let vantage = other.vantage.is_none() || dimension(&self.vantage, &other.vantage);
        host && dimension(&self.family, &other.family) && vantage
    }
}
