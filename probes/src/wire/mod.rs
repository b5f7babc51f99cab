//! Tools that several probes share: streams, bodies, documents' raw material.

pub(crate) mod body;
pub(crate) mod certificate;
pub(crate) mod date;
pub(crate) mod dns_message;
pub(crate) mod json;
pub(crate) mod tap;
pub(crate) mod trust_all;
