//! The rules: one file per cause, or per close family of causes. A rule looks at facts and says what
//! it believes, with evidence for and against; it knows nothing of the other rules.

mod certificate;
mod clock;
mod discovery;
mod event_stream;
mod found;
mod handle_hosts;
mod handle_records;
mod identity;
mod inside;
mod login;
mod login_arm;
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

pub(crate) use found::list;
pub use found::{Found, Rule};

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
    event_stream::RULE,
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
