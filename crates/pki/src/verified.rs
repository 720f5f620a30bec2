//! Tokens whose signature was found good, so that a client's second request costs no elliptic curve. What a token says is true for
//! ever; whether it is still in force is asked anew each time, by the caller.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};

use crate::Claims;

/// Entries of one generation: at most twice as many are kept.
const GENERATION_MAX: usize = 1024;

/// SHA-256 of a whole token, its signature included: the token itself is a secret and not kept.
type Fingerprint = [u8; 32];

#[derive(Default)]
struct Generations {
    recent: HashMap<Fingerprint, Arc<Claims>>,
    older: HashMap<Fingerprint, Arc<Claims>>,
}

impl Generations {
    fn insert(&mut self, fingerprint: Fingerprint, claims: Arc<Claims>) {
        if self.recent.len() >= GENERATION_MAX {
            self.older = mem::take(&mut self.recent);
        }
        self.recent.insert(fingerprint, claims);
    }
}

/// Claims of tokens by their fingerprints, bounded: those used lately stay.
#[derive(Default)]
pub(crate) struct Verified(Mutex<Generations>);

impl Verified {
    /// The claims of a token checked before, or those that `check` finds.
    pub(crate) fn claims(&self, token: &str, check: impl FnOnce() -> Option<Claims>) -> Option<Arc<Claims>> {
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        {
            let mut kept = self.0.lock();
            if let Some(claims) = kept.recent.get(&fingerprint) {
                return Some(Arc::clone(claims));
            }
            if let Some(claims) = kept.older.remove(&fingerprint) {
                kept.insert(fingerprint, Arc::clone(&claims));
                return Some(claims);
            }
        }
        // Not under the lock: a wrong token costs its sender's time, nobody else's.
        let claims = Arc::new(check()?);
        self.0.lock().insert(fingerprint, Arc::clone(&claims));
        Some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Option<Claims> {
        Some(Claims { sub: name.into(), ..Claims::default() })
    }

    #[test]
    fn good_ones_are_checked_once_and_wrong_ones_each_time() {
        let verified = Verified::default();
        assert!(verified.claims("wrong", || None).is_none());
        assert_eq!(verified.claims("wrong", || named("a")).unwrap().sub, "a", "nothing wrong is kept");
        assert_eq!(verified.claims("wrong", || panic!("checked again")).unwrap().sub, "a");
        assert_eq!(verified.claims("wrongx", || named("b")).unwrap().sub, "b", "the whole token counts");
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let verified = Verified::default();
        verified.claims("used", || named("used"));
        for number in 0..10 * GENERATION_MAX {
            verified.claims(&number.to_string(), || named("other"));
            verified.claims("used", || panic!("forgotten after {number}"));
        }
        let kept = verified.0.lock();
        assert!(kept.recent.len() + kept.older.len() <= 2 * GENERATION_MAX);
    }
}
