//! A whole run: what was asked, what was measured. This is what `--save` writes and `replay` reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::Display;

use crate::{
    fact::{Fact, FactId, NotMeasured, ProbeName},
    text::Text,
};

/// The name of the saved form.
pub const RUN_SCHEMA: &str = "pdsdoctor/run/v1";

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// [`RUN_SCHEMA`].
    pub schema: String,
    /// The version of the program that measured.
    pub version: Text,
    /// When it began, RFC 3339.
    pub started: Text,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// How it ended.
    pub ended: Ended,
    /// What was examined.
    pub target: Target,
    /// The known-good PDS that was used.
    pub reference: Option<Reference>,
    /// What the user asked for that changes how facts are judged.
    pub settings: Settings,
    /// In job order.
    pub facts: Vec<Fact>,
    /// In the order of probes.
    pub not_measured: Vec<NotMeasured>,
    /// What a newer program measured and this one has no word for, a line each. Only of a run that was read.
    #[serde(skip)]
    pub not_understood: Vec<Text>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Everything was measured.
    Complete,
    /// The time limit of the whole run came first.
    TimeLimit,
    /// The user stopped it.
    Interrupted,
}

/// What the user named, and what it turned out to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// As typed.
    pub input: Text,
    /// What it turned out to be.
    pub kind: TargetKind,
    /// Host of the PDS, once known.
    pub host: Option<Text>,
    /// Port of the PDS: 443 unless the user or the DID document said otherwise.
    pub port: u16,
    /// Origin of the PDS, once known.
    pub origin: Option<Text>,
    /// The handle, if one was named.
    pub handle: Option<Text>,
    /// The DID, if one was named or found for the handle.
    pub did: Option<Text>,
}

/// What the target turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum TargetKind {
    /// A host name or URL.
    Host,
    /// A handle.
    Handle,
    /// A DID.
    Did,
    /// No PDS was named: this machine is examined as the host of one.
    Machine,
}

/// The known-good PDS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reference {
    /// Its host.
    pub host: Text,
    /// Its origin.
    pub origin: Text,
    /// The user named it.
    pub given: bool,
    /// It is an entryway (the login server of many PDSes), not a PDS that is its own
    /// authorization server: it runs another program, so it weighs less.
    pub entryway: bool,
}

/// Settings that matter to judging.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// `-4`: only IPv4 was used.
    pub only_v4: bool,
    /// `-6`: only IPv6 was used.
    pub only_v6: bool,
    /// `--no-reference`.
    pub no_reference: bool,
    /// `--no-third-party`.
    pub no_third_party: bool,
    /// Hosts whose addresses the user gave (`--resolve`).
    pub resolved_by_user: Vec<Text>,
    /// Other options that were given, by name: their values are no part of a run.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub also_given: Vec<Text>,
    /// Client documents examined.
    pub client_ids: Vec<Text>,
    /// Probes that `--only` or `--skip` left out, or that need one that was.
    #[serde(default)]
    pub left_out: Vec<ProbeName>,
    /// The random label used for hosted handles.
    pub sample_label: Text,
    /// Why this machine was examined as the PDS's own, in a few words; `None`: it was not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pds_host: Option<Text>,
}

impl Run {
    /// Sorts facts into job order, numbers them, and sorts what was not measured.
    pub fn put_in_order(&mut self) {
        self.facts.sort_by_cached_key(Fact::job_key);
        for (index, fact) in self.facts.iter_mut().enumerate() {
            fact.id = FactId(format!("f{}", index + 1));
        }
        self.not_measured.sort();
        self.not_measured.dedup();
    }
}
