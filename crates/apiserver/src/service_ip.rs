//! Addresses and node ports of Services: chosen when a Service is written, given back when it goes. What is taken is
//! read from the stored Services at start, so a crash loses nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use model::tree::TreeExt;
use model::{Cause, GroupResource, Status};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::objects::Objects;
use crate::routes::Served;
use crate::seams::ObjectReader;

/// A range of addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    v6: bool,
    /// Network address.
    base: u128,
    /// Addresses in the range (at most 2^20 are used of IPv6 ranges, as upstream's `/108`).
    size: u128,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
        let (v6, number, bits): (bool, u128, u32) = match address {
            IpAddr::V4(address) => (false, u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (true, u128::from(address), 128),
        };
        let host_bits = bits.checked_sub(length).filter(|bits| *bits >= 2)?;
        let size = 1u128.checked_shl(host_bits.min(20)).unwrap_or(u128::MAX);
        let base = if host_bits >= 128 { 0 } else { number >> host_bits << host_bits };
        Some(Self { v6, base, size })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (v6, number) = number(address);
        v6 == self.v6 && number > self.base && number - self.base < self.last_offset() + 1
    }

    /// The last usable offset: IPv4 broadcast is left out.
    fn last_offset(&self) -> u128 {
        if self.v6 { self.size - 1 } else { self.size - 2 }
    }

    fn address(&self, offset: u128) -> IpAddr {
        let number = self.base + offset;
        if self.v6 {
            return IpAddr::V6(Ipv6Addr::from(number));
        }
        IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)))
    }

    /// Offsets below this are kept for addresses that are asked for (upstream's `ServiceIPStaticSubrange`).
    fn dynamic_from(&self) -> u128 {
        const MIN: u128 = 16;
        const MAX: u128 = 256;
        if self.size < MIN { 1 } else { (self.size / 16).clamp(MIN, MAX) }
    }

    fn family(&self) -> &'static str {
        if self.v6 { "IPv6" } else { "IPv4" }
    }
}

fn number(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (false, u128::from(u32::from(address))),
        IpAddr::V6(address) => (true, u128::from(address)),
    }
}

#[derive(Debug, Default)]
struct Taken {
    addresses: BTreeSet<IpAddr>,
    ports: BTreeSet<(u16, String)>,
    next_address: Vec<u128>,
    next_port: u16,
}

/// What services hold.
pub struct ServiceAddresses {
    ranges: Vec<Range>,
    ports: (u16, u16),
    taken: Arc<Mutex<Taken>>,
}

/// Reserved for a write that has not happened yet; given back unless kept.
#[must_use]
pub struct Reserved {
    taken: Arc<Mutex<Taken>>,
    addresses: Vec<IpAddr>,
    ports: Vec<(u16, String)>,
    /// What the old object held and the new one does not: given back when the write happened.
    freed_addresses: Vec<IpAddr>,
    freed_ports: Vec<(u16, String)>,
}

impl Reserved {
    fn nothing(taken: &Arc<Mutex<Taken>>) -> Self {
        let taken = Arc::clone(taken);
        Self { taken, addresses: vec![], ports: vec![], freed_addresses: vec![], freed_ports: vec![] }
    }

    /// The write happened.
    pub fn keep(mut self) {
        self.addresses.clear();
        self.ports.clear();
        if !self.freed_addresses.is_empty() || !self.freed_ports.is_empty() {
            let mut taken = self.taken.lock();
            for address in &self.freed_addresses {
                taken.addresses.remove(address);
            }
            for port in &self.freed_ports {
                taken.ports.remove(port);
            }
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.addresses.is_empty() && self.ports.is_empty() {
            return;
        }
        let mut taken = self.taken.lock();
        for address in &self.addresses {
            taken.addresses.remove(address);
        }
        for port in &self.ports {
            taken.ports.remove(port);
        }
    }
}

impl ServiceAddresses {
    /// Reads what is taken.
    ///
    /// # Errors
    /// When a range is no range, or the store cannot be read.
    pub async fn open(objects: &Objects, cidrs: &[String], ports: (u16, u16)) -> Result<Self, Status> {
        let range = |text: &String| {
            Range::parse(text).ok_or_else(|| {
                Status::internal(format!("service range {text:?} is not a CIDR of four addresses or more"))
            })
        };
        let ranges: Vec<Range> = cidrs.iter().map(range).collect::<Result<_, _>>()?;
        let mut taken = Taken { next_port: ports.0, ..Taken::default() };
        taken.next_address = ranges.iter().map(Range::dynamic_from).collect();
        for service in objects.list(&GroupResource::new("", "services"), None).await? {
            taken.addresses.extend(addresses(&service));
            taken.ports.extend(node_ports(&service));
        }
        Ok(Self { ranges, ports, taken: Arc::new(Mutex::new(taken)) })
    }

