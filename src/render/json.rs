//! The JSON report, version 1. Its own structs: what programs read does not change when ours do.
//! Fields may be added, never renamed or retyped; the schema is `docs/schema/report-v1.json`.

use pdsdoctor_probes::{
    fact::{Fact, FactId, NotMeasured, ProbeName},
    record::{Ended, Run},
    text::Text,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::diagnose::{
    Bounds, Cause, Code, Confidence, Contrast, Diagnosis, Difference, Healthy, Impact, Link, Remedy, Risk, RuledOut,
    Scope, Symptom, Verdict,
    step::{self, flat},
};

/// The name of the form.
pub const REPORT_SCHEMA: &str = "pdsdoctor/report/v1";

/// A report.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "pdsdoctor report, version 1")]
pub struct Report<'a> {
    /// Always `pdsdoctor/report/v1`.
    schema: &'static str,
    /// The version of pdsdoctor that judged.
    version: &'static str,
    /// What was examined.
    target: TargetV1<'a>,
    /// The known-good PDS it was compared with.
    reference: Option<ReferenceV1<'a>>,
    /// When the measurement began, RFC 3339.
    started: &'a Text,
    /// How long it took.
    elapsed_ms: u64,
    /// How it ended.
    ended: Ended,
    /// The worst impact, or that nothing can be said.
    verdict: Verdict,
    /// One plain sentence.
    headline: &'a str,
    /// The first is the answer.
    causes: Vec<CauseV1<'a>>,
    /// Theories the facts killed.
    ruled_out: Vec<RuledOutV1<'a>>,
    /// Answers that are not the reference's to the same request, and that nothing explains.
    differs: Vec<DifferenceV1<'a>>,
    /// What could not be measured; never to be read as fine.
    not_measured: Vec<NotMeasuredV1<'a>>,
    /// What a newer pdsdoctor measured and this one has no word for; never to be read as fine.
    #[serde(skip_serializing_if = "<[Text]>::is_empty", default)]
    not_understood: &'a [Text],
    /// What was looked at and is well.
    healthy: Vec<HealthyV1<'a>>,
    /// The measurements, in job order.
    facts: &'a [Fact],
}

/// What was examined.
#[derive(Serialize, JsonSchema)]
struct TargetV1<'a> {
    /// As typed.
    input: &'a Text,
    /// Origin of the PDS, once known.
    origin: Option<&'a Text>,
    /// The DID, where one was named or found.
    did: Option<&'a Text>,
}

/// The known-good PDS.
#[derive(Serialize, JsonSchema)]
struct ReferenceV1<'a> {
    /// Its origin.
    origin: &'a Text,
}

/// A judged root cause.
#[derive(Serialize, JsonSchema)]
struct CauseV1<'a> {
    /// Stable name.
    code: Code,
    /// A few words.
    title: &'static str,
    /// What it does to users.
    impact: Impact,
    /// How sure it is.
    confidence: Confidence,
    /// What it is about; a dimension left out means all of it.
    scope: &'a Scope,
    /// One sentence with the particulars.
    summary: &'a str,
    /// What was seen, a line each.
    seen: &'a [String],
    /// Facts that speak for it.
    because: &'a [FactId],
    /// Facts that speak against it.
    against: &'a [FactId],
    /// The experiments.
    contrast: Vec<ContrastV1<'a>>,
    /// The measurement that would settle it, where it is not confirmed.
    settle: Option<String>,
    /// Other entries of `causes` that made this one possible.
    contributing: &'a [Code],
    /// What it explains.
    symptoms: Vec<SymptomV1<'a>>,
    /// What to do, best first.
    remedies: Vec<RemedyV1<'a>>,
}

/// The same thing measured twice with one thing changed.
#[derive(Serialize, JsonSchema)]
struct ContrastV1<'a> {
    /// What was measured, and what was changed.
    what: &'a str,
    /// The suspect's side.
    this: String,
    /// The other side.
    that: String,
}

/// A finding that a cause explains.
#[derive(Serialize, JsonSchema)]
struct SymptomV1<'a> {
    /// Stable name.
    code: Code,
    /// One sentence.
    title: &'a str,
    /// Facts that show it.
    because: &'a [FactId],
}

/// What to do.
#[derive(Serialize, JsonSchema)]
struct RemedyV1<'a> {
    /// What it does.
    title: &'a str,
    /// Lines to paste, or instructions.
    steps: Vec<String>,
    /// May it be done in passing?
    risk: Risk,
    /// How to go back.
    undo: Vec<String>,
    /// The command that shows whether it helped.
    verify: String,
    /// It was tried on one attempt, and that passed.
    proven: bool,
    /// How it stands to those before it: instead of them, after them, or until they are done.
    link: Link,
}

/// A theory the facts killed.
#[derive(Serialize, JsonSchema)]
struct RuledOutV1<'a> {
    /// Stable name.
    code: Code,
    /// At which host, and seen from where: `here`, `container:NAME`, `process:PID`, or by what the `pds` or the
    /// `reference` itself did. It says nothing of any other.
    scope: &'a Bounds,
    /// What killed it.
    why: &'a str,
    /// Facts.
    because: &'a [FactId],
}

