//! Unified diffs as upstream prints them in errors: the matching of Ratcliff and Obershelp with three lines of context
//! (the algorithm of Python's difflib, which upstream's library follows).

use std::collections::HashMap;

/// Lines of context around a change.
const CONTEXT: usize = 3;
/// From so many lines on, lines that make up more than a hundredth are no anchors.
const POPULAR_FROM_LINES: usize = 200;

/// The difference of two texts, without file names; empty if there is none.
pub fn unified(left: &str, right: &str) -> String {
    let left: Vec<&str> = left.split('\n').collect();
    let right: Vec<&str> = right.split('\n').collect();
    let mut text = String::new();
    for group in groups(&changes(&left, &right)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let before = range(first.left.0, last.left.1);
        let after = range(first.right.0, last.right.1);
        text.push_str(&format!("@@ -{before} +{after} @@\n"));
        for change in &group {
            let mut lines = |sign: char, lines: &[&str]| {
                lines.iter().for_each(|line| text.push_str(&format!("{sign}{line}\n")));
            };
            if change.equal {
                lines(' ', &left[change.left.0..change.left.1]);
            } else {
                lines('-', &left[change.left.0..change.left.1]);
                lines('+', &right[change.right.0..change.right.1]);
            }
        }
    }
    text
}

/// A stretch of lines, half-open on both sides.
#[derive(Debug, Clone, Copy)]
struct Change {
    equal: bool,
    left: (usize, usize),
    right: (usize, usize),
}

fn range(start: usize, end: usize) -> String {
    match end - start {
        1 => format!("{}", start + 1),
        0 => format!("{start},0"),
        length => format!("{},{length}", start + 1),
    }
}

fn changes(left: &[&str], right: &[&str]) -> Vec<Change> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, line) in right.iter().enumerate() {
        places.entry(line).or_default().push(index);
    }
    if right.len() >= POPULAR_FROM_LINES {
        let limit = right.len() / 100 + 1;
        places.retain(|_, indices| indices.len() <= limit);
    }
    let mut blocks = Vec::new();
    let mut pending = vec![((0, left.len()), (0, right.len()))];
    while let Some((in_left, in_right)) = pending.pop() {
        let (at_left, at_right, length) = longest_match(left, right, &places, in_left, in_right);
        if length > 0 {
            blocks.push((at_left, at_right, length));
            pending.push(((in_left.0, at_left), (in_right.0, at_right)));
            pending.push(((at_left + length, in_left.1), (at_right + length, in_right.1)));
        }
    }
    blocks.sort_unstable();
    blocks.push((left.len(), right.len(), 0));
    let (mut from_left, mut from_right) = (0, 0);
    let mut list: Vec<Change> = Vec::new();
    for (at_left, at_right, length) in blocks {
        if from_left < at_left || from_right < at_right {
            list.push(Change { equal: false, left: (from_left, at_left), right: (from_right, at_right) });
        }
        (from_left, from_right) = (at_left + length, at_right + length);
        match list.last_mut() {
            Some(last) if last.equal && length > 0 && last.left.1 == at_left && last.right.1 == at_right => {
                last.left.1 = from_left;
                last.right.1 = from_right;
            }
            _ if length > 0 => {
                list.push(Change { equal: true, left: (at_left, from_left), right: (at_right, from_right) });
            }
            _ => {}
        }
    }
    list
}

fn longest_match(
    left: &[&str],
    right: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    in_left: (usize, usize),
    in_right: (usize, usize),
) -> (usize, usize, usize) {
    let (mut at_left, mut at_right, mut length) = (in_left.0, in_right.0, 0);
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for (index, line) in left.iter().enumerate().take(in_left.1).skip(in_left.0) {
        let mut next = HashMap::new();
        let indices = places.get(line).map_or(&[][..], Vec::as_slice);
        for &place in indices.iter().filter(|place| (in_right.0..in_right.1).contains(*place)) {
            let run = place.checked_sub(1).and_then(|before| lengths.get(&before)).copied().unwrap_or(0) + 1;
            next.insert(place, run);
            if run > length {
                (at_left, at_right, length) = (index + 1 - run, place + 1 - run, run);
            }
        }
        lengths = next;
    }
    while at_left > in_left.0 && at_right > in_right.0 && left[at_left - 1] == right[at_right - 1] {
        (at_left, at_right, length) = (at_left - 1, at_right - 1, length + 1);
    }
    while at_left + length < in_left.1
        && at_right + length < in_right.1
        && left[at_left + length] == right[at_right + length]
    {
        length += 1;
    }
    (at_left, at_right, length)
}

/// Cuts long equal stretches down to the context.
fn groups(changes: &[Change]) -> Vec<Vec<Change>> {
    let mut groups: Vec<Vec<Change>> = Vec::new();
    let mut group: Vec<Change> = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let mut change = *change;
        let length = change.left.1 - change.left.0;
        if change.equal && index == 0 {
            let skip = length.saturating_sub(CONTEXT);
            change.left.0 += skip;
            change.right.0 += skip;
        } else if change.equal && index + 1 == changes.len() {
            let cut = length.saturating_sub(CONTEXT);
            change.left.1 -= cut;
            change.right.1 -= cut;
        } else if change.equal && length > 2 * CONTEXT {
            let mut head = change;
            head.left.1 = head.left.0 + CONTEXT;
            head.right.1 = head.right.0 + CONTEXT;
            group.push(head);
            groups.push(std::mem::take(&mut group));
            change.left.0 = change.left.1 - CONTEXT;
            change.right.0 = change.right.1 - CONTEXT;
        }
        group.push(change);
    }
    groups.push(group);
    groups.retain(|group| group.iter().any(|change| !change.equal));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_with_context() {
        let left = "1\n2\n3\n4\n5\n6\n7\n8\n9";
        let table = [
            (left, ""),
            ("1\n2\n3\n4\nx\n6\n7\n8\n9", "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n"),
            ("2\n3\n4\n5\n6\n7\n8\n9", "@@ -1,4 +1,3 @@\n-1\n 2\n 3\n 4\n"),
            ("1\n2\n3\n4\n5\n6\n7\n8\n9\n10", "@@ -7,3 +7,4 @@\n 7\n 8\n 9\n+10\n"),
            (
                "0\n1\n2\n3\n4\n5\n6\n7\n8",
                "@@ -1,3 +1,4 @@\n+0\n 1\n 2\n 3\n@@ -6,4 +7,3 @@\n 6\n 7\n 8\n-9\n",
            ),
        ];
        for (right, expected) in table {
            assert_eq!(unified(left, right), expected);
        }
    }
}
