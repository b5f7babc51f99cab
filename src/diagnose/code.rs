//! The closed set of causes and symptoms. What each means is written once, in `docs/causes.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// Ids are those of the failure catalogue the project grew from; new ones follow its style.
/// A code is never reused or renamed.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    Display,
    EnumIter,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[allow(missing_docs)] // each has its section in docs/causes.md, held by a test
pub enum Code {
    // this side
    ThisSideNoNetwork,
    ThisSideResolverBroken,
    ThisSideTlsIntercepted,
    ThisSideNoResources,
    // names
    DnsNameNotFound,
    DnsNoAddress,
    DnsZoneFailing,
    DnsNoWildcard,
    DnsTxtWrongOwner,
    DnsTxtFormat,
    DnsDuplicateDidTxt,
    DnsWellKnownAndTxtDisagree,
    DnsTxtCreatesEmptyNonterminal,
    DnsPrivateIpPublished,
    DnsStaleAaaa,
    DnsStaleA,
    TunnelCfDnsElsewhere,
    DnsDynamicIpStale,
    // reaching it
    V6InboundClosed,
    V6OnlyHost,
    FwPortsClosed,
    SvcNotListening,
    NatCgnat,
    PortTaken,
    // TLS
    TlsOndemandRefused,
    TlsWildcardOneLevel,
    TlsInternalOrDefaultCa,
    #[serde(rename = "tls-plain-http-on-443")]
    #[strum(serialize = "tls-plain-http-on-443")]
    TlsPlainHttpOn443,
    TlsHandleDomainNoCert,
    TlsExpired,
    TlsNotYetValid,
    TlsWrongName,
    TlsIncompleteChain,
    TlsNoCommonCipher,
    // HTTP
    ProxyUpstreamDown,
    ProxyRedirectsApi,
    ProxyOauthRoutesMissing,
    HostNotAPds,
    HostClockSkew,
    #[serde(rename = "port-2583-vs-3000")]
    #[strum(serialize = "port-2583-vs-3000")]
    Port2583Vs3000,
    ProxyWrongAddress,
    FwProxyToPds,
    // the PDS's way out: what fails
    DnsContainerResolverDead,
    DnsContainerResolverFlaky,
    DnsSplitHorizonSsrf,
    DnsHostsFileStale,
    DnsSearchDomainHijack,
    #[serde(rename = "node-he-250ms")]
    #[strum(serialize = "node-he-250ms")]
    NodeHe250ms,
    NodeHeLostSyn,
    #[serde(rename = "node-ipv4first-not-enough")]
    #[strum(serialize = "node-ipv4first-not-enough")]
    NodeIpv4firstNotEnough,
    NodeNoautoselectBackfires,
    NodeOptionsNotApplied,
    VerNodeCrashesPds,
    V6UlaIntoHole,
    V6BlackholeEgress,
    EgressTlsIntercepted,
    MtuContainerOverTunnel,
    EdgeBotChallengeOutbound,
    FwEgressClosed,
    NatHairpin,
    // the PDS's way out: what made that possible
    V6ForwardingEatsRa,
    V6DefaultRoutePurged,
    V6NetworkdForwardingDisablesRa,
    V6RaLifetimeExpiry,
    V6AcceptRaNotPersistent,
    V6ContainerHasNone,
    V6ClientIpMasked,
    // OAuth
    OauthClientMetadataEgress,
    OauthUnsupportedScope,
    OauthDevOriginMismatch,
    OauthMetadataInvalid,
    AppClientMetadataBroken,
    // identity
    IdDiddocEndpointMismatch,
    // what is seen where no cause above explains it
    PdsUnreachable,
    AddressUnreachable,
    TlsHandshakeFails,
    PdsNotAnswering,
    HandleUnverified,
    TargetUnresolved,
    OauthDiscoveryFails,
    LoginParFails,
}

