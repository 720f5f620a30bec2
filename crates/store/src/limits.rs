//! The limits of a request, the same for every back end (etcd's).

use std::collections::HashSet;

use crate::{Error, Operation, Result, Transaction};

/// Operations (and conditions) in one transaction.
pub const OPERATIONS_MAX: usize = 128;

/// Bytes of keys and values in one transaction.
pub const REQUEST_BYTES_MAX: usize = 1536 * 1024;

/// Refuses a transaction that etcd would refuse.
pub(crate) fn check(transaction: &Transaction) -> Result<()> {
    let operations = &transaction.operations;
    if operations.len() > OPERATIONS_MAX || transaction.conditions.len() > OPERATIONS_MAX {
        return Err(Error::TooManyOperations);
    }
    let conditions: usize = transaction.conditions.iter().map(|condition| condition.key.len()).sum();
    let bytes = |operation: &Operation| match operation {
        Operation::Put { key, value, .. } => key.len() + value.len(),
        Operation::Delete { key } => key.len(),
    };
    if conditions + operations.iter().map(bytes).sum::<usize>() > REQUEST_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    if operations.len() > 1 {
        let mut seen = HashSet::with_capacity(operations.len());
        if !operations.iter().all(|operation| seen.insert(operation.key())) {
            return Err(Error::DuplicateKey);
        }
    }
    Ok(())
}
