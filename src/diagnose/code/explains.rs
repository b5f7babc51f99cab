//! What causes explain, and what makes them possible: lists that rows of the table share.

use super::Code;

/// Without these, a handle cannot be verified.
pub(super) const HANDLE: &[Code] = &[Code::HandleUnverified];

/// The same, where the handle was the target.
pub(super) const HANDLE_AND_TARGET: &[Code] = &[Code::HandleUnverified, Code::TargetUnresolved];

/// The identity leads nowhere.
pub(super) const TARGET: &[Code] = &[Code::TargetUnresolved];

/// Whoever has no IPv6 gets nowhere.
pub(super) const ADDRESS: &[Code] = &[Code::PdsUnreachable, Code::AddressUnreachable];

/// The login.
pub(super) const LOGIN: &[Code] = &[Code::LoginParFails];

/// The login and what it is found by.
pub(super) const DISCOVERY_AND_LOGIN: &[Code] = &[Code::OauthDiscoveryFails, Code::LoginParFails];

/// The documents, too.
pub(super) const METADATA_AND_LOGIN: &[Code] =
    &[Code::OauthMetadataInvalid, Code::OauthDiscoveryFails, Code::LoginParFails];

/// What the PDS has to fetch for a login.
pub(super) const FETCH: &[Code] = &[Code::OauthClientMetadataEgress, Code::LoginParFails];

/// Where Node's last hope swallows packets, its timer is not what fails. Nor is it where what was tried against the timer
/// does not help.
pub(super) const TIMER_AND_FETCH: &[Code] = &[Code::NodeHe250ms, Code::OauthClientMetadataEgress, Code::LoginParFails];

/// From outside a hole for private addresses and one for all look alike: only the machine shows from which it sends.
pub(super) const HOLE_TIMER_AND_FETCH: &[Code] =
    &[Code::V6BlackholeEgress, Code::NodeHe250ms, Code::OauthClientMetadataEgress, Code::LoginParFails];

/// What was tried against it, and never took effect.
pub(super) const OPTIONS_AND_FETCH: &[Code] = &[
    Code::NodeHe250ms,
    Code::NodeHeLostSyn,
    Code::NodeIpv4firstNotEnough,
    Code::NodeNoautoselectBackfires,
    Code::OauthClientMetadataEgress,
    Code::LoginParFails,
];

/// Why no answer leaves by IPv6.
pub(super) const V6_ANSWERS: &[Code] = &[Code::V6InboundClosed];

/// What somebody meant to set, and did not take effect.
pub(super) const RA_AND_V6_ANSWERS: &[Code] =
    &[Code::V6ForwardingEatsRa, Code::V6DefaultRoutePurged, Code::V6InboundClosed];

/// Behind the provider's NAT every port is closed.
pub(super) const UNREACHED_BEHIND_NAT: &[Code] =
    &[Code::FwPortsClosed, Code::PdsUnreachable, Code::AddressUnreachable, Code::HandleUnverified];

/// IPv6 that goes out and never comes back: then an address that is tried alone is waited for.
pub(super) const IPV6_INTO_A_HOLE: &[Code] = &[Code::V6BlackholeEgress, Code::V6UlaIntoHole];

/// Why an address family that is published does not work from where the PDS is.
pub(super) const NO_WORKING_IPV6: &[Code] = &[
    Code::V6UlaIntoHole,
    Code::V6BlackholeEgress,
    Code::V6ForwardingEatsRa,
    Code::V6DefaultRoutePurged,
    Code::V6NetworkdForwardingDisablesRa,
    Code::V6RaLifetimeExpiry,
    Code::V6AcceptRaNotPersistent,
    Code::V6ContainerHasNone,
];

/// Without the name, nothing behind it is reached.
pub(super) const UNREACHED: &[Code] = &[
    Code::DnsNoWildcard,
    Code::V6InboundClosed,
    Code::FwPortsClosed,
    Code::SvcNotListening,
    Code::PdsUnreachable,
    Code::AddressUnreachable,
    Code::HandleUnverified,
];