impl Code {
    /// A few words for a list.
    pub fn title(self) -> &'static str {
        match self {
            Self::ThisSideNoNetwork => "This machine has no network",
            Self::ThisSideResolverBroken => "This machine cannot resolve names",
            Self::ThisSideTlsIntercepted => "TLS is intercepted on this side",
            Self::ThisSideNoResources => "This machine gives pdsdoctor too little",
            Self::DnsNameNotFound => "The name does not exist",
            Self::DnsNoAddress => "The name has no address",
            Self::DnsZoneFailing => "The zone's name servers fail",
            Self::DnsNoWildcard => "Handles have no DNS record",
            Self::DnsTxtWrongOwner => "The handle's TXT record is at the wrong name",
            Self::DnsTxtFormat => "The handle's TXT record is malformed",
            Self::DnsDuplicateDidTxt => "The handle has more than one DID record",
            Self::DnsWellKnownAndTxtDisagree => "TXT record and well-known file name different DIDs",
            Self::DnsTxtCreatesEmptyNonterminal => "The handle's TXT record hides it from the wildcard",
            Self::DnsPrivateIpPublished => "A private address is published",
            Self::DnsStaleAaaa => "The IPv6 address belongs to another server",
            Self::DnsStaleA => "An IPv4 address belongs to another server",
            Self::TunnelCfDnsElsewhere => "Cloudflare Tunnel without Cloudflare DNS",
            Self::V6InboundClosed => "The IPv6 address does not answer",
            Self::V6OnlyHost => "The PDS has only IPv6",
            Self::FwPortsClosed => "Port 443 is closed to the world",
            Self::SvcNotListening => "Nothing listens on port 443",
            Self::TlsOndemandRefused => "The server has no certificate for the name",
            Self::TlsWildcardOneLevel => "The wildcard certificate does not reach handles",
            Self::TlsInternalOrDefaultCa => "The certificate is from a private CA",
            Self::TlsPlainHttpOn443 => "Port 443 speaks plain HTTP",
            Self::TlsHandleDomainNoCert => "Handle hosts have no valid certificate",
            Self::TlsExpired => "The certificate has expired",
            Self::TlsNotYetValid => "The certificate is not valid yet",
            Self::TlsWrongName => "The certificate is for another name",
            Self::TlsNoCommonCipher => "The server offers only TLS of the past",
            Self::TlsIncompleteChain => "The intermediate certificate is not sent",
            Self::ProxyUpstreamDown => "The proxy cannot reach the PDS behind it",
            Self::ProxyRedirectsApi => "The proxy redirects API requests",
            Self::ProxyOauthRoutesMissing => "The proxy does not pass the OAuth routes",
            Self::HostNotAPds => "The host is not a PDS",
            Self::HostClockSkew => "The PDS's clock is wrong",
            Self::DnsDynamicIpStale => "The DNS record has an old address",
            Self::NatCgnat => "The provider's NAT lets nobody in",
            Self::PortTaken => "Another program holds the port",
            Self::Port2583Vs3000 => "The proxy and the PDS disagree on the port",
            Self::ProxyWrongAddress => "The proxy asks at an address where the PDS does not listen",
            Self::FwProxyToPds => "A firewall stands between the proxy and the PDS",
            Self::DnsContainerResolverDead => "The PDS cannot resolve names",
            Self::DnsContainerResolverFlaky => "The PDS's resolver is not reliable",
            Self::DnsSplitHorizonSsrf => "The PDS's resolver gives a private address",
            Self::DnsHostsFileStale => "The PDS's hosts file has another address",
            Self::DnsSearchDomainHijack => "A search domain makes another name of the app's",
            Self::NodeHe250ms => "Node gives up on a working connection after 250 ms",
            Self::NodeHeLostSyn => "Node gives up when the first packet is lost",
            Self::NodeIpv4firstNotEnough => "--dns-result-order=ipv4first alone does not help",
            Self::NodeNoautoselectBackfires => "--no-network-family-autoselection alone does harm",
            Self::NodeOptionsNotApplied => "The NODE_OPTIONS meant are not in effect",
            Self::VerNodeCrashesPds => "This Node crashes this PDS now and then",
            Self::V6UlaIntoHole => "A private IPv6 network with a route into nowhere",
            Self::V6BlackholeEgress => "IPv6 packets go out and nothing comes back",
            Self::EgressTlsIntercepted => "TLS of the PDS's own requests is intercepted",
            Self::MtuContainerOverTunnel => "Large packets from the PDS get lost",
            Self::EdgeBotChallengeOutbound => "The app's edge turns this server's address away",
            Self::FwEgressClosed => "What the PDS sends out is blocked",
            Self::NatHairpin => "The PDS's machine cannot reach its own public name",
            Self::V6ForwardingEatsRa => "Forwarding makes the kernel ignore the router",
            Self::V6DefaultRoutePurged => "Forwarding removed the IPv6 default route",
            Self::V6NetworkdForwardingDisablesRa => "networkd ignores the router because it forwards",
            Self::V6RaLifetimeExpiry => "The IPv6 default route runs out",
            Self::V6AcceptRaNotPersistent => "accept_ra will not survive, or did not survive, a boot",
            Self::V6ContainerHasNone => "The PDS's container has no IPv6",
            Self::V6ClientIpMasked => "All IPv6 visitors look like one",
            Self::OauthClientMetadataEgress => "The PDS cannot fetch the app's metadata",
            Self::OauthUnsupportedScope => "The PDS does not know the app's scopes",
            Self::OauthDevOriginMismatch => "The PDS thinks it lives at another address",
            Self::OauthMetadataInvalid => "The OAuth metadata breaks the atproto profile",
            Self::AppClientMetadataBroken => "The app's metadata is broken for everybody",
            Self::IdDiddocEndpointMismatch => "The DID document names another PDS",
            Self::PdsUnreachable => "The PDS cannot be reached",
            Self::AddressUnreachable => "An address of the PDS does not answer",
            Self::TlsHandshakeFails => "The TLS handshake fails",
            Self::PdsNotAnswering => "The PDS does not answer properly",
            Self::HandleUnverified => "The handle cannot be verified",
            Self::TargetUnresolved => "The target leads to no PDS",
            Self::OauthDiscoveryFails => "OAuth discovery fails",
            Self::LoginParFails => "Logins fail at the first step (PAR)",
        }
    }

    /// Is this what is seen, rather than why? Such a finding stands alone only where no cause explains it.
    pub fn is_symptom(self) -> bool {
        self >= Self::PdsUnreachable
    }

    /// Is it about the PDS's own way out, which is seen where the PDS is?
    pub fn is_of_the_way_out(self) -> bool {
        (Self::Port2583Vs3000..=Self::V6ClientIpMasked).contains(&self)
    }

    /// What this cause makes happen, so that a finding of it is a symptom and not a second cause.
    /// From the lower layer to the higher, so there is no cycle.
    pub fn explains(self) -> &'static [Self] {
        match self {
            Self::DnsNameNotFound | Self::DnsNoAddress | Self::DnsZoneFailing | Self::TunnelCfDnsElsewhere => UNREACHED,
            Self::DnsPrivateIpPublished => UNREACHED_OR_MOVED,
            Self::FwPortsClosed | Self::SvcNotListening | Self::V6InboundClosed => UNREACHED_AT_PORT,
            Self::DnsDynamicIpStale => BEHIND_OTHER_SERVER_OR_NONE,
            Self::NatCgnat => {
                &[Self::FwPortsClosed, Self::PdsUnreachable, Self::AddressUnreachable, Self::HandleUnverified]
            }
            Self::PortTaken => BEHIND_OTHER_SERVER_OR_NONE,
            Self::Port2583Vs3000 | Self::ProxyWrongAddress | Self::FwProxyToPds => BEHIND_WRONG_PORT,
            Self::NatHairpin => UNREACHED_FROM_HOME,
            // What was tried against it, and does not help, or never took effect.
            Self::NodeIpv4firstNotEnough | Self::NodeNoautoselectBackfires => {
                &[Self::NodeHe250ms, Self::OauthClientMetadataEgress, Self::LoginParFails]
            }
            Self::NodeOptionsNotApplied => &[
                Self::NodeHe250ms,
                Self::NodeHeLostSyn,
                Self::NodeIpv4firstNotEnough,
                Self::NodeNoautoselectBackfires,
                Self::OauthClientMetadataEgress,
                Self::LoginParFails,
            ],
            // What somebody meant to set, and did not take effect.
            Self::V6AcceptRaNotPersistent => {
                &[Self::V6ForwardingEatsRa, Self::V6DefaultRoutePurged, Self::V6InboundClosed]
            }
            // Why no answer leaves by IPv6.
            Self::V6ForwardingEatsRa
            | Self::V6DefaultRoutePurged
            | Self::V6NetworkdForwardingDisablesRa
            | Self::V6RaLifetimeExpiry => &[Self::V6InboundClosed],
            // Where Node's last hope swallows packets, its timer is not what fails.
            Self::V6BlackholeEgress => &[Self::NodeHe250ms, Self::OauthClientMetadataEgress, Self::LoginParFails],
            // From outside the two look alike: only the machine shows from which address it sends.
            Self::V6UlaIntoHole => {
                &[Self::V6BlackholeEgress, Self::NodeHe250ms, Self::OauthClientMetadataEgress, Self::LoginParFails]
            }
            Self::NodeHe250ms
            | Self::NodeHeLostSyn
            | Self::DnsContainerResolverDead
            | Self::DnsContainerResolverFlaky
            | Self::DnsSplitHorizonSsrf
            | Self::DnsHostsFileStale
            | Self::DnsSearchDomainHijack
            | Self::EgressTlsIntercepted
            | Self::MtuContainerOverTunnel
            | Self::EdgeBotChallengeOutbound
            | Self::FwEgressClosed => &[Self::OauthClientMetadataEgress, Self::LoginParFails],
            Self::V6OnlyHost => &[Self::PdsUnreachable, Self::AddressUnreachable],
            Self::DnsStaleAaaa | Self::DnsStaleA => BEHIND_OTHER_SERVER,
            Self::TlsOndemandRefused
            | Self::TlsInternalOrDefaultCa
            | Self::TlsPlainHttpOn443
            | Self::TlsExpired
            | Self::TlsNotYetValid
            | Self::TlsWrongName
            | Self::TlsIncompleteChain
            | Self::TlsNoCommonCipher => BEHIND_TLS,
            Self::ProxyUpstreamDown | Self::ProxyRedirectsApi | Self::HostNotAPds => BEHIND_PROXY,
            Self::ProxyOauthRoutesMissing => {
                &[Self::OauthMetadataInvalid, Self::OauthDiscoveryFails, Self::LoginParFails]
            }
            Self::OauthDevOriginMismatch => BEHIND_WRONG_NAME,
            Self::OauthMetadataInvalid => &[Self::OauthDiscoveryFails, Self::LoginParFails],
            Self::OauthClientMetadataEgress | Self::OauthUnsupportedScope | Self::AppClientMetadataBroken => {
                &[Self::LoginParFails]
            }
            Self::DnsNoWildcard
            | Self::DnsTxtCreatesEmptyNonterminal
            | Self::TlsWildcardOneLevel
            | Self::TlsHandleDomainNoCert => &[Self::HandleUnverified],
            Self::DnsTxtWrongOwner
            | Self::DnsTxtFormat
            | Self::DnsDuplicateDidTxt
            | Self::DnsWellKnownAndTxtDisagree => &[Self::HandleUnverified, Self::TargetUnresolved],
            Self::IdDiddocEndpointMismatch | Self::HandleUnverified => &[Self::TargetUnresolved],
            _ => &[],
        }
    }
}

