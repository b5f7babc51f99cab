use proptest::prelude::*;

use super::*;

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// An advertisement with a prefix, an MTU, a route and a name server.
pub(in crate::inside) fn advertisement(lifetime: u16, prefix: Ipv6Addr) -> Vec<u8> {
    let mut bytes = vec![ADVERTISEMENT, 0, 0, 0, 64, 0x48];
    bytes.extend(lifetime.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend([3, 4, 64, 0xc0]);
    bytes.extend(86_400_u32.to_be_bytes());
    bytes.extend(14_400_u32.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(prefix.octets());
    bytes.extend([5, 1, 0, 0]);
    bytes.extend(1492_u32.to_be_bytes());
    bytes.extend([24, 2, 48, 0]);
    bytes.extend(u32::MAX.to_be_bytes());
    bytes.extend(&prefix.octets()[..8]);
    bytes.extend([25, 3, 0, 0]);
    bytes.extend(600_u32.to_be_bytes());
    bytes.extend(ROUTER.octets());
    bytes
}

#[test]
fn an_advertisement_is_read() {
    let prefix = "2001:db8:1::".parse().expect("an address");
    let found = parse(&advertisement(1800, prefix), ROUTER).expect("an advertisement");
    assert_eq!((found.lifetime_s, found.preference.as_str(), found.managed, found.other), (1800, "high", false, true));
    let first = &found.prefixes[0];
    assert_eq!((first.prefix.as_str(), first.on_link, first.autonomous), ("2001:db8:1::/64", true, true));
    assert_eq!((first.valid_s, first.preferred_s, found.mtu), (Some(86_400), Some(14_400), Some(1492)));
    assert_eq!((found.routes[0].prefix.as_str(), found.routes[0].lifetime_s), ("2001:db8:1::/48", None));
    assert_eq!(found.name_servers, [IpAddr::V6(ROUTER)]);
}

#[test]
fn what_did_not_come_from_this_link_is_not_valid() {
    let message = |hops, from: Ipv6Addr, bytes: Vec<u8>| valid(&Message { bytes, from, index: 1, hops });
    let good = advertisement(1800, Ipv6Addr::LOCALHOST);
    assert!(message(Some(255), ROUTER, good.clone()));
    assert!(!message(Some(64), ROUTER, good.clone()));
    assert!(!message(None, ROUTER, good.clone()));
    assert!(!message(Some(255), "2001:db8::1".parse().expect("an address"), good.clone()));
    assert!(!message(Some(255), ROUTER, good[..12].to_vec()));
    let mut endless = good;
    endless[17] = 0;
    assert_eq!(parse(&endless, ROUTER), None);
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in any::<u8>()) {
        let _ = parse(&bytes, ROUTER);
        let mut known = vec![ADVERTISEMENT, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        known.extend([[3, 5, 24, 25, kind][usize::from(kind) % 5], kind % 5]);
        known.extend(&bytes);
        let _ = parse(&known, ROUTER);
    }
}
