//! Networks as they are written in the configuration: `192.0.2.0/24`, `2001:db8::/32`, or one address.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An address and how many of its first bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// IPv4 addresses as their IPv6-mapped form.
    bits: u128,
    mask: u128,
}

impl Network {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        mapped(address).to_bits() & self.mask == self.bits
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no network; write an address and a length, such as 127.0.0.1/32 or fd00::/8");
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(length) => length.parse().ok().filter(|length| *length <= most).ok_or_else(wrong)?,
        };
        let mask = u128::MAX.checked_shl(u32::from(most - length)).unwrap_or(0);
        let bits = mapped(address).to_bits();
        if bits & mask != bits {
            return Err(format!(
                "{text:?} has bits behind its length: write the network's first address, or a longer length"
            ));
        }
        Ok(Self { bits, mask })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_its_length_says() {
        for (network, inside, outside) in [
            ("127.0.0.1/32", "127.0.0.1", "127.0.0.2"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "::ffff:192.0.2.7", "::1"),
            ("fd00::/8", "fd12::1", "10.0.0.1"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{inside} in {network}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{outside} in {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_said() {
        for wrong in ["", "proxy.example.org", "10.0.0.0/33", "10.0.0.0/", "10.0.0.1/8", "fd00::/129", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong:?}");
        }
    }
}
