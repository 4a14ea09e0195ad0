//! Which addresses are nobody's on the Internet: a webhook to one of them would have the service
//! knock at doors that are open to it alone.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks of IPv4, each with what it is: the special-purpose registry of IANA.
const NETWORKS: [([u8; 4], u32, &str); 16] = [
    ([0, 0, 0, 0], 8, "an address of this network"),
    ([10, 0, 0, 0], 8, "a private address"),
    ([100, 64, 0, 0], 10, "a carrier's shared address"),
    ([127, 0, 0, 0], 8, "a loopback address"),
    ([169, 254, 0, 0], 16, "a link-local address"),
    ([172, 16, 0, 0], 12, "a private address"),
    ([192, 0, 0, 0], 24, "an address of protocols"),
    ([192, 0, 2, 0], 24, "an address of documentation"),
    ([192, 88, 99, 0], 24, "an address of a retired relay"),
    ([192, 168, 0, 0], 16, "a private address"),
    ([198, 18, 0, 0], 15, "an address of benchmarks"),
    ([198, 51, 100, 0], 24, "an address of documentation"),
    ([203, 0, 113, 0], 24, "an address of documentation"),
    ([224, 0, 0, 0], 4, "a multicast address"),
    ([255, 255, 255, 255], 32, "the broadcast address"),
    ([240, 0, 0, 0], 4, "a reserved address"),
];

/// Networks of IPv6 within those that are global.
const NETWORKS_6: [([u16; 3], u32, &str); 4] = [
    ([0x2001, 0xdb8, 0], 32, "an address of documentation"),
    ([0x3fff, 0, 0], 20, "an address of documentation"),
    ([0x2001, 0, 0], 23, "an address of protocols"),
    ([0x5f00, 0, 0], 16, "an address of routing"),
];

/// Says of an address what it is, where it is none of the Internet.
pub fn why_private(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => why_private_4(address),
        IpAddr::V6(address) => why_private_6(address),
    }
}

fn why_private_4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    let is_in = |(network, length, _): &&([u8; 4], u32, &'static str)| {
        (bits ^ u32::from_be_bytes(*network)) >> (32 - length) == 0
    };
    NETWORKS.iter().find(is_in).map(|&(_, _, what)| what)
}

fn why_private_6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    // What stands for an address of IPv4 goes there.
    let inner = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => return Some("the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => return Some("a loopback address"),
        // Mapped, compatible, and translated by NAT64.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => return why_private_4(inner(high, low)),
        [0x64, 0xff9b, 1, ..] => return Some("an address of local translation"),
        _ => {}
    }
    match segments[0] {
        0xfc00..=0xfdff => return Some("a unique local address"),
        0xfe80..=0xfebf => return Some("a link-local address"),
        0xfec0..=0xfeff => return Some("a site-local address"),
        0xff00.. => return Some("a multicast address"),
        _ => {}
    }
    let bits = address.to_bits();
    let is_in = |([first, second, third], length, _): &&([u16; 3], u32, &'static str)| {
        let network = u128::from(*first) << 112 | u128::from(*second) << 96 | u128::from(*third) << 80;
        (bits ^ network) >> (128 - length) == 0
    };
    match NETWORKS_6.iter().find(is_in) {
        Some(&(_, _, what)) => Some(what),
        None if segments[0] >> 13 == 1 => None,
        None => Some("an address that nobody was given"),
    }
}