    /// The first address of the primary range: that of `default/kubernetes`.
    pub fn kubernetes(&self) -> Option<IpAddr> {
        self.ranges.first().map(|range| range.address(1))
    }

    /// Gives a Service the addresses and ports it lacks; other kinds are left alone.
    ///
    /// # Errors
    /// 422 when what it asks for is taken or out of range; 500 when nothing is left.
    pub fn reserve(
        &self,
        served: &Served,
        object: &mut Value,
        old: Option<&Value>,
        _dry_run: bool,
    ) -> Result<Reserved, Status> {
        let mut reserved = Reserved::nothing(&self.taken);
        if !served.is_core("services") {
            return Ok(reserved);
        }
        if let Some(old) = old {
            keep_allocated(object, old);
        }
        let before: Vec<IpAddr> = old.map(addresses).unwrap_or_default();
        let ports_before: Vec<(u16, String)> = old.map(node_ports).unwrap_or_default();
        let mut taken = self.taken.lock();
        let outcome = self
            .reserve_addresses(&mut taken, &mut reserved, object, &before)
            .and_then(|()| self.reserve_ports(&mut taken, &mut reserved, object, &ports_before));
        drop(taken);
        outcome?;
        let (after, ports_after) = (addresses(object), node_ports(object));
        reserved.freed_addresses = before.into_iter().filter(|address| !after.contains(address)).collect();
        reserved.freed_ports = ports_before.into_iter().filter(|port| !ports_after.contains(port)).collect();
        Ok(reserved)
    }

    fn reserve_addresses(
        &self,
        taken: &mut Taken,
        reserved: &mut Reserved,
        object: &mut Value,
        before: &[IpAddr],
    ) -> Result<(), Status> {
        if object.text(&["spec", "type"]) == "ExternalName" {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                object["spec"].as_object_mut().map(|spec| spec.remove(field));
            }
            return Ok(());
        }
        let first = object.text(&["spec", "clusterIP"]).to_owned();
        let families = self.families(object);
        object.set(&["spec", "ipFamilies"], json!(families));
        if object.text(&["spec", "ipFamilyPolicy"]).is_empty() {
            let policy = if families.len() > 1 { "PreferDualStack" } else { "SingleStack" };
            object.set(&["spec", "ipFamilyPolicy"], policy);
        }
        if first == "None" {
            object.set(&["spec", "clusterIPs"], json!(["None"]));
            return Ok(());
        }
        let mut wanted: Vec<String> = object
            .items(&["spec", "clusterIPs"])
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        if wanted.is_empty() && !first.is_empty() {
            wanted.push(first);
        }
        let mut given = Vec::new();
        for (index, family) in families.iter().enumerate() {
            let address = match wanted.get(index).filter(|text| !text.is_empty()) {
                Some(text) => self.claim(taken, reserved, object, text, before)?,
                None => self.next_address(taken, reserved, family)?,
            };
            given.push(address.to_string());
        }
        object.set(&["spec", "clusterIP"], given.first().cloned().unwrap_or_default());
        object.set(&["spec", "clusterIPs"], json!(given));
        Ok(())
    }

    fn families(&self, object: &Value) -> Vec<String> {
        let asked: Vec<String> = object
            .items(&["spec", "ipFamilies"])
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let policy = object.text(&["spec", "ipFamilyPolicy"]);
        let mut families = asked;
        if families.is_empty() {
            // An address that was asked for decides.
            let own = object.text(&["spec", "clusterIP"]).parse::<IpAddr>().ok();
            let primary = own.map(|address| address.is_ipv6());
            let range = self.ranges.iter().find(|range| primary.is_none_or(|v6| v6 == range.v6));
            families.extend(range.map(|range| range.family().to_owned()));
        }
        if matches!(policy, "PreferDualStack" | "RequireDualStack") {
            let missing =
                self.ranges.iter().map(Range::family).find(|family| families.iter().all(|own| own != family));
            families.extend(missing.map(str::to_owned).filter(|_| families.len() < 2));
        }
        families
    }

