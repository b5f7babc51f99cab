//! Kinds of addresses: there is one list of them, and what measures and what judges hold to the same.

pub use pdsdoctor_probes::address_kind::{AddressKind, address_kind};
