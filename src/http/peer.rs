//! The client's address: that of the connection, or what proxies that are trusted say of it.
//!
//! `X-Forwarded-For` can be written by anyone. It is read from its end, where the nearest proxy wrote, and
//! only as long as each hop is one of ours; without trusted proxies it is not read at all.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::app::AppState;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of a connection; once the guard has looked, the client's.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

impl Default for Peer {
    fn default() -> Self {
        Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

impl FromRequestParts<AppState> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_default())
    }
}

/// Networks of proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Networks or addresses, separated by commas.
    pub fn parse(list: &str) -> Option<Self> {
        let network = |text: &str| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let items = list.split(',').map(str::trim).filter(|text| !text.is_empty());
        items.map(network).collect::<Option<_>>().map(Self)
    }

    /// Whether the address is one of the proxies'.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whose request it is.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if self.0.is_empty() {
            return client;
        }
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        while self.trusts(client) {
            let Some(hop) = hops.next().and_then(address) else { break };
            client = hop.to_canonical();
        }
        client
    }
}

/// With or without a port, IPv6 with or without brackets.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

/// What is counted as one client: an IPv4 address, or the /56 that an IPv6 line commonly has all of.
pub fn counted(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d & 0xff00, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &str, peer: &str, lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, axum::http::HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        Proxies::parse(proxies).unwrap().client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        assert_eq!(client("", "9.9.9.9", &["1.1.1.1"]), "9.9.9.9");
        assert_eq!(client("10.0.0.0/8", "9.9.9.9", &["1.1.1.1"]), "9.9.9.9");
    }

    #[test]
    fn the_last_hop_that_is_not_ours_is_the_client() {
        let ours = "10.0.0.0/8, ::1";
        assert_eq!(
            client(ours, "10.0.0.1", &["6.6.6.6, 1.1.1.1"]),
            "1.1.1.1",
            "what he wrote himself is left"
        );
        assert_eq!(client(ours, "10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.7"]), "1.1.1.1");
        assert_eq!(client(ours, "10.0.0.1", &["6.6.6.6", "1.1.1.1:5000"]), "1.1.1.1");
        assert_eq!(client(ours, "::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client(ours, "::1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(
            client(ours, "10.0.0.1", &["\u{ff}, 1.1.1.1"]),
            "1.1.1.1",
            "what is before it may be anything"
        );
        assert_eq!(client(ours, "10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(client(ours, "::ffff:10.0.0.1", &["1.1.1.1"]), "1.1.1.1");
        assert_eq!(client(ours, "10.0.0.1", &[]), "10.0.0.1");
        assert!(Proxies::parse("10.0.0.0/33").is_none());
    }

    #[test]
    fn one_customers_addresses_are_one_client() {
        let of = |text: &str| counted(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:12:3:4:5:6"), "2001:db8:1::");
        assert_eq!(of("2001:db8:1:1ff:3:4:5:6"), "2001:db8:1:100::");
        assert_eq!(of("::ffff:1.2.3.4"), "1.2.3.4");
    }
}
