//! Building a cause step by step, so that a rule reads as what it claims.

use pdsdoctor_probes::fact::{FactId, Family, Vantage};

use super::{
    Cause, Code, Confidence, Contrast, Impact, Link, Remedy, Risk, Scope, Side,
    step::{self, Command, Prose, Settle, Step},
};

impl Cause {
    /// A cause with one plain sentence.
    pub fn new(code: Code, impact: Impact, confidence: Confidence, summary: impl Into<String>) -> Self {
        Self {
            code,
            impact,
            confidence,
            scope: Scope::default(),
            summary: summary.into(),
            seen: Vec::new(),
            because: Vec::new(),
            against: Vec::new(),
            contrast: Vec::new(),
            settle: None,
            contributing: Vec::new(),
            symptoms: Vec::new(),
            remedies: Vec::new(),
        }
    }

    /// What it is about.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// A line of what was seen.
    #[must_use]
    pub fn saw(mut self, line: impl Into<String>) -> Self {
        self.seen.push(line.into());
        self
    }

    /// Facts that speak for it.
    #[must_use]
    pub fn because(mut self, facts: impl IntoIterator<Item = FactId>) -> Self {
        self.because.extend(facts);
        self
    }

    /// Facts that speak against it.
    #[must_use]
    pub fn against(mut self, facts: impl IntoIterator<Item = FactId>) -> Self {
        self.against.extend(facts);
        self
    }

    /// An experiment.
    #[must_use]
    pub fn contrast(mut self, what: impl Into<String>, this: impl Into<Side>, that: impl Into<Side>) -> Self {
        self.contrast.push(Contrast { what: what.into(), this: this.into(), that: that.into() });
        self
    }

    /// The same, of both sides at once.
    #[must_use]
    pub fn sides(self, (what, this, that): Sides) -> Self {
        self.contrast(what, this, that)
    }

    /// The measurement that would settle it.
    #[must_use]
    pub fn settle(mut self, what: impl Into<Settle>) -> Self {
        self.settle = Some(what.into());
        self
    }

    /// Something to do.
    #[must_use]
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }
}

/// A cause of which it is not said yet how sure it is. That is said in one of three ways: confirmed with the contrast that
/// proves it, or less with what would settle it. Neither can be had without the other, and what was not said is no cause.
#[must_use]
#[derive(Debug)]
pub struct Claim(Cause);

/// Two sides of an experiment: what was measured, this side, that side.
pub type Sides = (String, String, String);

impl Claim {
    /// With one plain sentence.
    pub fn new(code: Code, impact: Impact, summary: impl Into<String>) -> Self {
        Self(Cause::new(code, impact, Confidence::Possible, summary))
    }

    /// What is said of the cause however sure it is: what was seen, facts, remedies.
    pub fn with(self, tell: impl FnOnce(Cause) -> Cause) -> Self {
        Self(Cause { confidence: Confidence::Possible, ..tell(self.0) })
    }

    /// This proves it.
    pub fn confirmed(self, (what, this, that): Sides) -> Cause {
        Cause { confidence: Confidence::Confirmed, ..self.0 }.contrast(what, this, that)
    }

    /// The best reading; this would settle it.
    pub fn likely(self, settle: impl Into<Settle>) -> Cause {
        Cause { confidence: Confidence::Likely, ..self.0 }.settle(settle)
    }

    /// One of several readings; this would settle it.
    pub fn possible(self, settle: impl Into<Settle>) -> Cause {
        self.0.settle(settle)
    }

    /// Confirmed where the control answered, else likely.
    pub fn weighed(self, control: Option<Sides>, settle: impl Into<Settle>) -> Cause {
        match control {
            Some(sides) => self.confirmed(sides),
            None => self.likely(settle),
        }
    }
}

impl Remedy {
    /// A remedy that may be done in passing, verified by `verify`.
    pub fn new(title: impl Into<Prose>, steps: impl IntoIterator<Item = Step>, verify: impl Into<Command>) -> Self {
        Self {
            link: Link::Or,
            title: title.into(),
            steps: steps.into_iter().collect(),
            risk: Risk::Safe,
            undo: Vec::new(),
            verify: verify.into(),
            proven: false,
        }
    }

    /// It interrupts the service or changes what others depend on.
    #[must_use]
    pub fn disruptive(mut self) -> Self {
        self.risk = Risk::Disruptive;
        self
    }

    /// To be done after those before it, not instead of them.
    #[must_use]
    pub fn then(mut self) -> Self {
        self.link = Link::Then;
        self
    }

    /// Helps until those before it are done.
    #[must_use]
    pub fn meanwhile(mut self) -> Self {
        self.link = Link::Meanwhile;
        self
    }

    /// How to go back.
    #[must_use]
    pub fn undo(mut self, step: Step) -> Self {
        self.undo.push(step);
        self
    }

    /// The steps as the JSON report has them.
    pub fn lines(&self) -> Vec<String> {
        step::flat(&self.steps)
    }
}

impl Scope {
    /// About one host.
    pub fn host(host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..Self::default() }
    }

    /// About one address family as such.
    pub fn family(family: Family) -> Self {
        Self { family: Some(family), ..Self::default() }
    }

    /// About one place inside.
    pub fn at(place: &Vantage) -> Self {
        Self { vantage: Some(place.clone().into()), ..Self::default() }
    }
}