/// An answer that differs from the reference's, and is not judged.
#[derive(Serialize, JsonSchema)]
struct DifferenceV1<'a> {
    /// The request, and what of its answer differs.
    what: &'a str,
    /// The target's side.
    this: &'a str,
    /// The reference's side.
    that: &'a str,
    /// Facts.
    because: &'a [FactId],
}

/// Something that could not be measured.
#[derive(Serialize, JsonSchema)]
struct NotMeasuredV1<'a> {
    /// The probe.
    probe: ProbeName,
    /// Why not.
    why: &'a Text,
    /// What it would take.
    needs: String,
}

/// Something that is well.
#[derive(Serialize, JsonSchema)]
struct HealthyV1<'a> {
    /// The probe.
    probe: ProbeName,
    /// What is well.
    summary: &'a str,
}

impl<'a> Report<'a> {
    fn new(run: &'a Run, diagnosis: &'a Diagnosis) -> Self {
        Self {
            schema: REPORT_SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            target: TargetV1 {
                input: &run.target.input,
                origin: run.target.origin.as_ref(),
                did: run.target.did.as_ref(),
            },
            reference: run.reference.as_ref().map(|reference| ReferenceV1 { origin: &reference.origin }),
            started: &run.started,
            elapsed_ms: run.elapsed_ms,
            ended: run.ended,
            verdict: diagnosis.verdict,
            headline: &diagnosis.headline,
            causes: diagnosis.causes.iter().map(cause).collect(),
            ruled_out: diagnosis.ruled_out.iter().map(ruled_out).collect(),
            differs: diagnosis.differs.iter().map(difference).collect(),
            not_measured: diagnosis.not_measured.iter().map(|missing| not_measured(run, missing)).collect(),
            not_understood: &run.not_understood,
            healthy: diagnosis.healthy.iter().map(healthy).collect(),
            facts: &run.facts,
        }
    }
}

fn cause(cause: &Cause) -> CauseV1<'_> {
    CauseV1 {
        code: cause.code,
        title: cause.code.title(),
        impact: cause.impact,
        confidence: cause.confidence,
        scope: &cause.scope,
        summary: &cause.summary,
        seen: &cause.seen,
        because: &cause.because,
        against: &cause.against,
        contrast: cause.contrast.iter().map(contrast).collect(),
        settle: cause.settle.as_ref().map(ToString::to_string),
        contributing: &cause.contributing,
        symptoms: cause.symptoms.iter().map(symptom).collect(),
        remedies: cause.remedies.iter().map(remedy).collect(),
    }
}

fn contrast(Contrast { what, this, that }: &Contrast) -> ContrastV1<'_> {
    ContrastV1 { what, this: this.to_string(), that: that.to_string() }
}

fn symptom(Symptom { code, title, because }: &Symptom) -> SymptomV1<'_> {
    SymptomV1 { code: *code, title, because }
}

fn remedy(Remedy { link, title, steps, risk, undo, verify, proven }: &Remedy) -> RemedyV1<'_> {
    RemedyV1 {
        link: *link,
        title,
        steps: flat(steps),
        risk: *risk,
        undo: flat(undo),
        verify: verify.to_string(),
        proven: *proven,
    }
}

fn ruled_out(RuledOut { code, scope, why, because }: &RuledOut) -> RuledOutV1<'_> {
    RuledOutV1 { code: *code, scope, why, because }
}

fn difference(Difference { what, this, that, because }: &Difference) -> DifferenceV1<'_> {
    DifferenceV1 { what, this, that, because }
}

fn not_measured<'a>(run: &Run, missing: &'a NotMeasured) -> NotMeasuredV1<'a> {
    NotMeasuredV1 { probe: missing.probe, why: &missing.why, needs: step::needs(run, missing).to_string() }
}

fn healthy(Healthy { probe, summary }: &Healthy) -> HealthyV1<'_> {
    HealthyV1 { probe: *probe, summary }
}

/// The report as pretty JSON with a final newline.
pub fn report(run: &Run, diagnosis: &Diagnosis) -> String {
    pretty(&Report::new(run, diagnosis))
}

/// The JSON Schema of [`Report`].
pub fn schema() -> String {
    pretty(&schemars::schema_for!(Report<'_>))
}

fn pretty(value: &impl Serialize) -> String {
    // Maps with string keys and numbers only: serialising them cannot fail.
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        // JSON may carry these as they are; a terminal may obey them (C1 controls, bidirectional
        // overrides). They can only stand inside strings, where an escape means the same.
        if c != '\n' && c as u32 > 0x7e && is_obeyed(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

fn is_obeyed(c: char) -> bool {
    Text::limited(&format!("x{c}x"), 3).contains('\u{FFFD}') && c != '\u{FFFD}'
}
