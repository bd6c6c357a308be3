//! Where a cluster lies: its subnet and its published ports. Pure.
//!
//! Both are looked for from a place that the name decides, so that a cluster comes back where it
//! was and two clusters rarely meet, unless the user says where. Addresses are fixed because etcd's
//! members know each other by them.

use super::name;

/// The first published ports: below the range that systems take for outgoing connections.
const FIRST_PORT: u16 = 24_000;
/// Ports of one cluster: thirty nodes and some air.
const PORTS_EACH: u16 = 32;
/// Places that can be tried.
const PLACES: u16 = 256;

/// Where a cluster lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// First three numbers of the subnet, which has 256 addresses.
    pub(crate) subnet: [u8; 3],
    /// Published port of node n is this plus n.
    pub(crate) ports: u16,
}

impl Place {
    /// The subnet.
    pub(crate) fn cidr(&self) -> String {
        let [a, b, c] = self.subnet;
        format!("{a}.{b}.{c}.0/24")
    }

    /// Address of the n-th node.
    pub(crate) fn address(&self, number: u8) -> String {
        let [a, b, c] = self.subnet;
        format!("{a}.{b}.{c}.{}", 10 + u16::from(number))
    }

    /// Whether its addresses are loopback ones of this machine, so that nothing is published.
    pub(crate) fn local(&self) -> bool {
        self.subnet[0] == 127
    }

    /// Published client port of the n-th node.
    pub(crate) fn port(&self, number: u8) -> u16 {
        self.ports + u16::from(number)
    }
}

/// Where the user wants it to lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Site {
    /// In this subnet; in the first free one when it is left out.
    pub(crate) subnet: Option<[u8; 3]>,
    /// Published port of node n is this plus n; the first free block when it is left out.
    pub(crate) ports: Option<u16>,
}

/// First three numbers of a subnet of 256 addresses; nothing for any other one.
pub(crate) fn subnet_of(cidr: &str) -> Option<[u8; 3]> {
    let numbers: Vec<u8> =
        cidr.strip_suffix(".0/24")?.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

/// What `--subnet` takes; nothing for `auto`.
///
/// # Errors
/// It is no subnet of 256 addresses that is free for private use.
pub(crate) fn parse_subnet(text: &str) -> Result<[u8; 3], String> {
    let private = |[a, b, _]: &[u8; 3]| matches!((a, b), (10, _) | (172, 16..=31) | (192, 168));
    subnet_of(text).filter(private).ok_or_else(|| {
        "not a private subnet of 256 addresses, like 10.91.7.0/24 or 192.168.50.0/24".to_owned()
    })
}

/// What `--publish-base` takes.
///
/// # Errors
/// Not every node would get a port of its own above 1023.
pub(crate) fn parse_ports(text: &str) -> Result<u16, String> {
    let base = text.parse().ok().filter(|base| (1023..=u16::MAX - PORTS_EACH).contains(base));
    base.ok_or_else(|| format!("not a port from 1023 to {}", u16::MAX - PORTS_EACH))
}

/// All subnets to try for a cluster, best first: by its name, then upward, without those that the
/// engine lists; `local` ones are loopback addresses of this machine.
pub(crate) fn subnets(cluster: &str, listed: &[String], local: bool) -> Vec<[u8; 3]> {
    let first = u16::from(name::hash(cluster));
    let [a, b] = if local { [127, 0] } else { [10, 91] };
    let all = (0..PLACES).map(|step| [a, b, ((first + step) % PLACES) as u8]);
    // Everybody's loopback addresses are in 127.0.0.
    let all = all.filter(|n| *n != [127, 0, 0]);
    all.filter(|n| !listed.iter().any(|cidr| subnet_of(cidr) == Some(*n))).collect()
}

/// All port blocks to try for a cluster, best first, without those that other clusters have.
pub(crate) fn blocks(cluster: &str, taken: &[u16]) -> Vec<u16> {
    let first = u16::from(name::hash(cluster));
    let all = (0..PLACES).map(|step| FIRST_PORT + ((first + step) % PLACES) * PORTS_EACH);
    all.filter(|base| !taken.contains(base)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_looked_for_where_its_name_says_and_taken_places_are_passed_over() {
        let first = subnets("demo", &[], false)[0];
        assert_eq!(subnets("demo", &[], false)[0], first);
        assert_eq!(subnets("demo", &[], false).len(), 256);
        let [_, _, third] = first;
        let second =
            subnets("demo", &[format!("10.91.{third}.0/24"), "172.17.0.0/16".to_owned()], false);
        assert_eq!(second[0], [10, 91, third.wrapping_add(1)]);
        assert_eq!(second.len(), 255);
        let local = subnets("demo", &[], true);
        assert!(local.len() == 255 && !local.contains(&[127, 0, 0]), "{local:?}");
        assert!(Place { subnet: local[0], ports: 1 }.local());

        let base = blocks("demo", &[])[0];
        assert_eq!((base - FIRST_PORT) % PORTS_EACH, 0);
        assert!(!blocks("demo", &[base]).contains(&base));
        assert!(blocks("demo", &[]).iter().all(|b| b + PORTS_EACH <= 32_768));
    }

    #[test]
    fn only_private_subnets_of_256_addresses_and_ports_for_every_node_are_taken() {
        assert_eq!(parse_subnet("192.168.50.0/24"), Ok([192, 168, 50]));
        for text in ["8.8.8.0/24", "172.32.0.0/24", "10.0.0.0/8", "10.91.7.0", "auto", ""] {
            assert!(parse_subnet(text).unwrap_err().starts_with("not a private subnet"), "{text}");
        }
        assert_eq!((parse_ports("1023"), parse_ports("65503")), (Ok(1023), Ok(65_503)));
        for text in ["1022", "65504", "-1", "x", ""] {
            assert_eq!(parse_ports(text).unwrap_err(), "not a port from 1023 to 65503", "{text}");
        }
    }

    #[test]
    fn a_subnet_is_read_when_it_has_256_addresses() {
        for (cidr, wanted) in [
            ("10.91.12.0/24", Some([10, 91, 12])),
            ("10.92.12.0/24", Some([10, 92, 12])),
            ("10.91.12.1.0/24", None),
            ("10.91.0.0/16", None),
            ("10.91.12.0/25", None),
            ("10.91.300.0/24", None),
            ("", None),
        ] {
            assert_eq!(subnet_of(cidr), wanted, "{cidr}");
        }
    }

    #[test]
    fn nodes_have_fixed_addresses_and_ports() {
        let place = Place { subnet: [10, 91, 12], ports: 24_032 };
        assert_eq!(place.cidr(), "10.91.12.0/24");
        assert_eq!((place.address(1), place.port(1)), ("10.91.12.11".to_owned(), 24_033));
        assert_eq!((place.address(30), place.port(30)), ("10.91.12.40".to_owned(), 24_062));
    }
}
