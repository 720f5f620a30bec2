//! Whole rulesets as text, and the steps between them.

use super::*;
use crate::nft::{Operation, diff, replace};
use crate::ports::Protocol;
use crate::ports::tests::record;

struct Given {
    records: Vec<Record>,
    services: Vec<Service>,
    guarded: bool,
}

fn api_service(endpoints: &[(&str, u16)]) -> Service {
    Service {
        name: "default/kubernetes:https".into(),
        address: "10.43.0.1".parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 443,
        endpoints: endpoints.iter().map(|(address, port)| (address.parse().unwrap(), *port)).collect(),
    }
}

fn build(given: &Given, family: Family) -> Ruleset {
    let blocks = |texts: &[&str]| -> Vec<Cidr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let wanted = Wanted {
        table: "carob-1a2b3c4d",
        bridge: "cb-1a2b3c4d",
        node_pods: &blocks(&["10.42.0.0/24", "fd00:42::/64"]),
        cluster_pods: &blocks(&["10.42.0.0/16", "fd00:42::/48"]),
        services_cidrs: &blocks(&["10.43.0.0/16", "fd00:43::/112"]),
        services: &given.services,
        records: &given.records,
        guarded: given.guarded,
    };
    ruleset(&wanted, family)
}

fn full() -> Given {
    Given {
        records: vec![
            record("a", &["10.42.0.2", "fd00:42::2"], &["tcp 8080 80", "udp 127.0.0.1:53 5353"]),
            record("b", &["10.42.0.3", "fd00:42::3"], &[]),
        ],
        services: vec![api_service(&[("192.0.2.2", 6443), ("192.0.2.3", 6443)])],
        guarded: true,
    }
}

#[test]
fn ipv4() {
    insta::assert_snapshot!(build(&full(), Family::Ipv4));
}

#[test]
fn ipv6() {
    insta::assert_snapshot!(build(&full(), Family::Ipv6));
}

#[test]
fn a_service_without_endpoints_is_refused() {
    let given = Given { records: vec![], services: vec![api_service(&[])], guarded: false };
    let rules = build(&given, Family::Ipv4);
    assert!(rules.sets["services"].elements.is_empty());
    assert!(rules.to_string().contains("ip daddr 10.43.0.0/16 reject"), "{rules}");
}

#[test]
fn changes_are_small() {
    let before = full();
    let old = build(&before, Family::Ipv4);
    assert_eq!(diff(&old, &old), [], "nothing to do");

    let mut after = full();
    after.records.push(record("c", &["10.42.0.4"], &["tcp 9090 90"]));
    insta::assert_debug_snapshot!("attach", diff(&old, &build(&after, Family::Ipv4)));

    let mut after = full();
    after.services = vec![api_service(&[("192.0.2.2", 6443)])];
    insta::assert_debug_snapshot!("endpoint_gone", diff(&old, &build(&after, Family::Ipv4)));

    let mut after = full();
    after.services.clear();
    insta::assert_debug_snapshot!("service_gone", diff(&old, &build(&after, Family::Ipv4)));
}

#[test]
fn replacing_starts_from_nothing() {
    let operations = replace(&build(&full(), Family::Ipv4));
    assert_eq!(operations[..3], [Operation::AddTable, Operation::DeleteTable, Operation::AddTable]);
}
