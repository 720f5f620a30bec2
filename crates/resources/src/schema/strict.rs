//! Strict field validation: what is done about unknown and duplicate fields.

/// The `fieldValidation` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Say nothing.
    Ignore,
    /// Say it in `Warning:` headers.
    #[default]
    Warn,
    /// Refuse.
    Strict,
}

impl FieldValidation {
    /// Reads the parameter; absent or empty is upstream's default.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }

    /// What strict errors lead to: warnings, or upstream's error text.
    pub fn judge(self, errors: &[String]) -> Result<Vec<String>, String> {
        match self {
            Self::Ignore => Ok(Vec::new()),
            Self::Warn => Ok(errors.to_vec()),
            Self::Strict if errors.is_empty() => Ok(Vec::new()),
            Self::Strict => Err(error_text(errors)),
        }
    }
}

/// Upstream's text for strict errors.
pub fn error_text(errors: &[String]) -> String {
    format!("strict decoding error: {}", errors.join(", "))
}

/// A string as Go's `strconv.Quote` writes it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
