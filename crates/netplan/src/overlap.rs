//! Two clusters on one machine, or a cluster and the site's network, must not claim the same addresses: found before
//! anything is changed, and refused by name.

use crate::cidr::Cidr;

/// A route that exists on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub destination: Cidr,
    /// Name of the link it leads out of; empty for routes without one.
    pub link: String,
}

/// What a block is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Pods of this node.
    Pod,
    /// Services.
    Service,
}

impl Use {
    fn noun(self) -> &'static str {
        match self {
            Self::Pod => "pod CIDR",
            Self::Service => "service CIDR",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Pod => "--pod-cidr",
            Self::Service => "--service-cidr",
        }
    }
}

/// Why the blocks cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Overlap {
    /// Something else on the machine routes there.
    #[error("{} {cidr} overlaps route {} of link {}: start with another {}", .purpose.noun(), .route.destination,
        .route.link, .purpose.flag())]
    Route {
        /// What the block is for.
        purpose: Use,
        /// The block.
        cidr: Cidr,
        /// The route.
        route: Route,
    },
    /// Pods and Services share addresses.
    #[error("pod CIDR {pod} overlaps service CIDR {service}: start with another --service-cidr")]
    Blocks {
        /// Pods.
        pod: Cidr,
        /// Services.
        service: Cidr,
    },
}

/// Routes shorter than this say "everywhere else" (default routes, also split in two halves by VPNs), not "here".
const DEFAULT_ROUTE_PREFIX_MAX: u8 = 1;

/// Checks the node's blocks against each other and against the machine's routes; those of `own_link` are ours.
pub fn check(pods: &[Cidr], services: &[Cidr], routes: &[Route], own_link: &str) -> Result<(), Overlap> {
    for pod in pods {
        if let Some(service) = services.iter().find(|service| service.overlaps(pod)) {
            return Err(Overlap::Blocks { pod: *pod, service: *service });
        }
    }
    let foreign =
        |route: &&Route| route.link != own_link && route.destination.prefix() > DEFAULT_ROUTE_PREFIX_MAX;
    let pods = pods.iter().map(|cidr| (Use::Pod, cidr));
    for (purpose, cidr) in pods.chain(services.iter().map(|cidr| (Use::Service, cidr))) {
        let route = routes.iter().filter(foreign).find(|route| route.destination.overlaps(cidr));
        if let Some(route) = route {
            return Err(Overlap::Route { purpose, cidr: *cidr, route: route.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_by_name() {
        for (pod, service, route, want) in [
            ("10.42.0.0/24", "10.43.0.0/16", "0.0.0.0/0 eth0", ""),
            ("10.42.0.0/24", "10.43.0.0/16", "10.42.0.0/24 cb-own", ""),
            ("10.42.0.0/24", "10.43.0.0/16", "128.0.0.0/1 tun0", ""),
            ("10.42.0.0/24", "10.43.0.0/16", "10.44.0.0/16 eth0", ""),
            (
                "10.42.0.0/24",
                "10.43.0.0/16",
                "10.42.0.0/16 cb-other",
                "pod CIDR 10.42.0.0/24 overlaps route 10.42.0.0/16 of link cb-other: start with another --pod-cidr",
            ),
            (
                "10.42.0.0/24",
                "10.43.0.0/16",
                "10.43.7.0/24 eth1",
                "service CIDR 10.43.0.0/16 overlaps route 10.43.7.0/24 of link eth1: start with another --service-cidr",
            ),
            (
                "10.43.0.0/24",
                "10.43.0.0/16",
                "0.0.0.0/0 eth0",
                "pod CIDR 10.43.0.0/24 overlaps service CIDR 10.43.0.0/16: start with another --service-cidr",
            ),
        ] {
            let (destination, link) = route.split_once(' ').unwrap();
            let route = Route { destination: destination.parse().unwrap(), link: link.into() };
            let found = check(&[pod.parse().unwrap()], &[service.parse().unwrap()], &[route], "cb-own");
            assert_eq!(found.map_or_else(|error| error.to_string(), |()| String::new()), want);
        }
    }
}
