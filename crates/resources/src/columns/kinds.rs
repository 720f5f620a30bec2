//! Every kind's printer, by file.

use super::Printer;

/// All printers.
pub(super) const ALL: &[&[Printer]] = &[
    super::pod::PRINTERS,
    super::node::PRINTERS,
    super::event::PRINTERS,
    super::service::PRINTERS,
    super::workload::PRINTERS,
    super::autoscaler::PRINTERS,
    super::config::PRINTERS,
    super::storage::PRINTERS,
    super::cluster::PRINTERS,
    super::devices::PRINTERS,
];
