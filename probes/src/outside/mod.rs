//! What any machine can see of a PDS.

pub mod dns;
pub mod fetch;
pub mod http;
pub mod own_network;
pub mod par;
pub mod tcp;
pub mod tls;
pub mod tls_offer;
mod websocket;
