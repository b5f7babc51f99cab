//! A fact that was looked into, and what is read from its words: what all views of the facts share.

use pdsdoctor_probes::fact::{Fact, FactId};
use url::Url;

/// A fact with its body already looked into.
#[derive(Debug)]
pub struct Seen<'a, T> {
    /// The fact.
    pub fact: &'a Fact,
    /// Its body.
    pub body: &'a T,
}

impl<T> Clone for Seen<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Seen<'_, T> {}

impl<T> Seen<'_, T> {
    /// The fact's name.
    pub fn id(&self) -> FactId {
        self.fact.id.clone()
    }

    /// How long it took, in milliseconds.
    pub fn took(&self) -> u64 {
        self.fact.took_ms
    }
}

/// The host of a URL that a fact carries.
pub fn host_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    Some(url.host_str()?.trim_matches(['[', ']']).to_owned())
}

/// `f12` is 12: ids are put in order by number.
pub(super) fn number(id: &FactId) -> u64 {
    id.0.trim_start_matches('f').parse().unwrap_or(u64::MAX)
}
