//! What passes between the view from outside and the view from inside, which are made at the same time.

use std::net::IpAddr;

use tokio::sync::watch;

/// What is known of the target, for those who wait to learn whether it is here.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The host of the PDS.
    pub(super) host: Option<String>,
    /// Its addresses so far.
    pub(super) addresses: Vec<IpAddr>,
    /// Nothing more will become known.
    pub(super) complete: bool,
}

/// What passes between the view from outside and the view from inside.
pub(super) struct Bridge {
    /// What is known of the target.
    pub(super) known: watch::Sender<Known>,
    /// `Some`: this machine was looked at, and this is the host name of the PDS on it, if there is one.
    pub(super) found: watch::Sender<Option<Option<String>>>,
    /// It is clear whether this is the PDS's machine.
    pub(super) placed: watch::Sender<bool>,
}

impl Bridge {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            known: watch::Sender::new(Known::default()),
            found: watch::Sender::new(None),
            placed: watch::Sender::new(false),
        }
    }

    /// The host of the PDS became known.
    pub(super) fn host(&self, host: &str) {
        self.known.send_modify(|known| known.host = Some(host.to_owned()));
    }

    /// An address of the PDS became known.
    pub(super) fn address(&self, addr: IpAddr) {
        self.known.send_modify(|known| known.addresses.push(addr));
    }

    /// Nothing more will become known.
    pub(super) fn complete(&self) {
        self.known.send_modify(|known| known.complete = true);
    }

    /// Waits until it is clear whether this is the PDS's machine, which it is once nothing more will become known.
    pub(super) async fn placed(&self) {
        // The sender is here: it cannot be gone.
        let _ = self.placed.subscribe().wait_for(|placed| *placed).await;
    }

    /// The host name of the PDS on this machine, once it was looked at.
    pub(super) async fn pds_here(&self) -> Option<String> {
        let mut found = self.found.subscribe();
        found.wait_for(Option::is_some).await.ok().and_then(|found| found.clone().flatten())
    }
}
