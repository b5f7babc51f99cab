//! What a rule is, and what it finds: what all rules share.

use crate::diagnose::{Bounds, Cause, Code, RuledOut, evidence::Evidence};

/// What the rules found.
#[derive(Debug, Default)]
pub struct Found {
    /// Causes and symptoms, in no order.
    pub causes: Vec<Cause>,
    /// Theories that the facts killed.
    pub ruled_out: Vec<RuledOut>,
}

impl Found {
    /// Adds a cause.
    pub fn cause(&mut self, cause: Cause) {
        self.causes.push(cause);
    }

    /// Notes that a theory is dead, as far as `scope` goes.
    pub fn rule_out(
        &mut self,
        code: Code,
        scope: Bounds,
        why: impl Into<String>,
        because: impl IntoIterator<Item = pdsdoctor_probes::fact::FactId>,
    ) {
        let because: Vec<_> = because.into_iter().collect();
        // What rests on nothing is not dead.
        if !because.is_empty() {
            self.ruled_out.push(RuledOut { code, scope, why: why.into(), because });
        }
    }
}

/// A rule.
pub struct Rule {
    /// What it may find.
    pub codes: &'static [Code],
    /// Judges.
    pub judge: fn(&Evidence<'_>, &mut Found),
}

/// `a, b and c`.
pub(crate) fn list<I, S>(items: I) -> String
where
    I: IntoIterator<Item = S>,
    S: ToString,
{
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
