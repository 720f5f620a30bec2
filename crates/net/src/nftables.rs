//! nfnetlink for nftables (`linux/netfilter/nf_tables.h`): netplan's rulesets as the kernel's expressions, applied as
//! transactions; and foreign chains read back as far as they matter.

mod expression;
mod foreign;

use std::collections::BTreeMap;

use netplan::nft::{Chain, Data, DataType, Family, Field, Operation, Rule, Ruleset, Set, Value, replace};

use netplan::link::TABLE_PREFIX;
use netplan::ports::{HostPort, read_key};
use netplan::ruleset::HOST_PORT_MAPS;

use self::expression::Expressions;
use crate::netlink::{APPEND, Answer, CREATE, KernelError, Message, Socket, attributes, find, read_text};

pub use foreign::{apply_foreign, foreign_chains};

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10 << 8;
/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`.
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

// `NFT_MSG_*`.
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const DELETE_CHAIN: u16 = SUBSYSTEM | 5;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DELETE_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const DELETE_SET: u16 = SUBSYSTEM | 11;
const NEW_ELEMENTS: u16 = SUBSYSTEM | 12;
const GET_ELEMENTS: u16 = SUBSYSTEM | 13;
const DELETE_ELEMENTS: u16 = SUBSYSTEM | 14;

// `NFTA_*`, by object.
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USER_DATA: u16 = 7;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_BYTES: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_BYTES: u16 = 7;
const SET_ID: u16 = 10;
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

/// `NFT_SET_MAP`.
const SET_IS_MAP: u32 = 8;
/// `NFT_DATA_VERDICT` as a set's data type.
const TYPE_VERDICT: u32 = 0xffff_ff00;
/// `NF_ACCEPT`.
const POLICY_ACCEPT: u32 = 1;
/// `NFTNL_UDATA_RULE_COMMENT`.
const USER_DATA_COMMENT: u8 = 0;
/// Elements per message: their list must fit in one attribute.
const ELEMENTS_PER_MESSAGE: usize = 500;
/// How often a transaction is repeated that collided with another program's.
const ATTEMPTS_MAX: usize = 16;

/// What a verdict does besides accepting and dropping: `NFT_JUMP`, `NFT_GOTO`, `NFT_RETURN`.
#[derive(Debug, Clone, Copy)]
enum Verdict<'a> {
    Accept,
    Drop,
    Return,
    Jump(&'a str),
    Goto(&'a str),
}

/// Performs the steps on the ruleset's table, all or none.
pub fn transact(socket: &mut Socket, ruleset: &Ruleset, operations: &[Operation]) -> Answer {
    let messages: Vec<Message> =
        operations.iter().flat_map(|operation| operation_messages(ruleset, operation)).collect();
    transact_messages(socket, messages)
}

/// Puts the ruleset in the place of any table of its name, at once.
pub fn install(socket: &mut Socket, ruleset: &Ruleset) -> Answer {
    transact(socket, ruleset, &replace(ruleset))
}

/// Deletes the ruleset's table; a missing one is no error.
pub fn remove(socket: &mut Socket, ruleset: &Ruleset) -> Answer {
    transact(socket, ruleset, &[Operation::AddTable, Operation::DeleteTable])
}

/// Whether the table holds the rules and elements of the ruleset, by number: what is missing was deleted by somebody
/// else, and nobody changes rules in place.
pub fn is_intact(socket: &mut Socket, ruleset: &Ruleset) -> Answer<bool> {
    let family = ruleset.family.number();
    let request = header(GET_RULE, 0, family).text(RULE_TABLE, &ruleset.table);
    let rules = socket.dump(&request)?;
    let ours = |body: &&[u8]| find(body, RULE_TABLE).map(read_text).as_deref() == Some(&ruleset.table);
    let bodies = rules.iter().filter_map(|reply| reply.body.get(4..)).filter(ours);
    let mut counts = BTreeMap::<String, usize>::new();
    for body in bodies {
        *counts.entry(find(body, RULE_CHAIN).map(read_text).unwrap_or_default()).or_default() += 1;
    }
    let same = |(name, chain): (&String, &Chain)| counts.get(name).copied().unwrap_or(0) == chain.rules.len();
    if !ruleset.chains.iter().all(same) || chain_count(socket, ruleset)? != ruleset.chains.len() {
        return Ok(false);
    }
    for (name, set) in &ruleset.sets {
        let count = element_keys(socket, ruleset.family, &ruleset.table, name)?.len();
        if count != set.elements.len() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Host ports that other instances' tables lead somewhere, with the table's name.
pub fn host_ports_of_others(
    socket: &mut Socket,
    family: Family,
    own_table: &str,
) -> Answer<Vec<(String, HostPort)>> {
    let replies = socket.dump(&header(GET_TABLE, 0, family.number()))?;
    let names = replies.iter().filter_map(|reply| find(reply.body.get(4..)?, TABLE_NAME).map(read_text));
    let mut ports = Vec::new();
    for table in names.filter(|name| name.starts_with(TABLE_PREFIX) && name != own_table) {
        for map in HOST_PORT_MAPS {
            let keys = element_keys(socket, family, &table, map)?;
            ports.extend(keys.iter().filter_map(|key| Some((table.clone(), read_key(key)?))));
        }
    }
    Ok(ports)
}

fn element_keys(socket: &mut Socket, family: Family, table: &str, set: &str) -> Answer<Vec<Vec<u8>>> {
    let request =
        header(GET_ELEMENTS, 0, family.number()).text(ELEMENTS_TABLE, table).text(ELEMENTS_SET, set);
    let replies = socket.dump(&request)?;
    let lists = replies.iter().filter_map(|reply| find(reply.body.get(4..)?, ELEMENTS));
    let key = |element| find(find(element, ELEMENT_KEY)?, DATA_VALUE).map(<[u8]>::to_vec);
    Ok(lists.flat_map(attributes).filter_map(|(_, element)| key(element)).collect())
}

fn chain_count(socket: &mut Socket, ruleset: &Ruleset) -> Answer<usize> {
    let replies = socket.dump(&header(GET_CHAIN, 0, ruleset.family.number()))?;
    let bodies = replies.iter().filter_map(|reply| reply.body.get(4..));
    Ok(bodies
        .filter(|body| find(body, CHAIN_TABLE).map(read_text).as_deref() == Some(&ruleset.table))
        .count())
}

/// Sends messages as one transaction. Another program's transaction at the same moment makes the kernel refuse ours
/// (`EBUSY`, `EAGAIN`, `ERESTART`): nothing happened then, so it is simply sent again.
fn transact_messages(socket: &mut Socket, mut messages: Vec<Message>) -> Answer {
    let Some(last) = messages.pop() else { return Ok(()) };
    messages.push(last.acknowledged());
    // The batch's own messages carry the subsystem in the place of a resource id.
    let bound = [0, 0, 0, (SUBSYSTEM >> 8) as u8];
    messages.insert(0, Message::new(BATCH_BEGIN, 0, &bound));
    messages.push(Message::new(BATCH_END, 0, &bound));
    let mut attempt = 0;
    loop {
        attempt += 1;
        match socket.transact(&messages) {
            Err(error) if attempt < ATTEMPTS_MAX && is_collision(&error) => {
                tracing::debug!(%error, attempt, "nftables transaction collided, trying again");
                std::thread::yield_now();
            }
            answer => return answer,
        }
    }
}

fn is_collision(error: &KernelError) -> bool {
    use rustix::io::Errno;
    /// `ERESTART`, which no name is exported for.
    const RESTART: i32 = 85;
    error.is(Errno::BUSY) || error.is(Errno::AGAIN) || error.is(Errno::INTR) || error.code == RESTART
}

fn header(kind: u16, flags: u16, family: u8) -> Message {
    Message::new(kind, flags, &[family, 0, 0, 0])
}

fn operation_messages(ruleset: &Ruleset, operation: &Operation) -> Vec<Message> {
    let (family, table) = (ruleset.family.number(), ruleset.table.as_str());
    let start = |kind, flags| header(kind, flags, family).text(TABLE_NAME, table);
    match operation {
        Operation::AddTable => vec![start(NEW_TABLE, CREATE)],
        Operation::DeleteTable => vec![start(DELETE_TABLE, 0)],
        Operation::AddChain(name, base) => {
            let message = start(NEW_CHAIN, CREATE).text(CHAIN_NAME, name);
            let Some(base) = base else { return vec![message] };
            vec![
                message
                    .nest(CHAIN_HOOK, |hook| {
                        hook.network(HOOK_NUMBER, base.hook.number())
                            .bytes(HOOK_PRIORITY, &base.priority.to_be_bytes())
                    })
                    .text(CHAIN_TYPE, base.kind.word())
                    .network(CHAIN_POLICY, POLICY_ACCEPT),
            ]
        }
        Operation::FlushChain(name) => vec![start(DELETE_RULE, 0).text(RULE_CHAIN, name)],
        Operation::DeleteChain(name) => vec![start(DELETE_CHAIN, 0).text(CHAIN_NAME, name)],
        Operation::AddSet(name, set) => vec![set_message(ruleset, name, set)],
        Operation::DeleteSet(name) => vec![start(DELETE_SET, 0).text(SET_NAME, name)],
        Operation::AddElements(set, elements) => element_messages(ruleset, NEW_ELEMENTS, set, elements),
        Operation::DeleteElements(set, elements) => element_messages(ruleset, DELETE_ELEMENTS, set, elements),
        Operation::AddRule(chain, rule) => vec![rule_message(family, APPEND, table, chain, rule)],
    }
}

/// A rule at the end (`APPEND`) or at the head (no flag) of a chain.
fn rule_message(family: u8, flags: u16, table: &str, chain: &str, rule: &Rule) -> Message {
    let mut message = header(NEW_RULE, CREATE | flags, family)
        .text(RULE_TABLE, table)
        .text(RULE_CHAIN, chain)
        .nest(RULE_EXPRESSIONS, |list| {
            let list = Expressions::new(expression_family(family), list);
            rule.statements.iter().fold(list, Expressions::statement).finish()
        });
    if let Some(comment) = &rule.comment {
        let length = u8::try_from(comment.len() + 1).unwrap_or(u8::MAX);
        let mut data = vec![USER_DATA_COMMENT, length];
        data.extend_from_slice(comment.as_bytes());
        data.push(0);
        message = message.bytes(RULE_USER_DATA, &data);
    }
    message
}

/// Statements whose meaning depends on the family are only used in our own tables, which are of one family.
fn expression_family(number: u8) -> Family {
    if number == Family::Ipv6.number() { Family::Ipv6 } else { Family::Ipv4 }
}

fn set_message(ruleset: &Ruleset, name: &str, set: &Set) -> Message {
    let address = address_type(ruleset);
    let sizes: u32 = set.key.iter().map(|field| field_bytes(*field, address.1)).sum();
    let fields: Vec<u32> = set.key.iter().map(|field| type_number(*field, address.0)).collect();
    let mut message = header(NEW_SET, CREATE, ruleset.family.number())
        .text(SET_TABLE, &ruleset.table)
        .text(SET_NAME, name)
        .network(SET_FLAGS, if set.data == DataType::None { 0 } else { SET_IS_MAP })
        .network(SET_KEY_TYPE, concatenate(&fields))
        .network(SET_KEY_BYTES, sizes)
        .network(SET_ID, 1);
    message = match set.data {
        DataType::None => message,
        DataType::Verdict => message.network(SET_DATA_TYPE, TYPE_VERDICT),
        DataType::AddressPort => message
            .network(SET_DATA_TYPE, concatenate(&[address.0, TYPE_PORT]))
            .network(SET_DATA_BYTES, address.1 + 4),
    };
    message
}

// Type numbers that `nft` uses to show sets (its `enum datatypes`); the kernel only compares them.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
/// Bits per type in a concatenation.
const TYPE_BITS: u32 = 6;

/// Type number and size in bytes of an address.
fn address_type(ruleset: &Ruleset) -> (u32, u32) {
    match ruleset.family {
        Family::Ipv4 => (TYPE_IPV4, 4),
        Family::Ipv6 => (TYPE_IPV6, 16),
    }
}

fn concatenate(types: &[u32]) -> u32 {
    types.iter().fold(0, |number, kind| number << TYPE_BITS | kind)
}

fn type_number(field: Field, address: u32) -> u32 {
    match field {
        Field::Protocol => TYPE_PROTOCOL,
        Field::Source | Field::Destination => address,
        Field::DestinationPort => TYPE_PORT,
    }
}

fn field_bytes(field: Field, address: u32) -> u32 {
    match field {
        Field::Protocol | Field::DestinationPort => 4,
        Field::Source | Field::Destination => address,
    }
}

fn element_messages(
    ruleset: &Ruleset,
    kind: u16,
    set: &str,
    elements: &[(Vec<Value>, Data)],
) -> Vec<Message> {
    let flags = if kind == NEW_ELEMENTS { CREATE } else { 0 };
    let message = |chunk: &[(Vec<Value>, Data)]| {
        header(kind, flags, ruleset.family.number())
            .text(ELEMENTS_TABLE, &ruleset.table)
            .text(ELEMENTS_SET, set)
            .nest(ELEMENTS, |list| {
                chunk.iter().fold(list, |list, (key, data)| {
                    list.nest(LIST_ELEMENT, |element| append_element(element, key, data))
                })
            })
    };
    elements.chunks(ELEMENTS_PER_MESSAGE).map(message).collect()
}

fn append_element(element: Message, key: &[Value], data: &Data) -> Message {
    let key: Vec<u8> = key.iter().flat_map(|value| value.register_bytes()).collect();
    let element = element.nest(ELEMENT_KEY, |value| value.bytes(DATA_VALUE, &key));
    match data {
        Data::None => element,
        Data::Goto(chain) => element.nest(ELEMENT_DATA, |value| append_verdict(value, Verdict::Goto(chain))),
        Data::AddressPort(address, port) => {
            let bytes =
                [Value::Address(*address).register_bytes(), Value::Port(*port).register_bytes()].concat();
            element.nest(ELEMENT_DATA, |value| value.bytes(DATA_VALUE, &bytes))
        }
    }
}

fn append_verdict(value: Message, verdict: Verdict<'_>) -> Message {
    let (code, chain) = match verdict {
        Verdict::Accept => (1, None),
        Verdict::Drop => (0, None),
        Verdict::Return => (-5i32, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
    };
    value.nest(DATA_VERDICT, |nest| {
        let nest = nest.bytes(VERDICT_CODE, &code.to_be_bytes());
        match chain {
            Some(chain) => nest.text(VERDICT_CHAIN, chain),
            None => nest,
        }
    })
}

/// A request to delete one rule.
fn delete_rule_message(family: u8, table: &str, chain: &str, handle: u64) -> Message {
    header(DELETE_RULE, 0, family)
        .text(RULE_TABLE, table)
        .text(RULE_CHAIN, chain)
        .bytes(RULE_HANDLE, &handle.to_be_bytes())
}
