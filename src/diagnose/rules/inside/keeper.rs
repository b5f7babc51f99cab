//! Who made the network that the PDS is in, and so where it is changed: what helps in Docker's network is nothing to a
//! namespace that "ip netns" or a unit made.

use pdsdoctor_probes::{fact::Vantage, process_fact::ConfinementKind};

use crate::diagnose::evidence::Evidence;

/// Who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// It is the machine's own.
    Machine,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// Kubernetes.
    Kubernetes,
    /// Another engine.
    Engine,
    /// No engine: a namespace of this process.
    Namespace(u32),
}

impl Keeper {
    /// Of the network of the PDS.
    pub(super) fn of(evidence: &Evidence<'_>) -> Self {
        let inside = evidence.inside();
        let Some(process) = inside.pds().map(|seen| seen.body).filter(|process| process.vantage() != Vantage::Here)
        else {
            return Self::Machine;
        };
        match process.confinement.kind {
            ConfinementKind::Docker => Self::Docker,
            ConfinementKind::Podman => Self::Podman,
            ConfinementKind::Kubernetes => Self::Kubernetes,
            ConfinementKind::OtherContainer => Self::Engine,
            ConfinementKind::Systemd | ConfinementKind::None => Self::Namespace(process.pid),
        }
    }
}
