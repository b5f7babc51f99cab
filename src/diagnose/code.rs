//! The closed set of causes and symptoms, one row each. What each means is written once, in `docs/causes.md`.

mod explains;

use explains::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// What is said of a code once and for all.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its stable name.
    pub id: &'static str,
    /// A few words for a list.
    pub title: &'static str,
    /// Whose it is, or where it lies.
    pub area: Area,
    /// On which layer it lies.
    pub layer: Layer,
    /// Why something fails, what made that possible, or what is seen.
    pub kind: Kind,
    /// What this cause makes happen, so that a finding of it is a symptom and not a second cause.
    pub explains: &'static [Code],
    /// The conditions that make this cause possible: causes of their own, which explain nothing by themselves, since the
    /// mechanism that fails is this one.
    pub possible_by: &'static [Code],
}

/// Whose a cause is, or where it lies: the groups of `docs/causes.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, Display, EnumIter)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Area {
    /// The machine that measures.
    ThisSide,
    /// The zone: the name, its addresses, the handles' records.
    Names,
    /// The way to the PDS's port.
    Reach,
    /// Certificates and handshakes, as visitors see them.
    Tls,
    /// What answers there.
    Http,
    /// The PDS's own machine: between its proxy and the PDS, and the PDS's way out. Seen where the PDS is; from outside
    /// by what fails.
    Machine,
    /// The login and its documents.
    Oauth,
    /// The DID document.
    Identity,
}

impl Area {
    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::ThisSide => "This side",
            Self::Names => "Names",
            Self::Reach => "Reaching it",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::Machine => "The PDS's own machine",
            Self::Oauth => "OAuth",
            Self::Identity => "Identity",
        }
    }
}

/// What a cause breaks first: what is above rests on what is below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Layer {
    /// Names and the addresses that they lead to.
    Name,
    /// Packets, routes, ports, firewalls.
    Network,
    /// Certificates and handshakes.
    Tls,
    /// Requests and answers, and the proxy that passes them on.
    Http,
    /// A program and what runs it.
    Program,
    /// The login.
    Oauth,
    /// Handles and DIDs.
    Identity,
}

/// Why something fails, what made that possible, or what is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// Why something fails.
    Cause,
    /// What makes a cause possible, or will: it may do no harm for months.
    Condition,
    /// What is seen, rather than why. It stands alone only where no cause explains it.
    Symptom,
}

/// One row per code makes the enum and what is said of each: a row cannot lack a column. The order decides rank alone: of
/// two causes that are as bad and as sure the upper one comes first, so a lower layer stands above what rests on it.
macro_rules! codes {
    ($($code:ident $id:literal $title:literal $area:ident $layer:ident $kind:ident
        $(, explains $explains:ident)? $(, possible_by $by:ident)?;)+) => {
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
        #[allow(missing_docs)] // each has its section in docs/causes.md, held by a test
        pub enum Code {
            $(#[serde(rename = $id)]
            #[strum(serialize = $id)]
            $code,)+
        }

        impl Code {
            /// What is said of it.
            pub fn row(self) -> &'static Row {
                match self {
                    $(Self::$code => &Row {
                        id: $id,
                        title: $title,
                        area: Area::$area,
                        layer: Layer::$layer,
                        kind: Kind::$kind,
                        explains: codes!(@list $($explains)?),
                        possible_by: codes!(@list $($by)?),
                    },)+
                }
            }
        }
    };
    (@list) => { &[] };
    (@list $list:ident) => { $list };
}

