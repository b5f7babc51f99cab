//! Measurements of an AT Protocol PDS. A probe measures and records facts; it has no opinion.
//! A network that fails is a fact; `Err` means "could not measure".

pub mod address_kind;
pub mod contact_fact;
pub mod dns_fact;
pub mod document;
pub mod fact;
pub mod failure;
pub mod files;
pub mod host_fact;
pub mod http_fact;
pub mod identifier;
#[cfg(target_os = "linux")]
pub mod inside;
pub mod limits;
pub mod log_fact;
pub mod net;
pub mod outside;
pub mod own;
pub mod pace;
pub mod par_fact;
pub mod pds_log;
pub mod process_fact;
pub mod record;
pub mod redact;
pub mod roots;
pub mod secret;
pub mod terms;
#[cfg(test)]
mod testing;
pub mod text;
pub mod tls_fact;
mod wire;
