//! Where and why a text is not JSON, in the words of Go's scanner. Only run when a text was refused.

/// What a container expects next.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    /// A value, or the end of an array just begun.
    Value {
        may_end: bool,
    },
    /// A key, or the end of an object just begun.
    Key {
        may_end: bool,
    },
    Colon,
    /// Comma or end of the innermost container, or the end of the text.
    After,
}

/// Go's error for a text that is not JSON; `None` if it is.
pub fn syntax_error(text: &[u8]) -> Option<String> {
    Scanner { text, at: 0 }.scan().err()
}

struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
}

const END: &str = "unexpected end of JSON input";

impl Scanner<'_> {
    fn scan(&mut self) -> Result<(), String> {
        let mut stack: Vec<u8> = Vec::new();
        let mut expect = Expect::Value { may_end: false };
        loop {
            while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
                self.at += 1;
            }
            let Some(byte) = self.peek() else {
                return if stack.is_empty() && expect == Expect::After { Ok(()) } else { Err(END.into()) };
            };
            expect = match (expect, byte) {
                (Expect::Value { may_end: true }, b']') | (Expect::Key { may_end: true }, b'}') => {
                    self.close(&mut stack)
                }
                (Expect::Value { .. }, b'{') => self.open(&mut stack, byte, Expect::Key { may_end: true }),
                (Expect::Value { .. }, b'[') => self.open(&mut stack, byte, Expect::Value { may_end: true }),
                (Expect::Value { .. }, _) => self.literal(byte)?,
                (Expect::Key { .. }, b'"') => {
                    self.string()?;
                    Expect::Colon
                }
                (Expect::Key { .. }, _) => return Err(self.bad("looking for beginning of object key string")),
                (Expect::Colon, b':') => self.step(Expect::Value { may_end: false }),
                (Expect::Colon, _) => return Err(self.bad("after object key")),
                (Expect::After, _) => match (stack.last(), byte) {
                    (None, _) => return Err(self.bad("after top-level value")),
                    (Some(b'{'), b',') => self.step(Expect::Key { may_end: false }),
                    (Some(b'{'), b'}') | (Some(b'['), b']') => self.close(&mut stack),
                    (Some(b'['), b',') => self.step(Expect::Value { may_end: false }),
                    (Some(b'{'), _) => return Err(self.bad("after object key:value pair")),
                    _ => return Err(self.bad("after array element")),
                },
            };
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn step(&mut self, next: Expect) -> Expect {
        self.at += 1;
        next
    }

    fn open(&mut self, stack: &mut Vec<u8>, byte: u8, next: Expect) -> Expect {
        stack.push(byte);
        self.step(next)
    }

    fn close(&mut self, stack: &mut Vec<u8>) -> Expect {
        stack.pop();
        self.step(Expect::After)
    }

    fn bad(&self, context: &str) -> String {
        let Some(byte) = self.peek() else { return END.into() };
        let shown = match byte {
            b'\'' => "'\\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            byte => {
                let quoted = super::strict::quote(&char::from(byte).to_string());
                format!("'{}'", &quoted[1..quoted.len() - 1])
            }
        };
        format!("invalid character {shown} {context}")
    }

    fn literal(&mut self, byte: u8) -> Result<Expect, String> {
        match byte {
            b'"' => self.string()?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return Err(self.bad("looking for beginning of value")),
        }
        Ok(Expect::After)
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return Err(self.bad(&format!("in literal {word} (expecting '{}')", char::from(expected))));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                                    return Err(self.bad("in \\u hexadecimal character escape"));
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(self.bad("in string escape code")),
                    }
                }
                Some(0..0x20) => return Err(self.bad("in string literal")),
                Some(_) => self.at += 1,
                None => return Err(END.into()),
            }
        }
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else if !self.digits() {
            return Err(self.bad("in numeric literal"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.digits() {
                return Err(self.bad("after decimal point in numeric literal"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !self.digits() {
                return Err(self.bad("in exponent of numeric literal"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::syntax_error;

    #[test]
    fn words_are_gos() {
        for (text, want) in [
            ("{}", ""),
            (" [1, \"a\", {\"b\": null}] ", ""),
            ("{", "unexpected end of JSON input"),
            ("", "unexpected end of JSON input"),
            ("{a}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("tru", "unexpected end of JSON input"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("[,]", "invalid character ',' looking for beginning of value"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("01", "invalid character '1' after top-level value"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
        ] {
            assert_eq!(syntax_error(text.as_bytes()).unwrap_or_default(), want, "{text}");
        }
    }
}
