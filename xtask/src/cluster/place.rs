//! Where a cluster lies: its subnet and its published ports. Pure.
//!
//! Both are looked for from a place that the name decides, so that a cluster comes back where it
//! was and two clusters rarely meet. Addresses are fixed because etcd's members know each other by
//! them.

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
    /// N of the subnet 10.91.N.0/24.
    pub(crate) subnet: u8,
    /// Published port of node n is this plus n.
    pub(crate) ports: u16,
}

impl Place {
    /// The subnet.
    pub(crate) fn cidr(&self) -> String {
        format!("10.91.{}.0/24", self.subnet)
    }

    /// Address of the n-th node.
    pub(crate) fn address(&self, number: u8) -> String {
        format!("10.91.{}.{}", self.subnet, 10 + u16::from(number))
    }

    /// Published client port of the n-th node.
    pub(crate) fn port(&self, number: u8) -> u16 {
        self.ports + u16::from(number)
    }
}

/// Third number of one of our subnets; nothing for a foreign one.
pub(crate) fn subnet_of(cidr: &str) -> Option<u8> {
    let (first, rest) = cidr.strip_prefix("10.91.")?.split_once('.')?;
    (rest == "0/24").then(|| first.parse().ok()).flatten()
}

/// All subnets to try for a cluster, best first: by its name, then upward, without those that the
/// engine lists.
pub(crate) fn subnets(cluster: &str, listed: &[String]) -> Vec<u8> {
    let first = u16::from(name::hash(cluster));
    let all = (0..PLACES).map(|step| ((first + step) % PLACES) as u8);
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
        let first = subnets("demo", &[])[0];
        assert_eq!(subnets("demo", &[])[0], first);
        assert_eq!(subnets("demo", &[]).len(), 256);
        let second = subnets("demo", &[format!("10.91.{first}.0/24"), "172.17.0.0/16".to_owned()]);
        assert_eq!(second[0], first.wrapping_add(1));
        assert_eq!(second.len(), 255);

        let base = blocks("demo", &[])[0];
        assert_eq!((base - FIRST_PORT) % PORTS_EACH, 0);
        assert!(!blocks("demo", &[base]).contains(&base));
        assert!(blocks("demo", &[]).iter().all(|b| b + PORTS_EACH <= 32_768));
    }

    #[test]
    fn foreign_subnets_are_not_ours() {
        for (cidr, wanted) in [
            ("10.91.12.0/24", Some(12)),
            ("10.91.0.0/16", None),
            ("10.91.12.0/25", None),
            ("10.92.12.0/24", None),
            ("10.91.300.0/24", None),
            ("", None),
        ] {
            assert_eq!(subnet_of(cidr), wanted, "{cidr}");
        }
    }

    #[test]
    fn nodes_have_fixed_addresses_and_ports() {
        let place = Place { subnet: 12, ports: 24_032 };
        assert_eq!(place.cidr(), "10.91.12.0/24");
        assert_eq!((place.address(1), place.port(1)), ("10.91.12.11".to_owned(), 24_033));
        assert_eq!((place.address(30), place.port(30)), ("10.91.12.40".to_owned(), 24_062));
    }
}
