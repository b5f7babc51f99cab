//! Whom to blame: the outermost place at which the same thing fails. What a container cannot do and its machine cannot do
//! either is not the container's fault, and no change to the container's network mends it.

use pdsdoctor_probes::fact::{FactId, Vantage};

use super::{Confidence, evidence::Seen};

/// How the same attempt went from the machine around the place where it failed.
#[derive(Debug)]
pub enum Blame<'a, T> {
    /// It works from this machine: what fails lies between the machine and the place.
    Place(Seen<'a, T>),
    /// It fails from this machine as well, or the place shares this machine's network: the fault is the machine's, or lies
    /// beyond it. The attempts from the machine, where they are others.
    Machine(Vec<FactId>),
    /// Nobody tried it from this machine: it cannot be told whose fault it is.
    Untried,
}

/// Sorts out whose fault a failure at `place` is, by `attempts` at the very same thing. Those from this machine count.
pub fn outermost<'a, T>(
    place: &Vantage,
    attempts: impl IntoIterator<Item = Seen<'a, T>>,
    works: impl Fn(&T) -> bool,
) -> Blame<'a, T> {
    if *place == Vantage::Here {
        return Blame::Machine(Vec::new());
    }
    let here: Vec<_> = attempts.into_iter().filter(|seen| seen.fact.vantage == Vantage::Here).collect();
    match here.iter().find(|seen| works(seen.body)) {
        Some(seen) => Blame::Place(*seen),
        None if here.is_empty() => Blame::Untried,
        None => Blame::Machine(here.iter().map(Seen::id).collect()),
    }
}

impl<'a, T> Blame<'a, T> {
    /// Where the fault is: the place itself unless the machine fails alike.
    pub fn at(&self, place: &Vantage) -> Vantage {
        if self.is_machine() { Vantage::Here } else { place.clone() }
    }

    /// The machine fails alike.
    pub fn is_machine(&self) -> bool {
        matches!(self, Self::Machine(_))
    }

    /// The attempt that works from this machine.
    pub fn works_here(&self) -> Option<Seen<'a, T>> {
        match self {
            Self::Place(seen) => Some(*seen),
            _ => None,
        }
    }

    /// The attempts from the machine that failed alike.
    pub fn alike(&self) -> &[FactId] {
        match self {
            Self::Machine(ids) => ids,
            _ => &[],
        }
    }

    /// How sure a cause may be that names a culprit: without the attempt from the machine nobody knows which it is.
    pub fn at_most(&self) -> Confidence {
        if matches!(self, Self::Untried) { Confidence::Likely } else { Confidence::Confirmed }
    }
}
