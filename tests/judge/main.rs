//! The judging half, on runs that no network made: every cause, its healthy twin, its look-alikes.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod busy;
mod catalogue;
mod change;
mod contact;
mod differs;
mod event_stream;
mod facts;
mod handles;
mod host;
mod host_change;
mod inside_blame;
mod inside_keeper;
mod inside_names;
mod inside_node;
mod inside_node_proof;
mod inside_paths;
mod inside_ports;
mod inside_position;
mod inside_v6;
mod inside_ways;
mod invariants;
mod invariants_bite;
mod limits;
mod login;
mod mutants;
mod names;
mod outbound;
mod paste;
mod properties;
mod reach;
mod side;
mod tls;
mod web;
mod well;
mod world;
