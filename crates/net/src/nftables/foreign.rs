//! Base chains of other programs: read as far as it takes to see whether they drop what they do not know, and opened
//! by a marked rule (see `netplan::foreign`).

use netplan::foreign::{ForeignChain, ForeignChange, ForeignRule};
use netplan::nft::Hook;

use super::{
    CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TABLE, CHAIN_TYPE, DATA_VERDICT, GET_CHAIN, GET_RULE,
    HOOK_NUMBER, LIST_ELEMENT, RULE_CHAIN, RULE_EXPRESSIONS, RULE_HANDLE, RULE_TABLE, RULE_USER_DATA,
    USER_DATA_COMMENT, VERDICT_CODE, delete_rule_message, header, rule_message, transact_messages,
};
use crate::netlink::{
    Answer, Message, Socket, attributes, find, read_network_u32, read_network_u64, read_text,
};

/// Families whose chains see IP packets: `NFPROTO_INET`, `NFPROTO_IPV4`, `NFPROTO_IPV6`.
const FAMILIES: [u8; 3] = [1, 2, 10];

/// Expressions that neither match nor decide.
const PASSIVE: [&str; 2] = ["counter", "log"];

/// Lists the filter chains on the hooks input, forward and output, with their rules.
pub fn foreign_chains(socket: &mut Socket) -> Answer<Vec<ForeignChain>> {
    let replies = socket.dump(&header(GET_CHAIN, 0, 0))?;
    let mut chains: Vec<ForeignChain> = replies.iter().filter_map(|reply| read_chain(&reply.body)).collect();
    for chain in &mut chains {
        let request =
            header(GET_RULE, 0, chain.family).text(RULE_TABLE, &chain.table).text(RULE_CHAIN, &chain.name);
        let replies = socket.dump(&request)?;
        let rules = replies.iter().filter_map(|reply| read_rule(&reply.body, chain));
        chain.rules = rules.collect();
    }
    Ok(chains)
}

/// Performs the changes as one transaction.
pub fn apply_foreign(socket: &mut Socket, chains: &[ForeignChain], changes: &[ForeignChange]) -> Answer {
    let message = |change: &ForeignChange| -> Option<Message> {
        Some(match change {
            ForeignChange::Insert { chain, rule } => {
                let chain = chains.get(*chain)?;
                rule_message(chain.family, 0, &chain.table, &chain.name, rule)
            }
            ForeignChange::Delete { chain, handle } => {
                let chain = chains.get(*chain)?;
                delete_rule_message(chain.family, &chain.table, &chain.name, *handle)
            }
        })
    };
    transact_messages(socket, changes.iter().filter_map(message).collect())
}

fn read_chain(body: &[u8]) -> Option<ForeignChain> {
    let family = *body.first()?;
    let rest = body.get(4..)?;
    let hook = find(find(rest, CHAIN_HOOK)?, HOOK_NUMBER).and_then(read_network_u32)?;
    let hook = *Hook::ALL.get(hook as usize)?;
    let wanted = matches!(hook, Hook::Input | Hook::Forward | Hook::Output);
    if !wanted || !FAMILIES.contains(&family) || find(rest, CHAIN_TYPE).map(read_text)? != "filter" {
        return None;
    }
    Some(ForeignChain {
        family,
        table: find(rest, CHAIN_TABLE).map(read_text)?,
        name: find(rest, CHAIN_NAME).map(read_text)?,
        hook,
        drops: find(rest, CHAIN_POLICY).and_then(read_network_u32) == Some(0),
        rules: Vec::new(),
    })
}

fn read_rule(body: &[u8], chain: &ForeignChain) -> Option<ForeignRule> {
    let rest = body.get(4..)?;
    let text = |kind| find(rest, kind).map(read_text);
    if text(RULE_TABLE)? != chain.table || text(RULE_CHAIN)? != chain.name {
        return None;
    }
    Some(ForeignRule {
        handle: find(rest, RULE_HANDLE).and_then(read_network_u64)?,
        comment: find(rest, RULE_USER_DATA).and_then(read_comment),
        drops_all: find(rest, RULE_EXPRESSIONS).is_some_and(drops_all),
    })
}

/// User data is a list of type, length (one byte each) and value.
fn read_comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == USER_DATA_COMMENT {
            return Some(read_text(value));
        }
        data = rest.get(usize::from(*length)..)?;
    }
    None
}

/// Whether a rule has no condition and drops or rejects.
fn drops_all(expressions: &[u8]) -> bool {
    let mut drops = false;
    for (kind, element) in attributes(expressions) {
        let name = find(element, 1).map(read_text).unwrap_or_default();
        if kind != LIST_ELEMENT || PASSIVE.contains(&name.as_str()) {
            continue;
        }
        match name.as_str() {
            "reject" => drops = true,
            // A target of iptables: its name comes first.
            "target" => {
                let target = find(element, 2).and_then(|data| find(data, 1)).map(read_text);
                match target.as_deref() {
                    Some("REJECT" | "DROP") => drops = true,
                    Some("LOG" | "NFLOG") => {}
                    _ => return false,
                }
            }
            "immediate" => {
                let verdict =
                    find(element, 2).and_then(|data| find(data, 2)).and_then(|data| find(data, DATA_VERDICT));
                let code = verdict.and_then(|verdict| find(verdict, VERDICT_CODE)).and_then(read_network_u32);
                if code != Some(0) {
                    return false;
                }
                drops = true;
            }
            _ => return false,
        }
    }
    drops
}
