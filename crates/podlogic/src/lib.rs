//! Pure Pod life cycle: what to do next with a Pod's sandbox and containers, and its status.
