//! Rust text without its comments and literals, line for line: enough to find words and braces that are code.

/// The text with every character of comments and of string and character literals replaced by a space.
pub(super) fn code(text: &str) -> String {
    let mut blank = Blanker { bytes: text.as_bytes(), at: 0, code: Vec::with_capacity(text.len()) };
    while blank.at < blank.bytes.len() {
        blank.step();
    }
    // Blanked by byte, so that only whole ASCII is left; anything else was in names, which stay.
    String::from_utf8_lossy(&blank.code).into_owned()
}

struct Blanker<'a> {
    bytes: &'a [u8],
    at: usize,
    code: Vec<u8>,
}

impl Blanker<'_> {
    fn step(&mut self) {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(b"//") {
            let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            self.blank(length);
        } else if rest.starts_with(b"/*") {
            self.blank(block_comment(rest));
        } else if let Some(length) = raw_string(rest).filter(|_| !self.after_name()) {
            self.blank(length);
        } else if rest[0] == b'"' {
            self.blank(quoted(rest, b'"'));
        } else if rest[0] == b'\'' && is_character(rest) {
            self.blank(quoted(rest, b'\''));
        } else {
            self.code.push(rest[0]);
            self.at += 1;
        }
    }

    /// Whether the byte before belongs to a name: then `r"` is not the start of a raw string.
    fn after_name(&self) -> bool {
        self.at > 0 && (self.bytes[self.at - 1].is_ascii_alphanumeric() || self.bytes[self.at - 1] == b'_')
    }

    fn blank(&mut self, length: usize) {
        for byte in &self.bytes[self.at..self.at + length] {
            self.code.push(if *byte == b'\n' { b'\n' } else { b' ' });
        }
        self.at += length;
    }
}

/// Length of a block comment, which may hold others.
fn block_comment(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of a raw string (`r"…"`, `br#"…"#`), if one starts here.
fn raw_string(text: &[u8]) -> Option<usize> {
    let start = if text.starts_with(b"br") || text.starts_with(b"cr") {
        2
    } else {
        usize::from(text.starts_with(b"r"))
    };
    let hashes = text[start..].iter().take_while(|byte| **byte == b'#').count();
    if start == 0 || text.get(start + hashes) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let body = start + hashes + 1;
    let length = text[body..].windows(end.len()).position(|window| window == end);
    Some(length.map_or(text.len(), |length| body + length + end.len()))
}

/// Length of a literal with escapes.
fn quoted(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Whether a quote starts a character and not a lifetime.
fn is_character(text: &[u8]) -> bool {
    match text.get(1) {
        Some(b'\\') => true,
        // Any one character: its UTF-8 form ends before the closing quote.
        Some(byte) if *byte >= 0x80 => true,
        Some(_) => text.get(2) == Some(&b'\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        for (text, expected) in [
            ("a // fn {\nb", "a        \nb"),
            ("a /* x /* y */ } */ b", "a                   b"),
            (r#"f("}\"{", '}', '\'', 'a)"#, r#"f(      ,    ,     , 'a)"#),
            ("r#\"a\"}\"# x", "         x"),
            ("for_r\"s\"", "for_r   "),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
    }
}
