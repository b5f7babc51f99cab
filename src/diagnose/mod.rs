//! From facts to a diagnosis. Pure: no input or output, no clock, the same facts give the same bytes.

pub mod arms;
mod build;
pub mod code;
pub mod differs;
pub mod evidence;
mod healthy;
pub mod hidden;
pub mod inside;
pub mod invariants;
pub mod judge;
pub mod net_kinds;
pub mod node_model;
pub mod not_asked;
pub mod outermost;
pub mod pace;
pub mod par_stage;
pub mod rank;
mod ruled_out;
pub mod rules;
pub mod situation;
pub mod step;
pub mod unheard;
pub mod vantage;
pub mod words;

use pdsdoctor_probes::fact::{FactId, Family, NotMeasured, ProbeName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

pub use code::Code;
pub use differs::Difference;
pub use judge::diagnose;
pub use ruled_out::{Bounds, RuledOut};
use step::{Command, Prose, Settle, Step};

/// What the facts of a run mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// The worst impact, or that nothing can be said.
    pub verdict: Verdict,
    /// One plain sentence: the first line of every report.
    pub headline: String,
    /// In order: the first is the answer.
    pub causes: Vec<Cause>,
    /// Theories a person would have chased, each with what killed it.
    pub ruled_out: Vec<RuledOut>,
    /// Answers that are not the reference's, and that nothing explains: seen, and not judged.
    pub differs: Vec<Difference>,
    /// What could not be measured, here or by the probes.
    pub not_measured: Vec<NotMeasured>,
    /// What was looked at and is well.
    pub healthy: Vec<Healthy>,
}

/// The verdict of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    /// Nothing found.
    Healthy,
    /// Works now, will bite.
    Risk,
    /// Works slowly, partly or for some.
    Degraded,
    /// Something a user does fails now.
    Broken,
    /// This side cannot measure: nothing can be said of the target.
    Inconclusive,
}

/// What a cause does to users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Impact {
    /// Works now, will bite.
    Risk,
    /// Works, but slowly, partly or for some.
    Degraded,
    /// Something a user does fails now.
    Broken,
}

/// How sure a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Confidence {
    /// One of several readings of the facts.
    Possible,
    /// The best reading; no contrast proves it.
    Likely,
    /// A contrast proves it.
    Confirmed,
}

/// A judged root cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// Its stable name.
    pub code: Code,
    /// What it does to users.
    pub impact: Impact,
    /// How sure it is.
    pub confidence: Confidence,
    /// What it is about; empty: the PDS as a whole.
    pub scope: Scope,
    /// One plain sentence with the particulars.
    pub summary: String,
    /// What was seen, a line each.
    pub seen: Vec<String>,
    /// Facts that speak for it.
    pub because: Vec<FactId>,
    /// Facts that speak against it.
    pub against: Vec<FactId>,
    /// The experiments: the same thing measured with one thing changed.
    pub contrast: Vec<Contrast>,
    /// The measurement that would settle it, where it is not confirmed.
    pub settle: Option<Settle>,
    /// Other causes in the list that made this one possible.
    pub contributing: Vec<Code>,
    /// What this cause explains.
    pub symptoms: Vec<Symptom>,
    /// What to do, best first.
    pub remedies: Vec<Remedy>,
}

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

/// The same thing measured twice with one thing changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contrast {
    /// What was measured, and what was changed.
    pub what: String,
    /// The result on the suspect's side, with its name.
    pub this: String,
    /// The result on the other side, with its name.
    pub that: String,
}

/// A finding that a cause explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Symptom {
    /// Its stable name.
    pub code: Code,
    /// One plain sentence.
    pub title: String,
    /// Facts that show it.
    pub because: Vec<FactId>,
}

/// What to do about a cause. Printed, never applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// What it does, in a few words.
    pub title: Prose,
    /// Commands to run, lines to write, things to do.
    pub steps: Vec<Step>,
    /// May it be done in passing?
    pub risk: Risk,
    /// How to go back.
    pub undo: Vec<Step>,
    /// The command that shows whether it helped.
    pub verify: Command,
    /// The failing thing was run again with this applied to that one attempt, and passed.
    pub proven: bool,
}

/// The risk of a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Risk {
    /// May be done in passing.
    Safe,
    /// Interrupts the service or changes what others depend on.
    Disruptive,
}

/// Something that was looked at and is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Healthy {
    /// The probe.
    pub probe: ProbeName,
    /// What is well.
    pub summary: String,
}

/// The least impact that makes the exit status 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, Display)]
#[strum(serialize_all = "snake_case")]
pub enum FailOn {
    /// Only what fails now.
    Broken,
    /// What works badly too.
    #[default]
    Degraded,
    /// What will bite too.
    Risk,
    /// Nothing.
    Never,
}
