//! The rules: one file per cause, or per close family of causes. A rule looks at facts and says what
//! it believes, with evidence for and against; it knows nothing of the other rules.

mod certificate;
mod clock;
mod discovery;
mod handle_hosts;
mod handle_records;
mod identity;
mod inside;
mod login;
mod login_keys;
mod login_words;
mod names;
mod outbound;
mod outbound_edge;
mod outbound_words;
mod proxy;
mod reach;
mod stale_address;
pub mod this_side;
mod unexplained;

pub(crate) use discovery::is_reference_version;
pub(crate) use handle_records::{txt_did, well_known_did};

use super::{Bounds, Cause, Code, RuledOut, evidence::Evidence};

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

/// All rules, from the lowest layer up.
pub static RULES: &[Rule] = &[
    names::RULE,
    reach::RULE,
    stale_address::RULE,
    certificate::RULE,
    handle_hosts::RULE,
    handle_records::RULE,
    proxy::RULE,
    clock::RULE,
    inside::hole::RULE,
    inside::ra::RULE,
    inside::container_v6::RULE,
    inside::masked::RULE,
    discovery::RULE,
    login::RULE,
    outbound::RULE,
    outbound_edge::RULE,
    inside::node::RULE,
    inside::node_options::RULE,
    inside::node_version::RULE,
    identity::RULE,
    inside::names::RULE,
    inside::name_order::RULE,
    inside::inbound::RULE,
    inside::way_out::RULE,
    inside::packet_size::RULE,
    inside::cut_off::RULE,
    inside::ports::RULE,
    inside::position::RULE,
    unexplained::RULE,
];

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
