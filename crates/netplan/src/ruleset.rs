//! The packet rules wanted, from what is attached and which Services there are: one [`Ruleset`] per family.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cidr::Cidr;
use crate::nft::{
    Base, Chain, ChainKind, Data, DataType, Family, Field, Hook, Is, Rule, Ruleset, Set, Side, Statement,
    Value,
};
use crate::ports;
use crate::record::Record;
use crate::service::Service;

/// Everything the packet rules depend on.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Table name.
    pub table: &'a str,
    /// Bridge name.
    pub bridge: &'a str,
    /// This node's Pod blocks.
    pub node_pods: &'a [Cidr],
    /// The whole cluster's Pod blocks: no masquerading among them.
    pub cluster_pods: &'a [Cidr],
    /// Service blocks: what is not translated is refused instead of leaving the machine.
    pub services_cidrs: &'a [Cidr],
    /// Services.
    pub services: &'a [Service],
    /// Attached sandboxes.
    pub records: &'a [Record],
    /// Whether a foreign firewall that drops forwarded packets was opened for the bridge; then the intent of that
    /// firewall (nobody comes in uninvited) is kept here.
    pub guarded: bool,
}

// Names of sets and chains; part of what `nft list` shows.
const SERVICES: &str = "services";
const HOST_PORTS: &str = "host-ports";
const HOST_PORTS_AT: &str = "host-ports-at";
/// The maps that hold host ports, by which instances know each other's.
pub const HOST_PORT_MAPS: [&str; 2] = [HOST_PORTS, HOST_PORTS_AT];
const HAIRPIN: &str = "hairpin";
const DESTINATIONS: &str = "destinations";

/// `NF_IP_PRI_RAW`: before connection tracking.
const PRIORITY_RAW: i32 = -300;
/// `NF_IP_PRI_NAT_DST`.
const PRIORITY_DESTINATION: i32 = -100;
/// `NF_IP_PRI_FILTER`.
const PRIORITY_FILTER: i32 = 0;
/// `NF_IP_PRI_NAT_SRC`.
const PRIORITY_SOURCE: i32 = 100;

/// The rules of one family.
pub fn ruleset(wanted: &Wanted<'_>, family: Family) -> Ruleset {
    let mut chains = BTreeMap::from([
        (DESTINATIONS.into(), Chain { base: None, rules: destinations(family) }),
        ("prerouting".into(), nat(Hook::Prerouting, PRIORITY_DESTINATION, vec![jump(DESTINATIONS)])),
        ("output".into(), nat(Hook::Output, PRIORITY_DESTINATION, vec![jump(DESTINATIONS)])),
        ("postrouting".into(), nat(Hook::Postrouting, PRIORITY_SOURCE, postrouting(wanted, family))),
        ("guard".into(), filter(Hook::Prerouting, PRIORITY_RAW, guard(wanted, family))),
        ("forward-filter".into(), filter(Hook::Forward, PRIORITY_FILTER, forward(wanted, family))),
        ("output-filter".into(), filter(Hook::Output, PRIORITY_FILTER, output(wanted, family))),
    ]);
    let services = wanted.services.iter().filter(|service| Family::of(service.address) == family);
    let mut service_elements = BTreeMap::new();
    for service in services {
        let rules = service_rules(service);
        if rules.is_empty() {
            continue;
        }
        let name = service_chain(service);
        let key = vec![
            Value::Protocol(service.protocol),
            Value::Address(service.address),
            Value::Port(service.port),
        ];
        service_elements.insert(key, Data::Goto(name.clone()));
        chains.insert(name, Chain { base: None, rules });
    }
    Ruleset { family, table: wanted.table.into(), sets: sets(wanted, family, service_elements), chains }
}

