//! Informers, bounded work queues, back-off and the executor that performs deciders' actions.