/// The same, of an address that was never anybody's.
pub(super) const UNREACHED_OR_MOVED: &[Code] = &[
    Code::DnsNoWildcard,
    Code::V6InboundClosed,
    Code::FwPortsClosed,
    Code::SvcNotListening,
    Code::DnsDynamicIpStale,
    Code::PdsUnreachable,
    Code::AddressUnreachable,
    Code::HandleUnverified,
];

/// Without the port, nothing behind it is reached, on this address or on the handles' (the same).
pub(super) const UNREACHED_AT_PORT: &[Code] = &[Code::PdsUnreachable, Code::AddressUnreachable, Code::HandleUnverified];

/// What a machine sees of its own public name where the router does not lead it back.
pub(super) const UNREACHED_FROM_HOME: &[Code] = &[
    Code::FwPortsClosed,
    Code::SvcNotListening,
    Code::PdsUnreachable,
    Code::AddressUnreachable,
    Code::HandleUnverified,
];

/// Another server has other certificates and other pages.
pub(super) const BEHIND_OTHER_SERVER: &[Code] = &[
    Code::TlsOndemandRefused,
    Code::TlsInternalOrDefaultCa,
    Code::TlsPlainHttpOn443,
    Code::TlsExpired,
    Code::TlsNotYetValid,
    Code::TlsWrongName,
    Code::TlsIncompleteChain,
    Code::ProxyUpstreamDown,
    Code::ProxyRedirectsApi,
    Code::HostNotAPds,
    Code::TlsHandleDomainNoCert,
    Code::TlsWildcardOneLevel,
    Code::AddressUnreachable,
    Code::TlsHandshakeFails,
    Code::PdsNotAnswering,
];

/// Somebody else's server answers there, or none.
pub(super) const BEHIND_OTHER_SERVER_OR_NONE: &[Code] = &[
    Code::FwPortsClosed,
    Code::SvcNotListening,
    Code::TlsOndemandRefused,
    Code::TlsInternalOrDefaultCa,
    Code::TlsPlainHttpOn443,
    Code::TlsWrongName,
    Code::ProxyUpstreamDown,
    Code::HostNotAPds,
    Code::TlsHandleDomainNoCert,
    Code::PdsUnreachable,
    Code::AddressUnreachable,
    Code::TlsHandshakeFails,
    Code::PdsNotAnswering,
    Code::HandleUnverified,
];

/// The proxy finds nobody behind it; all else is what a proxy without a PDS shows.
pub(super) const BEHIND_WRONG_PORT: &[Code] = &[
    Code::ProxyUpstreamDown,
    Code::ProxyOauthRoutesMissing,
    Code::TlsOndemandRefused,
    Code::TlsHandleDomainNoCert,
    Code::PdsNotAnswering,
    Code::HandleUnverified,
    Code::OauthDiscoveryFails,
    Code::LoginParFails,
];

/// Clients that verify certificates get no further.
pub(super) const BEHIND_TLS: &[Code] = &[
    Code::TlsHandleDomainNoCert,
    Code::TlsWildcardOneLevel,
    Code::TlsHandshakeFails,
    Code::PdsNotAnswering,
    Code::HandleUnverified,
    Code::OauthDiscoveryFails,
    Code::LoginParFails,
];

/// A proxy that does not lead to the PDS: no route of it works, and an on-demand certificate's
/// `ask` endpoint is down with it.
pub(super) const BEHIND_PROXY: &[Code] = &[
    Code::ProxyOauthRoutesMissing,
    Code::TlsHandleDomainNoCert,
    Code::OauthMetadataInvalid,
    Code::PdsNotAnswering,
    Code::HandleUnverified,
    Code::OauthDiscoveryFails,
    Code::LoginParFails,
];

/// `PDS_HOSTNAME` also makes the handle domains and every address in the metadata.
pub(super) const BEHIND_WRONG_NAME: &[Code] = &[
    Code::DnsNoWildcard,
    Code::TlsWildcardOneLevel,
    Code::TlsHandleDomainNoCert,
    Code::OauthMetadataInvalid,
    Code::HandleUnverified,
    Code::OauthDiscoveryFails,
    Code::LoginParFails,
];