fn sets(wanted: &Wanted<'_>, family: Family, services: BTreeMap<Vec<Value>, Data>) -> BTreeMap<String, Set> {
    let (mut anywhere, mut at_address) = (BTreeMap::new(), BTreeMap::new());
    for (port, (address, to)) in ports::targets(wanted.records, family) {
        let (protocol, number) = (Value::Protocol(port.protocol), Value::Port(port.port));
        let data = Data::AddressPort(address, to);
        match port.address {
            Some(host) => at_address.insert(vec![protocol, Value::Address(host), number], data),
            None => anywhere.insert(vec![protocol, number], data),
        };
    }
    let full_key = || vec![Field::Protocol, Field::Destination, Field::DestinationPort];
    BTreeMap::from([
        (SERVICES.into(), Set { key: full_key(), data: DataType::Verdict, elements: services }),
        (HOST_PORTS_AT.into(), Set { key: full_key(), data: DataType::AddressPort, elements: at_address }),
        (
            HOST_PORTS.into(),
            Set {
                key: vec![Field::Protocol, Field::DestinationPort],
                data: DataType::AddressPort,
                elements: anywhere,
            },
        ),
        (
            HAIRPIN.into(),
            Set {
                key: vec![Field::Source, Field::Destination],
                data: DataType::None,
                elements: hairpin(wanted, family),
            },
        ),
    ])
}

/// A Pod that reaches itself through a translated address must see the answer come from elsewhere, or it would drop
/// it: pairs of equal source and destination are masqueraded.
fn hairpin(wanted: &Wanted<'_>, family: Family) -> BTreeMap<Vec<Value>, Data> {
    let with_ports = wanted.records.iter().filter(|record| !record.port_mappings.is_empty());
    let from_ports = with_ports.flat_map(|record| record.addresses.iter().copied());
    let from_services =
        wanted.services.iter().flat_map(|service| service.endpoints.iter().map(|(address, _)| *address));
    from_ports
        .chain(from_services)
        .filter(|address| Family::of(*address) == family)
        .map(|address| (vec![Value::Address(address), Value::Address(address)], Data::None))
        .collect()
}

fn destinations(family: Family) -> Vec<Rule> {
    let full_key = || vec![Field::Protocol, Field::Destination, Field::DestinationPort];
    let mut rules = vec![Rule::new([Statement::VerdictMap(full_key(), SERVICES.into())])];
    if family == Family::Ipv6 {
        // The kernel never routes packets from ::1 to a link: refuse at once rather than time out.
        let loopback = Cidr::single(Ipv6Addr::LOCALHOST.into());
        rules.push(Rule::new([Statement::Address(Side::To, Is::Equal, loopback), Statement::Return]));
    }
    rules.push(Rule::new([
        Statement::DestinationLocal,
        Statement::TranslateMap(full_key(), HOST_PORTS_AT.into()),
    ]));
    rules.push(Rule::new([
        Statement::DestinationLocal,
        Statement::TranslateMap(vec![Field::Protocol, Field::DestinationPort], HOST_PORTS.into()),
    ]));
    rules
}

fn postrouting(wanted: &Wanted<'_>, family: Family) -> Vec<Rule> {
    let to_bridge = |is| Statement::Link(Side::To, is, wanted.bridge.into());
    let mut rules = vec![Rule::new([
        Statement::InSet(vec![Field::Source, Field::Destination], HAIRPIN.into()),
        Statement::Masquerade,
    ])];
    if family == Family::Ipv4 {
        // A host port asked for at 127.0.0.1: the Pod cannot answer to that address.
        rules.push(Rule::new([
            to_bridge(Is::Equal),
            Statement::Address(Side::From, Is::Equal, loopback()),
            Statement::Masquerade,
        ]));
    }
    for pods in of_family(wanted.node_pods, family) {
        let mut statements = vec![Statement::Address(Side::From, Is::Equal, pods), to_bridge(Is::Not)];
        let inside = of_family(wanted.cluster_pods, family).filter(|cluster| !pods.contains_block(cluster));
        let kept: Vec<Cidr> = [multicast(family), pods].into_iter().chain(inside).collect();
        statements.extend(kept.into_iter().map(|block| Statement::Address(Side::To, Is::Not, block)));
        statements.push(Statement::Masquerade);
        rules.push(Rule::new(statements));
    }
    rules
}

