//! nft's writing of rulesets, for people and snapshots.

use std::fmt;

use super::{Data, DataType, Field, Is, Rule, Ruleset, Set, Side, Statement, Value};
use crate::cidr::Cidr;

impl fmt::Display for Ruleset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "table {} {} {{", self.family.word(), self.table)?;
        for (name, set) in &self.sets {
            show_set(out, name, set)?;
        }
        for (name, chain) in &self.chains {
            writeln!(out, "  chain {name} {{")?;
            if let Some(base) = &chain.base {
                let (kind, hook) = (base.kind.word(), base.hook.word());
                writeln!(out, "    type {kind} hook {hook} priority {}; policy accept;", base.priority)?;
            }
            for rule in &chain.rules {
                writeln!(out, "    {rule}")?;
            }
            writeln!(out, "  }}")?;
        }
        writeln!(out, "}}")
    }
}

fn show_set(out: &mut fmt::Formatter<'_>, name: &str, set: &Set) -> fmt::Result {
    let (word, data) = match set.data {
        DataType::None => ("set", ""),
        DataType::Verdict => ("map", " : verdict"),
        DataType::AddressPort => ("map", " : address . port"),
    };
    writeln!(out, "  {word} {name} {{")?;
    writeln!(out, "    typeof {}{data}", Joined(&set.key))?;
    for (key, data) in &set.elements {
        writeln!(out, "    {}{data}", Joined(key))?;
    }
    writeln!(out, "  }}")
}

struct Joined<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Joined<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " . " };
            write!(out, "{separator}{part}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Data {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Goto(chain) => write!(out, " : goto {chain}"),
            Self::AddressPort(address, port) => write!(out, " : {address} . {port}"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Protocol => "meta l4proto",
            Self::Source => "saddr",
            Self::Destination => "daddr",
            Self::DestinationPort => "th dport",
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(protocol) => out.write_str(protocol.name()),
            Self::Address(address) => write!(out, "{address}"),
            Self::Port(port) => write!(out, "{port}"),
        }
    }
}

impl fmt::Display for Is {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Equal => "",
            Self::Not => "!= ",
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, statement) in self.statements.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(out, "{separator}{statement}")?;
        }
        match &self.comment {
            Some(comment) => write!(out, " comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(Side::From, is, name) => write!(out, "iifname {is}\"{name}\""),
            Self::Link(Side::To, is, name) => write!(out, "oifname {is}\"{name}\""),
            Self::Address(side, is, cidr) => show_address(out, *side, *is, cidr),
            Self::DestinationLocal => out.write_str("fib daddr type local"),
            Self::Translated(is) => write!(out, "ct status {is}dnat"),
            Self::NewConnection => out.write_str("ct state new"),
            Self::IcmpRedirect => out.write_str("icmp type redirect"),
            Self::OneIn(count) => write!(out, "numgen random mod {count} 0"),
            Self::InSet(fields, set) => write!(out, "{} @{set}", Joined(fields)),
            Self::VerdictMap(fields, map) => write!(out, "{} vmap @{map}", Joined(fields)),
            Self::TranslateMap(fields, map) => write!(out, "dnat to {} map @{map}", Joined(fields)),
            Self::Translate(address, port) if address.is_ipv6() => write!(out, "dnat to [{address}]:{port}"),
            Self::Translate(address, port) => write!(out, "dnat to {address}:{port}"),
            Self::Masquerade => out.write_str("masquerade fully-random"),
            Self::Counter => out.write_str("counter"),
            Self::Jump(chain) => write!(out, "jump {chain}"),
            Self::Return => out.write_str("return"),
            Self::Accept => out.write_str("accept"),
            Self::Drop => out.write_str("drop"),
            Self::Reject => out.write_str("reject"),
        }
    }
}

fn show_address(out: &mut fmt::Formatter<'_>, side: Side, is: Is, cidr: &Cidr) -> fmt::Result {
    let word = match side {
        Side::From => "saddr",
        Side::To => "daddr",
    };
    write!(out, "{} {word} {is}{cidr}", cidr.family().word())
}
