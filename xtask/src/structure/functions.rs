//! A function fits on a screen: 70 lines. The longer ones that are there are listed and may only get shorter.

use super::{Findings, Project, text};

/// Most lines of a function, from `fn` to its last brace.
const LINES_MAX: usize = 70;

/// Longer functions: file, name, lines. A row goes, or its number falls; none is added.
const LONGER: &[(&str, &str, usize)] = &[
    ("crates/e2e/tests/e2e/containers.rs", "volumes", 72),
    ("xtask/src/derive_tables/definitions.rs", "render", 79),
];

pub(super) fn check(project: &Project) -> anyhow::Result<Findings> {
    let mut found = Findings::default();
    let mut used = vec![false; LONGER.len()];
    for file in project.sources() {
        for function in functions(&text::code(&file.text)) {
            let place = format!("{}:{} {}", file.path, function.line, function.name);
            let listed =
                LONGER.iter().position(|(path, name, _)| *path == file.path && *name == function.name);
            let limit = listed.map_or(LINES_MAX, |index| LONGER[index].2);
            if let Some(index) = listed.filter(|_| function.lines > LINES_MAX) {
                used[index] = true;
            }
            if function.lines > limit {
                found
                    .breaches
                    .push(format!("{place} has {} lines (limit {limit}): split it", function.lines));
            } else if function.lines > LINES_MAX && function.lines < limit {
                found.warnings.push(format!("{place} has {} lines now: lower its row", function.lines));
            }
        }
    }
    for ((path, name, _), _) in LONGER.iter().zip(used).filter(|(_, used)| !used) {
        found.warnings.push(format!("{path} {name} is short now: delete its row in xtask's list"));
    }
    Ok(found)
}

struct Function {
    name: String,
    /// Line it starts in, from 1.
    line: usize,
    lines: usize,
}

/// All functions with bodies in code without comments and literals.
fn functions(code: &str) -> Vec<Function> {
    let bytes = code.as_bytes();
    let mut functions = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let name: String =
            code[at + 3..].chars().take_while(|own| own.is_alphanumeric() || *own == '_').collect();
        if !word || name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&bytes[at..]) {
            let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            let lines = 1 + bytes[at..at + end].iter().filter(|byte| **byte == b'\n').count();
            functions.push(Function { name, line, lines });
        }
    }
    functions
}

/// Where the body of a function ends; `None` for a declaration.
fn body_end(text: &[u8]) -> Option<usize> {
    let (mut braces, mut others) = (0u32, 0u32);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'(' | b'[' if braces == 0 => others += 1,
            b')' | b']' if braces == 0 => others = others.saturating_sub(1),
            b';' if braces == 0 && others == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured() {
        let code = "trait T { fn a(&self, b: [u8; 3]); }\npub fn long<F: Fn(u8) -> u8>(\n) -> [u8; 2] {\n{\n}\n}\nfn f() {}";
        let found: Vec<_> = functions(code).into_iter().map(|own| (own.name, own.line, own.lines)).collect();
        assert_eq!(found, [("long".into(), 2, 5), ("f".into(), 7, 1)]);
    }
}