/// Routing to 127.0.0.0/8 is allowed on the bridge for host ports' sake; Pods must not use it to reach what listens on
/// the host's loopback only (CVE-2020-8558).
fn guard(wanted: &Wanted<'_>, family: Family) -> Vec<Rule> {
    if family == Family::Ipv6 {
        return Vec::new();
    }
    vec![Rule::new([
        Statement::Link(Side::From, Is::Equal, wanted.bridge.into()),
        Statement::Address(Side::To, Is::Equal, loopback()),
        Statement::Drop,
    ])]
}

fn forward(wanted: &Wanted<'_>, family: Family) -> Vec<Rule> {
    let mut rules = refuse_services(wanted, family);
    if wanted.guarded {
        let mut statements = vec![
            Statement::Link(Side::To, Is::Equal, wanted.bridge.into()),
            Statement::Link(Side::From, Is::Not, wanted.bridge.into()),
        ];
        let cluster = of_family(wanted.cluster_pods, family);
        statements.extend(cluster.map(|block| Statement::Address(Side::From, Is::Not, block)));
        statements.extend([Statement::NewConnection, Statement::Translated(Is::Not), Statement::Drop]);
        rules.push(Rule::new(statements));
    }
    rules
}

fn output(wanted: &Wanted<'_>, family: Family) -> Vec<Rule> {
    let mut rules = refuse_services(wanted, family);
    // Pods reach each other through the host so that every packet is tracked; it must not tell them of a shorter way.
    rules.push(Rule::new([
        Statement::Link(Side::To, Is::Equal, wanted.bridge.into()),
        Statement::IcmpRedirect,
        Statement::Drop,
    ]));
    rules
}

/// What is addressed to a Service without endpoints, or to none, is refused (upstream's answer, too).
fn refuse_services(wanted: &Wanted<'_>, family: Family) -> Vec<Rule> {
    of_family(wanted.services_cidrs, family)
        .map(|block| Rule::new([Statement::Address(Side::To, Is::Equal, block), Statement::Reject]))
        .collect()
}

/// Every endpoint with the same likelihood: one in n, else one in n-1, … else the last.
fn service_rules(service: &Service) -> Vec<Rule> {
    let family = Family::of(service.address);
    let mut endpoints: Vec<(IpAddr, u16)> =
        service.endpoints.iter().copied().filter(|(address, _)| Family::of(*address) == family).collect();
    endpoints.sort();
    endpoints.dedup();
    let count = endpoints.len();
    let rule = |(index, (address, port))| {
        let left = u32::try_from(count - index).unwrap_or(u32::MAX);
        let chance = (left > 1).then_some(Statement::OneIn(left));
        Rule::new(chance.into_iter().chain([Statement::Translate(address, port)]))
    };
    endpoints.into_iter().enumerate().map(rule).collect()
}

/// `service-tcp-10.43.0.1-443`; colons are no part of nft's names.
fn service_chain(service: &Service) -> String {
    let address = service.address.to_string().replace(':', "-");
    format!("service-{}-{address}-{}", service.protocol.name(), service.port)
}

fn of_family(blocks: &[Cidr], family: Family) -> impl Iterator<Item = Cidr> {
    blocks.iter().copied().filter(move |block| block.family() == family)
}

fn block(address: IpAddr, prefix: u8) -> Cidr {
    Cidr::new(address, prefix).unwrap_or(Cidr::single(address))
}

fn loopback() -> Cidr {
    block(Ipv4Addr::LOCALHOST.into(), 8)
}

fn multicast(family: Family) -> Cidr {
    match family {
        Family::Ipv4 => block(Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        Family::Ipv6 => block(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    }
}

fn jump(chain: &str) -> Rule {
    Rule::new([Statement::Jump(chain.into())])
}

fn nat(hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { base: Some(Base { kind: ChainKind::Nat, hook, priority }), rules }
}

fn filter(hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain { base: Some(Base { kind: ChainKind::Filter, hook, priority }), rules }
}

#[cfg(test)]
mod tests;