    fn claim(
        &self,
        taken: &mut Taken,
        reserved: &mut Reserved,
        object: &Value,
        text: &str,
        before: &[IpAddr],
    ) -> Result<IpAddr, Status> {
        let refuse = |why: &str| {
            let message = format!("Invalid value: {}: failed to allocate IP {text}: {why}", json!([text]));
            let cause =
                Cause { reason: "FieldValueInvalid".into(), message, field: "spec.clusterIPs".into() };
            Status::invalid("", "Service", object.name(), vec![cause])
        };
        let address: IpAddr = text.parse().map_err(|_| refuse("not a valid IP address"))?;
        if before.contains(&address) {
            return Ok(address);
        }
        if !self.ranges.iter().any(|range| range.contains(address)) {
            return Err(refuse("the provided network does not match the current range"));
        }
        if !taken.addresses.insert(address) {
            return Err(refuse("provided IP is already allocated"));
        }
        reserved.addresses.push(address);
        Ok(address)
    }

    fn next_address(
        &self,
        taken: &mut Taken,
        reserved: &mut Reserved,
        family: &str,
    ) -> Result<IpAddr, Status> {
        let full = || {
            let text = format!("failed to allocate a serviceIP: range is full ({family})");
            Status::internal(text)
        };
        let (index, range) =
            self.ranges.iter().enumerate().find(|(_, range)| range.family() == family).ok_or_else(full)?;
        let (from, last) = (range.dynamic_from(), range.last_offset());
        let start = taken.next_address[index].clamp(1, last);
        // The upper part first, then what is kept for asked addresses; each address is looked at once.
        let order = (start..=last).chain(from..start).chain(1..from);
        for offset in order {
            let address = range.address(offset);
            if taken.addresses.insert(address) {
                taken.next_address[index] = if offset >= last { from } else { offset + 1 };
                reserved.addresses.push(address);
                return Ok(address);
            }
        }
        Err(full())
    }

    fn reserve_ports(
        &self,
        taken: &mut Taken,
        reserved: &mut Reserved,
        object: &mut Value,
        before: &[(u16, String)],
    ) -> Result<(), Status> {
        let name = object.name().to_owned();
        let kind = object.text(&["spec", "type"]).to_owned();
        let allocates =
            object.at(&["spec", "allocateLoadBalancerNodePorts"]).and_then(Value::as_bool).unwrap_or(true);
        let wants = kind == "NodePort" || (kind == "LoadBalancer" && allocates);
        let Some(ports) = object["spec"].get_mut("ports").and_then(Value::as_array_mut) else {
            return Ok(());
        };
        // Ports of one service may share a number when their protocols differ.
        let mut own: Vec<(u16, String)> = Vec::new();
        for (index, port) in ports.iter_mut().enumerate() {
            let protocol = match port.text(&["protocol"]) {
                "" => "TCP".to_owned(),
                text => text.to_owned(),
            };
            let asked =
                port.integer(&["nodePort"]).and_then(|number| u16::try_from(number).ok()).unwrap_or(0);
            if asked == 0 {
                if wants {
                    let number = self.next_port(taken, &protocol)?;
                    port["nodePort"] = json!(number);
                    reserved.ports.push((number, protocol.clone()));
                    own.push((number, protocol));
                }
                continue;
            }
            if kind == "ClusterIP" || kind == "ExternalName" {
                continue;
            }
            let slot = (asked, protocol);
            if before.contains(&slot) || own.contains(&slot) {
                continue;
            }
            let refuse = |why: String| {
                let message = format!("Invalid value: {asked}: {why}");
                let field = format!("spec.ports[{index}].nodePort");
                Status::invalid(
                    "",
                    "Service",
                    &name,
                    vec![Cause { reason: "FieldValueInvalid".into(), message, field }],
                )
            };
            if asked < self.ports.0 || asked > self.ports.1 {
                let (low, high) = self.ports;
                return Err(refuse(format!(
                    "provided port is not in the valid range. The range of valid ports is {low}-{high}"
                )));
            }
            if !taken.ports.insert(slot.clone()) {
                return Err(refuse("provided port is already allocated".into()));
            }
            reserved.ports.push(slot.clone());
            own.push(slot);
        }
        Ok(())
    }