// code, id and title; area, layer and kind, what it explains, what makes it possible.
codes! {
    // this side
    ThisSideNoNetwork "this-side-no-network" "This machine has no network"
        ThisSide Network Cause;
    ThisSideResolverBroken "this-side-resolver-broken" "This machine cannot resolve names"
        ThisSide Name Cause;
    ThisSideTlsIntercepted "this-side-tls-intercepted" "TLS is intercepted on this side"
        ThisSide Tls Cause;
    ThisSideNoResources "this-side-no-resources" "This machine gives pdsdoctor too little"
        ThisSide Program Cause;
    // names
    DnsNameNotFound "dns-name-not-found" "The name does not exist"
        Names Name Cause, explains UNREACHED;
    DnsNoAddress "dns-no-address" "The name has no address"
        Names Name Cause, explains UNREACHED;
    DnsZoneFailing "dns-zone-failing" "The zone's name servers fail"
        Names Name Cause, explains UNREACHED;
    DnsNoWildcard "dns-no-wildcard" "Handles have no DNS record"
        Names Name Cause, explains HANDLE;
    DnsTxtWrongOwner "dns-txt-wrong-owner" "The handle's TXT record is at the wrong name"
        Names Name Cause, explains HANDLE_AND_TARGET;
    DnsTxtFormat "dns-txt-format" "The handle's TXT record is malformed"
        Names Name Cause, explains HANDLE_AND_TARGET;
    DnsDuplicateDidTxt "dns-duplicate-did-txt" "The handle has more than one DID record"
        Names Name Cause, explains HANDLE_AND_TARGET;
    DnsWellKnownAndTxtDisagree "dns-well-known-and-txt-disagree" "TXT record and well-known file name different DIDs"
        Names Name Cause, explains HANDLE_AND_TARGET;
    DnsTxtCreatesEmptyNonterminal "dns-txt-creates-empty-nonterminal" "The handle's TXT record hides it from the wildcard"
        Names Name Cause, explains HANDLE;
    DnsPrivateIpPublished "dns-private-ip-published" "A private address is published"
        Names Name Cause, explains UNREACHED_OR_MOVED;
    DnsStaleAaaa "dns-stale-aaaa" "The IPv6 address belongs to another server"
        Names Name Cause, explains BEHIND_OTHER_SERVER;
    DnsStaleA "dns-stale-a" "An IPv4 address belongs to another server"
        Names Name Cause, explains BEHIND_OTHER_SERVER;
    TunnelCfDnsElsewhere "tunnel-cf-dns-elsewhere" "Cloudflare Tunnel without Cloudflare DNS"
        Names Name Cause, explains UNREACHED;
    DnsDynamicIpStale "dns-dynamic-ip-stale" "The DNS record has an old address"
        Names Name Cause, explains BEHIND_OTHER_SERVER_OR_NONE;
    // reaching it
    V6InboundClosed "v6-inbound-closed" "The IPv6 address does not answer"
        Reach Network Cause, explains UNREACHED_AT_PORT;
    V6OnlyHost "v6-only-host" "The PDS has only IPv6"
        Reach Network Cause, explains ADDRESS;
    FwPortsClosed "fw-ports-closed" "Port 443 is closed to the world"
        Reach Network Cause, explains UNREACHED_AT_PORT;
    SvcNotListening "svc-not-listening" "Nothing listens on port 443"
        Reach Network Cause, explains UNREACHED_AT_PORT;
    NatCgnat "nat-cgnat" "The provider's NAT lets nobody in"
        Reach Network Cause, explains UNREACHED_BEHIND_NAT;
    PortTaken "port-taken" "Another program holds the port"
        Reach Network Cause, explains BEHIND_OTHER_SERVER_OR_NONE;
    // TLS
    TlsOndemandRefused "tls-ondemand-refused" "The server has no certificate for the name"
        Tls Tls Cause, explains BEHIND_TLS;
    TlsWildcardOneLevel "tls-wildcard-one-level" "The wildcard certificate does not reach handles"
        Tls Tls Cause, explains HANDLE;
    TlsInternalOrDefaultCa "tls-internal-or-default-ca" "The certificate is from a private CA"
        Tls Tls Cause, explains BEHIND_TLS;
    TlsPlainHttpOn443 "tls-plain-http-on-443" "Port 443 speaks plain HTTP"
        Tls Tls Cause, explains BEHIND_TLS;
    TlsHandleDomainNoCert "tls-handle-domain-no-cert" "Handle hosts have no valid certificate"
        Tls Tls Cause, explains HANDLE;
    TlsExpired "tls-expired" "The certificate has expired or soon will"
        Tls Tls Cause, explains BEHIND_TLS;
    TlsNotYetValid "tls-not-yet-valid" "The certificate is not valid yet"
        Tls Tls Cause, explains BEHIND_TLS;
    TlsWrongName "tls-wrong-name" "The certificate is for another name"
        Tls Tls Cause, explains BEHIND_TLS;
    TlsIncompleteChain "tls-incomplete-chain" "The intermediate certificate is not sent"
        Tls Tls Cause, explains BEHIND_TLS;
    TlsNoCommonCipher "tls-no-common-cipher" "The server offers only TLS of the past"
        Tls Tls Cause, explains BEHIND_TLS;
    // HTTP
    ProxyUpstreamDown "proxy-upstream-down" "The proxy cannot reach the PDS behind it"
        Http Http Cause, explains BEHIND_PROXY;
    ProxyRedirectsApi "proxy-redirects-api" "The proxy redirects API requests"
        Http Http Cause, explains BEHIND_PROXY;
    ProxyOauthRoutesMissing "proxy-oauth-routes-missing" "The proxy does not pass the OAuth routes"
        Http Http Cause, explains METADATA_AND_LOGIN;
    ProxyWsUpgradeStripped "proxy-ws-upgrade-stripped" "Relays cannot follow the PDS"
        Http Http Cause;
    HostNotAPds "host-not-a-pds" "The host is not a PDS"
        Http Http Cause, explains BEHIND_PROXY;
    HostClockSkew "host-clock-skew" "The PDS's clock is wrong"
        Http Program Cause;
    // the PDS's own machine: between its proxy and the PDS
    Port2583Vs3000 "port-2583-vs-3000" "The proxy and the PDS disagree on the port"
        Machine Http Cause, explains BEHIND_WRONG_PORT;
    ProxyWrongAddress "proxy-wrong-address" "The proxy asks at an address where the PDS does not listen"
        Machine Http Cause, explains BEHIND_WRONG_PORT;
    FwProxyToPds "fw-proxy-to-pds" "A firewall stands between the proxy and the PDS"
        Machine Http Cause, explains BEHIND_WRONG_PORT;
    // the PDS's own machine: its way out, what fails
    DnsContainerResolverDead "dns-container-resolver-dead" "The PDS cannot resolve names"
        Machine Name Cause, explains FETCH;
    DnsContainerResolverFlaky "dns-container-resolver-flaky" "The PDS's resolver is not reliable"
        Machine Name Cause, explains FETCH;
    DnsSplitHorizonSsrf "dns-split-horizon-ssrf" "The PDS's resolver gives a private address"
        Machine Name Cause, explains FETCH;
    DnsHostsFileStale "dns-hosts-file-stale" "The PDS's hosts file has another address"
        Machine Name Cause, explains FETCH;
    DnsSearchDomainHijack "dns-search-domain-hijack" "A search domain makes another name of the app's"
        Machine Name Cause, explains FETCH;
    NodeHe250ms "node-he-250ms" "Node gives up on a working connection after 250 ms"
        Machine Program Cause, explains FETCH, possible_by NO_WORKING_IPV6;
    NodeHeLostSyn "node-he-lost-syn" "Node gives up when the first packet is lost"
        Machine Program Cause, explains FETCH, possible_by NO_WORKING_IPV6;
    NodeIpv4firstNotEnough "node-ipv4first-not-enough" "--dns-result-order=ipv4first alone does not help"
        Machine Program Cause, explains TIMER_AND_FETCH, possible_by NO_WORKING_IPV6;
    NodeNoautoselectBackfires "node-noautoselect-backfires" "--no-network-family-autoselection alone does harm"
        Machine Program Cause, explains TIMER_AND_FETCH, possible_by IPV6_INTO_A_HOLE;
    NodeOptionsNotApplied "node-options-not-applied" "The NODE_OPTIONS meant are not in effect"
        Machine Program Cause, explains OPTIONS_AND_FETCH;
    VerNodeCrashesPds "ver-node-crashes-pds" "This Node crashes this PDS now and then"
        Machine Program Cause;
    V6UlaIntoHole "v6-ula-into-hole" "A private IPv6 network with a route into nowhere"
        Machine Network Cause, explains HOLE_TIMER_AND_FETCH;
    V6BlackholeEgress "v6-blackhole-egress" "IPv6 packets go out and nothing comes back"
        Machine Network Cause, explains TIMER_AND_FETCH;
    EgressTlsIntercepted "egress-tls-intercepted" "TLS of the PDS's own requests is intercepted"
        Machine Tls Cause, explains FETCH;
    MtuContainerOverTunnel "mtu-container-over-tunnel" "Large packets from the PDS get lost"
        Machine Network Cause, explains FETCH;
    EdgeBotChallengeOutbound "edge-bot-challenge-outbound" "The app's edge turns this server's address away"
        Machine Http Cause, explains FETCH;
    FwEgressClosed "fw-egress-closed" "What the PDS sends out is blocked"
        Machine Network Cause, explains FETCH;
    NatHairpin "nat-hairpin" "The PDS's machine cannot reach its own public name"
        Machine Network Cause, explains UNREACHED_FROM_HOME;
    // the PDS's own machine: its way out, what made that possible
    V6ForwardingEatsRa "v6-forwarding-eats-ra" "Forwarding makes the kernel ignore the router"
        Machine Network Condition, explains V6_ANSWERS;
    V6DefaultRoutePurged "v6-default-route-purged" "Forwarding removed the IPv6 default route"
        Machine Network Condition, explains V6_ANSWERS;
    V6NetworkdForwardingDisablesRa "v6-networkd-forwarding-disables-ra" "networkd ignores the router because it forwards"
        Machine Network Condition, explains V6_ANSWERS;
    V6RaLifetimeExpiry "v6-ra-lifetime-expiry" "The IPv6 default route runs out"
        Machine Network Condition, explains V6_ANSWERS;
    V6AcceptRaNotPersistent "v6-accept-ra-not-persistent" "accept_ra will not survive, or did not survive, a boot"
        Machine Network Condition, explains RA_AND_V6_ANSWERS;
    V6ContainerHasNone "v6-container-has-none" "The PDS's container has no IPv6"
        Machine Network Condition;
    V6ClientIpMasked "v6-client-ip-masked" "All IPv6 visitors look like one"
        Machine Network Cause;
    // OAuth
    OauthClientMetadataEgress "oauth-client-metadata-egress" "The PDS cannot fetch the app's metadata"
        Oauth Oauth Cause, explains LOGIN;
    OauthUnsupportedScope "oauth-unsupported-scope" "The PDS does not know the app's scopes"
        Oauth Oauth Cause, explains LOGIN;
    OauthDevOriginMismatch "oauth-dev-origin-mismatch" "The PDS thinks it lives at another address"
        Oauth Oauth Cause, explains BEHIND_WRONG_NAME;
    OauthMetadataInvalid "oauth-metadata-invalid" "The OAuth metadata breaks the atproto profile"
        Oauth Oauth Cause, explains DISCOVERY_AND_LOGIN;
    AppClientMetadataBroken "app-client-metadata-broken" "The app's metadata is broken for everybody"
        Oauth Oauth Cause, explains LOGIN;
    // identity
    IdDiddocEndpointMismatch "id-diddoc-endpoint-mismatch" "The DID document names another PDS"
        Identity Identity Cause, explains TARGET;
    // what is seen where no cause above explains it
    PdsUnreachable "pds-unreachable" "The PDS cannot be reached"
        Reach Network Symptom;
    AddressUnreachable "address-unreachable" "An address of the PDS does not answer"
        Reach Network Symptom;
    TlsHandshakeFails "tls-handshake-fails" "The TLS handshake fails"
        Tls Tls Symptom;
    PdsNotAnswering "pds-not-answering" "The PDS does not answer properly"
        Http Http Symptom;
    HandleUnverified "handle-unverified" "The handle cannot be verified"
        Names Identity Symptom, explains TARGET;
    TargetUnresolved "target-unresolved" "The target leads to no PDS"
        Identity Identity Symptom;
    OauthDiscoveryFails "oauth-discovery-fails" "OAuth discovery fails"
        Oauth Oauth Symptom;
    LoginParFails "login-par-fails" "Logins fail at the first step (PAR)"
        Oauth Oauth Symptom;
}

