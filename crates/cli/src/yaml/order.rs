//! The order of keys: natural, so that `x9` comes before `x10`.

use std::cmp::Ordering;

/// Compares two keys as go-yaml's `keyList` does.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    for at in 0..a.len().min(b.len()) {
        if a[at] == b[at] {
            continue;
        }
        return match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
            (true, true) => a[at].cmp(&b[at]),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => numbers(&a, &b, at),
        };
    }
    a.len().cmp(&b.len())
}

fn numbers(a: &[char], b: &[char], at: usize) -> Ordering {
    let mut start = 0;
    if a[at] == '0' || b[at] == '0' {
        // A zero inside a number counts by its place.
        let digits = a[..at].iter().rev().take_while(|c| c.is_ascii_digit());
        if digits.into_iter().any(|c| *c != '0') {
            start = 1;
        }
    }
    let (a_value, a_end) = number(a, at, start);
    let (b_value, b_end) = number(b, at, start);
    a_value.cmp(&b_value).then(a_end.cmp(&b_end)).then(a[at].cmp(&b[at]))
}

fn number(text: &[char], at: usize, start: u64) -> (u64, usize) {
    let mut value = start;
    let mut end = at;
    while let Some(digit) = text.get(end).and_then(|c| c.to_digit(10)) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    (value, end)
}
