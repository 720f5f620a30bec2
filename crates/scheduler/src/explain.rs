//! The words in which a Pod that could not be placed is told why.

use std::collections::BTreeMap;

use crate::filters::Reason;

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
pub(crate) fn nodes(node_count: usize, reasons: &BTreeMap<Reason, usize>) -> String {
    let mut parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    let list = if parts.is_empty() { String::new() } else { format!(" {}.", parts.join(", ")) };
    format!("0/{node_count} nodes are available:{list}")
}
