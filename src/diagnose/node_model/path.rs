//! An address, and what an attempt to connect to it meets.

use std::net::IpAddr;

use serde::Serialize;

/// The wait before a lost SYN is sent again: `TCP_TIMEOUT_INIT`, one second, of Linux's include/net/tcp.h (RFC 6298, 2.1).
pub const SYN_RETRANSMIT_MS: u64 = 1_000;

/// What a connection attempt to one address meets, if nobody cuts it short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// The handshake ends well.
    Connects {
        /// After this long.
        after_ms: u64,
    },
    /// It ends with an error.
    Fails {
        /// After this long: 0 if the kernel says so without sending anything.
        after_ms: u64,
        /// The error's name: `ECONNREFUSED`, `ENETUNREACH`, … `ETIMEDOUT` for the kernel's own end of patience.
        code: String,
    },
    /// Nothing comes back, for longer than undici waits. Linux gives up after 127 s with 6 SYN retries.
    Silent,
}

impl Path {
    /// An error after some time.
    pub fn fails(after_ms: u64, code: &str) -> Self {
        Self::Fails { after_ms, code: code.to_owned() }
    }
}

/// One address, and what an attempt to connect to it meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Its path.
    pub path: Path,
    /// The first SYN of the attempt is lost on the way.
    pub first_syn_lost: bool,
}

impl Address {
    /// An address whose packets all arrive, if any do.
    pub fn new(ip: IpAddr, path: Path) -> Self {
        Self { ip, path, first_syn_lost: false }
    }

    /// When an attempt ends by itself, and how; nothing while it is silent.
    pub(super) fn end(&self) -> Option<(u64, Option<&str>)> {
        // What fails at once never had a SYN on the wire.
        let late = |ms: u64| if self.first_syn_lost && ms > 0 { ms + SYN_RETRANSMIT_MS } else { ms };
        match &self.path {
            Path::Connects { after_ms } => Some((late((*after_ms).max(1)), None)),
            Path::Fails { after_ms, code } => Some((late(*after_ms), Some(code))),
            Path::Silent => None,
        }
    }
}
