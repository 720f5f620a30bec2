//! The steps from one ruleset to another, in an order that the kernel accepts within one transaction: nothing is
//! referred to before it exists, nothing is deleted while something refers to it.

use super::{Base, Data, Rule, Ruleset, Set, Value};

/// Keys and what they lead to.
pub type Elements = Vec<(Vec<Value>, Data)>;

/// One step of a transaction; all of them concern the ruleset's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Creates the table unless it exists.
    AddTable,
    /// Deletes the table and all in it.
    DeleteTable,
    /// Creates a chain.
    AddChain(String, Option<Base>),
    /// Deletes all rules of a chain.
    FlushChain(String),
    /// Deletes an empty chain.
    DeleteChain(String),
    /// Creates an empty set; its elements are added apart.
    AddSet(String, Set),
    /// Deletes a set.
    DeleteSet(String),
    /// Adds elements to a set.
    AddElements(String, Elements),
    /// Deletes elements from a set.
    DeleteElements(String, Elements),
    /// Appends a rule to a chain.
    AddRule(String, Rule),
}

/// Steps that put `new` in the place of whatever table of its name exists, at once.
pub fn replace(new: &Ruleset) -> Vec<Operation> {
    let empty = Ruleset {
        family: new.family,
        table: new.table.clone(),
        sets: Default::default(),
        chains: Default::default(),
    };
    // Deleting a table that is missing is an error, so it is created first.
    let mut operations = vec![Operation::AddTable, Operation::DeleteTable, Operation::AddTable];
    operations.extend(diff(&empty, new));
    operations
}

/// Steps from `old` to `new`, which must be the same table.
pub fn diff(old: &Ruleset, new: &Ruleset) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (name, set) in &old.sets {
        let kept = new.sets.get(name);
        let gone = set
            .elements
            .iter()
            .filter(|(key, data)| kept.is_none_or(|kept| kept.elements.get(*key) != Some(data)));
        push_elements(&mut operations, name, gone, Operation::DeleteElements);
    }
    for (name, chain) in new.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
        operations.push(Operation::AddChain(name.clone(), chain.base));
    }
    for (name, set) in new.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name)) {
        operations.push(Operation::AddSet(name.clone(), Set { elements: Default::default(), ..set.clone() }));
    }
    for (name, chain) in &old.chains {
        let same = new.chains.get(name).is_some_and(|kept| kept.rules == chain.rules);
        if !same && !chain.rules.is_empty() {
            operations.push(Operation::FlushChain(name.clone()));
        }
    }
    for (name, chain) in &new.chains {
        if old.chains.get(name).is_none_or(|former| former.rules != chain.rules) {
            operations.extend(chain.rules.iter().map(|rule| Operation::AddRule(name.clone(), rule.clone())));
        }
    }
    for (name, set) in &new.sets {
        let former = old.sets.get(name);
        let fresh = set
            .elements
            .iter()
            .filter(|(key, data)| former.is_none_or(|former| former.elements.get(*key) != Some(data)));
        push_elements(&mut operations, name, fresh, Operation::AddElements);
    }
    let gone = |name: &&String| !new.chains.contains_key(*name);
    operations.extend(old.chains.keys().filter(gone).cloned().map(Operation::DeleteChain));
    let gone = |name: &&String| !new.sets.contains_key(*name);
    operations.extend(old.sets.keys().filter(gone).cloned().map(Operation::DeleteSet));
    operations
}

fn push_elements<'a>(
    operations: &mut Vec<Operation>,
    set: &str,
    elements: impl Iterator<Item = (&'a Vec<Value>, &'a Data)>,
    make: fn(String, Elements) -> Operation,
) {
    let elements: Elements = elements.map(|(key, data)| (key.clone(), data.clone())).collect();
    if !elements.is_empty() {
        operations.push(make(set.to_owned(), elements));
    }
}
