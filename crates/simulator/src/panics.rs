//! Panics of a run: a task that panics ends without a word where nobody waits for it, so they are noted as they happen.

use std::cell::RefCell;
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// The first panic of the run on this thread, if there is a run.
    static RUN: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

fn note(panic: &PanicHookInfo<'_>) {
    RUN.with_borrow_mut(|run| {
        if let Some(first) = run {
            first.get_or_insert_with(|| format!("a panic: {panic}"));
        }
    });
}

/// A run begins on this thread.
pub fn begin() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            note(panic);
            before(panic);
        }));
    });
    RUN.set(Some(None));
}

/// The first panic of the run on this thread.
pub fn first() -> Option<String> {
    RUN.with_borrow(|run| run.clone().flatten())
}

/// The run is through: panics from now on are not its own.
pub fn end() {
    RUN.set(None);
}
