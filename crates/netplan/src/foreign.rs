//! Living with a firewall that is not ours: where a base chain of somebody else drops what it does not know (Docker,
//! ufw, firewalld), an accept in our own table cannot help, because every chain of a hook must let a packet pass. So a
//! rule marked with our table's name is put at the head of such chains, and taken away again.

use crate::link::TABLE_PREFIX;
use crate::nft::{Hook, Is, Rule, Side, Statement};

/// A base chain of type filter on the hooks forward, input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChain {
    /// The kernel's family number (2 ip, 10 ip6, 1 inet).
    pub family: u8,
    /// Table name.
    pub table: String,
    /// Chain name.
    pub name: String,
    /// Hook.
    pub hook: Hook,
    /// Whether packets that reach the end are dropped.
    pub drops: bool,
    /// Rules, in order.
    pub rules: Vec<ForeignRule>,
}

/// What matters of a rule in such a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRule {
    /// The kernel's handle.
    pub handle: u64,
    /// Comment, which is our mark.
    pub comment: Option<String>,
    /// Whether it drops or rejects every packet that reaches it.
    pub drops_all: bool,
}

/// A change to a foreign chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignChange {
    /// Puts a rule at the head of chain number `chain` of those observed.
    Insert {
        /// Index into the observed chains.
        chain: usize,
        /// The rule.
        rule: Rule,
    },
    /// Deletes a rule of ours.
    Delete {
        /// Index into the observed chains.
        chain: usize,
        /// The rule's handle.
        handle: u64,
    },
}

/// Whether any chain drops forwarded packets that it does not know.
pub fn drops_forwarded(chains: &[ForeignChain]) -> bool {
    chains.iter().any(|chain| chain.hook == Hook::Forward && needs_rules(chain))
}

/// What to change so that Pods can talk.
pub fn open(chains: &[ForeignChain], bridge: &str, mark: &str) -> Vec<ForeignChange> {
    let mut changes = Vec::new();
    for (index, chain) in chains.iter().enumerate() {
        let wanted = if needs_rules(chain) { accept_rules(chain.hook, bridge, mark) } else { Vec::new() };
        let ours: Vec<usize> = own_positions(chain, mark);
        let first_drop = chain.rules.iter().position(|rule| rule.drops_all).unwrap_or(usize::MAX);
        let in_place = ours.len() == wanted.len() && ours.iter().all(|position| *position < first_drop);
        if in_place {
            continue;
        }
        changes.extend(ours.iter().map(|at| delete(index, &chain.rules[*at])));
        changes.extend(wanted.into_iter().map(|rule| ForeignChange::Insert { chain: index, rule }));
    }
    changes
}

/// What to change so that nothing of ours is left.
pub fn close(chains: &[ForeignChain], mark: &str) -> Vec<ForeignChange> {
    let of_chain = |(index, chain): (usize, &ForeignChain)| -> Vec<ForeignChange> {
        own_positions(chain, mark).into_iter().map(|at| delete(index, &chain.rules[at])).collect()
    };
    chains.iter().enumerate().flat_map(of_chain).collect()
}

fn delete(chain: usize, rule: &ForeignRule) -> ForeignChange {
    ForeignChange::Delete { chain, handle: rule.handle }
}

fn needs_rules(chain: &ForeignChain) -> bool {
    let drops = chain.drops || chain.rules.iter().any(|rule| rule.drops_all);
    drops && !chain.table.starts_with(TABLE_PREFIX)
}

fn own_positions(chain: &ForeignChain, mark: &str) -> Vec<usize> {
    let ours = |rule: &ForeignRule| rule.comment.as_deref() == Some(mark);
    (0..chain.rules.len()).filter(|index| ours(&chain.rules[*index])).collect()
}

/// Plain enough that iptables (nft variant) still understands its own tables: link name, counter, accept.
fn accept_rules(hook: Hook, bridge: &str, mark: &str) -> Vec<Rule> {
    let sides: &[Side] = match hook {
        Hook::Input => &[Side::From],
        Hook::Output => &[Side::To],
        Hook::Forward => &[Side::From, Side::To],
        Hook::Prerouting | Hook::Postrouting => &[],
    };
    let rule = |side: &Side| Rule {
        statements: vec![
            Statement::Link(*side, Is::Equal, bridge.into()),
            Statement::Counter,
            Statement::Accept,
        ],
        comment: Some(mark.into()),
    };
    sides.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(hook: Hook, drops: bool, rules: &[&str]) -> ForeignChain {
        let rule = |(index, text): (usize, &&str)| ForeignRule {
            handle: index as u64 + 1,
            comment: (*text == "ours").then(|| "carob-1a2b3c4d".into()),
            drops_all: *text == "drop",
        };
        ForeignChain {
            family: 2,
            table: "filter".into(),
            name: hook.word().to_uppercase(),
            hook,
            drops,
            rules: rules.iter().enumerate().map(rule).collect(),
        }
    }

    fn check(chain: &ForeignChain, want: &[&str]) {
        let show = |change: &ForeignChange| match change {
            ForeignChange::Insert { rule, .. } => format!("insert {rule}"),
            ForeignChange::Delete { handle, .. } => format!("delete {handle}"),
        };
        let changes = open(std::slice::from_ref(chain), "cb-1a2b3c4d", "carob-1a2b3c4d");
        assert_eq!(changes.iter().map(show).collect::<Vec<_>>(), want, "{chain:?}");
    }

    const FROM: &str = "insert iifname \"cb-1a2b3c4d\" counter accept comment \"carob-1a2b3c4d\"";
    const TO: &str = "insert oifname \"cb-1a2b3c4d\" counter accept comment \"carob-1a2b3c4d\"";

    #[test]
    fn opens_what_drops() {
        check(&chain(Hook::Forward, false, &["other"]), &[]);
        check(&chain(Hook::Forward, true, &["other"]), &[FROM, TO]);
        check(&chain(Hook::Forward, false, &["other", "drop"]), &[FROM, TO]);
        check(&chain(Hook::Input, true, &[]), &[FROM]);
        check(&chain(Hook::Output, true, &[]), &[TO]);
        check(&chain(Hook::Forward, true, &["ours", "ours", "other"]), &[]);
        check(&chain(Hook::Forward, true, &["ours", "other"]), &["delete 1", FROM, TO]);
        check(&chain(Hook::Forward, true, &["drop", "ours", "ours"]), &["delete 2", "delete 3", FROM, TO]);
        check(&chain(Hook::Forward, false, &["ours", "ours"]), &["delete 1", "delete 2"]);
        let other_instance =
            ForeignChain { table: "carob-ffffffff".into(), ..chain(Hook::Forward, true, &[]) };
        check(&other_instance, &[]);
    }

    #[test]
    fn closes_only_its_own() {
        let chains = [chain(Hook::Forward, true, &["ours", "other", "ours"])];
        let want =
            [ForeignChange::Delete { chain: 0, handle: 1 }, ForeignChange::Delete { chain: 0, handle: 3 }];
        assert_eq!(close(&chains, "carob-1a2b3c4d"), want);
        assert_eq!(close(&chains, "carob-00000000"), []);
    }
}
