//! Which addresses may be asked. A name is resolved once a connection, every address is looked at, and the
//! connection is made to one of those and no other: a name that changes its mind in between gains nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use ipnet::IpNet;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What is not the open Internet: IANA's special-purpose registries (RFC 6890 and later).
const PRIVATE: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/9",
    "ff00::/8",
];

static PRIVATE_NETS: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| PRIVATE.iter().filter_map(|net| net.parse().ok()).collect());

/// Whether an address is one of the open Internet.
pub fn is_public(address: IpAddr) -> bool {
    let inner = match address {
        IpAddr::V6(v6) => {
            let bytes = v6.octets();
            let last = IpAddr::from([bytes[12], bytes[13], bytes[14], bytes[15]]);
            // IPv4 in IPv6: mapped, and behind NAT64.
            let nat64 = bytes[..12] == [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];
            if v6.to_ipv4_mapped().is_some() || nat64 { last } else { address }
        }
        IpAddr::V4(_) => address,
    };
    !PRIVATE_NETS.iter().any(|net| net.contains(&inner))
}

/// The address of a URL that names one which may not be asked.
pub fn refused_literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    host.parse().ok().filter(|address| !is_public(*address))
}

/// Resolves to public addresses, or to nothing.
#[derive(Clone, Copy, Debug)]
pub struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            match found.iter().find(|address| !is_public(address.ip())) {
                Some(address) => {
                    Err(format!("{} is at {}, a private address", name.as_str(), address.ip()).into())
                }
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_open_internet_is_not_asked() {
        assert_eq!(PRIVATE_NETS.len(), PRIVATE.len(), "each is a network");
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "192.168.0.1",
            "172.31.255.255",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "ff02::1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "fec0::1",
            "::7f00:1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_address_in_a_url_is_looked_at_however_it_is_written() {
        for url in ["https://127.1/", "https://0x7f000001/", "https://2130706433/", "https://[::1]/"] {
            assert!(refused_literal(&url.parse().unwrap()).is_some(), "{url}");
        }
        assert_eq!(refused_literal(&"https://8.8.8.8/".parse().unwrap()), None);
    }

    #[tokio::test]
    async fn a_name_of_a_private_address_is_not_resolved() {
        let name: Name = "localhost".parse().unwrap();
        assert!(PublicOnly.resolve(name).await.err().unwrap().to_string().contains("private"));
    }
}
