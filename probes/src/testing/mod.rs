//! Servers that misbehave, on 127.0.0.1, and certificates of every kind. For tests only.

mod certificates;
mod servers;

pub(crate) use certificates::{Ca, Leaf, roots_with};
pub(crate) use servers::{
    alpn_server, body_of, drip, hold, net, net_with, raw_server, read_head, refused_port, reset, serve, tls_server,
    write_all,
};
