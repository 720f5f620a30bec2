//! Randomness as an argument: from the machine, or from a seed so that a run can be repeated.

use std::sync::Arc;

use parking_lot::Mutex;
use ring::rand::SecureRandom;

/// A source of random bytes. Cheap to clone.
#[derive(Clone)]
pub struct Entropy(Source);

#[derive(Clone)]
enum Source {
    System(Arc<ring::rand::SystemRandom>),
    Seeded(Arc<Mutex<u64>>),
}

/// Letters of generated names: upstream's, without vowels and look-alikes, so that no words come out.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

impl Entropy {
    /// The machine's source, fit for secrets.
    pub fn system() -> Self {
        Self(Source::System(Arc::new(ring::rand::SystemRandom::new())))
    }

    /// A repeatable source (splitmix64), for tests and simulation only.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(seed))))
    }

    /// Fills a buffer.
    ///
    /// # Panics
    /// When the kernel's random source fails: nothing secure can be done then.
    pub fn fill(&self, buffer: &mut [u8]) {
        match &self.0 {
            Source::System(random) => random.fill(buffer).expect("the kernel's random source failed"),
            Source::Seeded(state) => {
                let mut state = state.lock();
                for chunk in buffer.chunks_mut(8) {
                    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut word = *state;
                    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    word ^= word >> 31;
                    let length = chunk.len();
                    chunk.copy_from_slice(&word.to_le_bytes()[..length]);
                }
            }
        }
    }

    /// A random number.
    pub fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random number below `bound` (which must not be 0).
    pub fn below(&self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// A random version 4 UUID in its usual writing.
    pub fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// `length` random lower-case hex digits.
    pub fn hex(&self, length: usize) -> String {
        let mut bytes = vec![0; length.div_ceil(2)];
        self.fill(&mut bytes);
        let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.truncate(length);
        text
    }

    /// `length` letters and digits as upstream appends them to `generateName`.
    pub fn name_suffix(&self, length: usize) -> String {
        let letter = || NAME_LETTERS[usize::try_from(self.below(NAME_LETTERS.len() as u64)).unwrap_or(0)];
        (0..length).map(|_| char::from(letter())).collect()
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self.0 {
            Source::System(_) => "Entropy(system)",
            Source::Seeded(_) => "Entropy(seeded)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats() {
        assert_eq!(Entropy::seeded(7).uuid(), Entropy::seeded(7).uuid());
        assert_ne!(Entropy::seeded(7).uuid(), Entropy::seeded(8).uuid());
        assert_eq!(Entropy::seeded(1).name_suffix(5).len(), 5);
    }
}