impl Code {
    /// A few words for a list.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// Is this what is seen, rather than why? Such a finding stands alone only where no cause explains it.
    pub fn is_symptom(self) -> bool {
        self.row().kind == Kind::Symptom
    }

    /// Does it lie on the PDS's own machine, its way out above all, which is seen where the PDS is?
    pub fn is_of_the_machine(self) -> bool {
        self.row().area == Area::Machine
    }

    /// What this cause makes happen, so that a finding of it is a symptom and not a second cause.
    pub fn explains(self) -> &'static [Self] {
        self.row().explains
    }

    /// The conditions that make this cause possible.
    pub fn made_possible_by(self) -> &'static [Self] {
        self.row().possible_by
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    /// Whatever a lower layer breaks is broken above, and not the other way round; but a certificate that is fetched on
    /// demand hangs on the PDS behind the proxy, and one setting of the PDS makes all its names.
    #[test]
    fn what_explains_lies_no_higher_than_what_is_explained() {
        let down = [TO_TLS_AND_ALL_ABOVE, &[Code::OauthDevOriginMismatch]].concat();
        let mut upside_down: Vec<Code> = Code::iter()
            .filter(|code| code.explains().iter().any(|above| above.row().layer < code.row().layer))
            .collect();
        upside_down.retain(|code| !down.contains(code));
        assert!(upside_down.is_empty(), "{upside_down:?}");
        for code in down {
            assert!(code.explains().iter().any(|above| above.row().layer < code.row().layer), "{code}: no exception");
        }
    }

    /// A proxy that does not lead to the PDS: it cannot ask there for which names it may fetch certificates.
    const TO_TLS_AND_ALL_ABOVE: &[Code] = &[
        Code::ProxyUpstreamDown,
        Code::ProxyRedirectsApi,
        Code::HostNotAPds,
        Code::Port2583Vs3000,
        Code::ProxyWrongAddress,
        Code::FwProxyToPds,
    ];

    /// What makes a cause possible is a condition, or fails by itself as well.
    #[test]
    fn what_makes_possible_is_no_symptom() {
        let made: Vec<Code> = Code::iter().flat_map(Code::made_possible_by).copied().collect();
        for code in &made {
            assert!(code.row().kind == Kind::Condition || !code.explains().is_empty(), "{code}");
        }
        let conditions = Code::iter().filter(|code| code.row().kind == Kind::Condition);
        let idle: Vec<Code> = conditions.filter(|code| !made.contains(code)).collect();
        assert!(idle.is_empty(), "conditions of nothing: {idle:?}");
    }

    #[test]
    fn ids_and_titles_are_each_used_once() {
        for one in [|row: &Row| row.id, |row: &Row| row.title] {
            let mut all: Vec<&str> = Code::iter().map(|code| one(code.row())).collect();
            all.sort_unstable();
            let many = all.len();
            all.dedup();
            assert_eq!(all.len(), many);
        }
    }
}
