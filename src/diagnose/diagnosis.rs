//! What a diagnosis is made of: the types that all of judging shares, and nothing that judges.

use std::fmt;

use pdsdoctor_probes::fact::{FactId, NotMeasured, ProbeName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

use super::{
    code::Code,
    grid::Grid,
    ruled_out::RuledOut,
    scope::Scope,
    step::{Command, Prose, Settle, Step},
};

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
    /// How far each address got.
    pub grid: Grid,
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

/// The same thing measured twice with one thing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contrast {
    /// What was measured, and what was changed.
    pub what: String,
    /// The suspect's side.
    pub this: Side,
    /// The other side.
    pub that: Side,
}

/// One side of a contrast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Whose, or in which way; none where the result says it.
    pub name: Option<String>,
    /// What came of it.
    pub result: String,
}

impl Side {
    /// A side with its name.
    pub fn named(name: impl Into<String>, result: impl Into<String>) -> Self {
        Self { name: Some(name.into()), result: result.into() }
    }

    /// Does either part contain this?
    pub fn contains(&self, text: &str) -> bool {
        self.to_string().contains(text)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}: {}", self.result),
            None => f.write_str(&self.result),
        }
    }
}

/// As rules write it: `name: result`, or a result alone.
impl From<String> for Side {
    fn from(text: String) -> Self {
        match text.split_once(": ") {
            Some((name, result)) if !name.is_empty() && !result.is_empty() => Self::named(name, result),
            _ => Self { name: None, result: text },
        }
    }
}

impl From<&str> for Side {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
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
    /// How it stands to those before it.
    pub link: Link,
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

/// How a further remedy stands to those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Link {
    /// Instead of them.
    #[default]
    Or,
    /// After them.
    Then,
    /// Until they are done.
    Meanwhile,
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

/// Of one request, the answer of the target and that of the reference, which differ.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The request, and what of its answer differs.
    pub what: String,
    /// The target's side.
    pub this: String,
    /// The reference's side.
    pub that: String,
    /// Facts.
    pub because: Vec<FactId>,
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