impl Code {
    /// The conditions that make this cause possible: causes of their own, which explain nothing by
    /// themselves, since the mechanism that fails is this one.
    pub fn made_possible_by(self) -> &'static [Self] {
        match self {
            Self::NodeHe250ms | Self::NodeHeLostSyn | Self::NodeIpv4firstNotEnough => NO_WORKING_IPV6,
            Self::NodeNoautoselectBackfires => &[Self::V6BlackholeEgress, Self::V6UlaIntoHole],
            _ => &[],
        }
    }
}

/// Why an address family that is published does not work from where the PDS is.
const NO_WORKING_IPV6: &[Code] = &[
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
const UNREACHED: &[Code] = &[
    Code::DnsNoWildcard,
    Code::V6InboundClosed,
    Code::FwPortsClosed,
    Code::SvcNotListening,
    Code::PdsUnreachable,
    Code::AddressUnreachable,
    Code::HandleUnverified,
];

/// The same, of an address that was never anybody's.
const UNREACHED_OR_MOVED: &[Code] = &[
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
const UNREACHED_AT_PORT: &[Code] = &[Code::PdsUnreachable, Code::AddressUnreachable, Code::HandleUnverified];

/// What a machine sees of its own public name where the router does not lead it back.
const UNREACHED_FROM_HOME: &[Code] = &[
    Code::FwPortsClosed,
    Code::SvcNotListening,
    Code::PdsUnreachable,
    Code::AddressUnreachable,
    Code::HandleUnverified,
];

/// Another server has other certificates and other pages.
const BEHIND_OTHER_SERVER: &[Code] = &[
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
const BEHIND_OTHER_SERVER_OR_NONE: &[Code] = &[
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
const BEHIND_WRONG_PORT: &[Code] = &[
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
const BEHIND_TLS: &[Code] = &[
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
const BEHIND_PROXY: &[Code] = &[
    Code::ProxyOauthRoutesMissing,
    Code::TlsHandleDomainNoCert,
    Code::OauthMetadataInvalid,
    Code::PdsNotAnswering,
    Code::HandleUnverified,
    Code::OauthDiscoveryFails,
    Code::LoginParFails,
];

/// `PDS_HOSTNAME` also makes the handle domains and every address in the metadata.
const BEHIND_WRONG_NAME: &[Code] = &[
    Code::DnsNoWildcard,
    Code::TlsWildcardOneLevel,
    Code::TlsHandleDomainNoCert,
    Code::OauthMetadataInvalid,
    Code::HandleUnverified,
    Code::OauthDiscoveryFails,
    Code::LoginParFails,
];
