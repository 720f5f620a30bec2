//! Pure placement: queue, filters, scores.