    fn next_port(&self, taken: &mut Taken, protocol: &str) -> Result<u16, Status> {
        let (low, high) = self.ports;
        let start = taken.next_port.clamp(low, high);
        let free = (start..=high).chain(low..start).find(|number| {
            // A fresh number is free for every protocol.
            !["TCP", "UDP", "SCTP"].iter().any(|other| taken.ports.contains(&(*number, (*other).to_owned())))
        });
        let number = free.ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))?;
        taken.ports.insert((number, protocol.to_owned()));
        taken.next_port = if number >= high { low } else { number + 1 };
        Ok(number)
    }

    /// A Service is gone.
    pub fn release(&self, served: &Served, object: &Value) {
        if !served.is_core("services") {
            return;
        }
        let mut taken = self.taken.lock();
        for address in addresses(object) {
            taken.addresses.remove(&address);
        }
        for port in node_ports(object) {
            taken.ports.remove(&port);
        }
    }
}

/// An update that leaves out what was given to the Service keeps it (upstream's `patchAllocatedValues`).
fn keep_allocated(object: &mut Value, old: &Value) {
    let kinds = (old.text(&["spec", "type"]).to_owned(), object.text(&["spec", "type"]).to_owned());
    let has_address = |kind: &str| kind != "ExternalName";
    if has_address(&kinds.0) && has_address(&kinds.1) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let absent = match object.at(&["spec", field]) {
                None => true,
                Some(value) => value == "" || value.as_array().is_some_and(Vec::is_empty),
            };
            if let (true, Some(value)) = (absent, old.at(&["spec", field])) {
                object.set(&["spec", field], value.clone());
            }
        }
    }
    let has_port = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if !has_port(&kinds.0) || !has_port(&kinds.1) {
        return;
    }
    if let (0, Some(port)) = (
        object.integer(&["spec", "healthCheckNodePort"]).unwrap_or(0),
        old.at(&["spec", "healthCheckNodePort"]).filter(|_| needs_health_port(object)),
    ) {
        object.set(&["spec", "healthCheckNodePort"], port.clone());
    }
    let key = |port: &Value| (port.text(&["protocol"]).to_owned(), port.integer(&["port"]));
    let Some(ports) = object["spec"].get_mut("ports").and_then(Value::as_array_mut) else { return };
    for port in ports.iter_mut().filter(|port| port.integer(&["nodePort"]).unwrap_or(0) == 0) {
        let own = key(port);
        let same = old.items(&["spec", "ports"]).iter().find(|other| key(other) == own);
        if let Some(number) = same.and_then(|other| other.at(&["nodePort"])) {
            port["nodePort"] = number.clone();
        }
    }
}

fn needs_health_port(service: &Value) -> bool {
    service.text(&["spec", "type"]) == "LoadBalancer"
        && service.text(&["spec", "externalTrafficPolicy"]) == "Local"
}

fn addresses(service: &Value) -> Vec<IpAddr> {
    let all = service.items(&["spec", "clusterIPs"]).iter().filter_map(Value::as_str);
    let mut addresses: Vec<IpAddr> = all.filter_map(|text| text.parse().ok()).collect();
    if let Ok(first) = service.text(&["spec", "clusterIP"]).parse()
        && !addresses.contains(&first)
    {
        addresses.push(first);
    }
    addresses
}

fn node_ports(service: &Value) -> Vec<(u16, String)> {
    let mut ports = Vec::new();
    for port in service.items(&["spec", "ports"]) {
        let protocol = match port.text(&["protocol"]) {
            "" => "TCP",
            text => text,
        };
        if let Some(number) = port.integer(&["nodePort"]).and_then(|number| u16::try_from(number).ok())
            && number > 0
        {
            ports.push((number, protocol.to_owned()));
        }
    }
    if let Some(number) =
        service.integer(&["spec", "healthCheckNodePort"]).and_then(|n| u16::try_from(n).ok())
        && number > 0
    {
        ports.push((number, "TCP".into()));
    }
    ports
}
