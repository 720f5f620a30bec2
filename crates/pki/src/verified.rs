//! Tokens whose signature was found good, so that a client's second request costs no elliptic curve. What a token says is true for
//! ever; whether it is still in force is asked anew each time, by the caller.

use std::sync::Arc;

use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use stdx::generations::Generations;

use crate::Claims;

/// Tokens of one generation: at most twice as many are kept.
const GENERATION_MAX: usize = 1024;

/// SHA-256 of a whole token, its signature included: the token itself is a secret and not kept.
type Fingerprint = [u8; 32];

/// Claims of tokens by their fingerprints, bounded: those used lately stay.
pub(crate) struct Verified(Mutex<Generations<Fingerprint, Arc<Claims>>>);

impl Default for Verified {
    fn default() -> Self {
        Self(Mutex::new(Generations::new(GENERATION_MAX)))
    }
}

impl Verified {
    /// The claims of a token checked before, or those that `check` finds.
    pub(crate) fn claims(&self, token: &str, check: impl FnOnce() -> Option<Claims>) -> Option<Arc<Claims>> {
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(claims) = self.0.lock().get(&fingerprint) {
            return Some(claims);
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
}
