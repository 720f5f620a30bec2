//! How a string is written: go-yaml resolves it as a plain scalar first, and quotes it if it would not read back as a
//! string.

use regex::Regex;
use serde_json::Number;

/// A way to write a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// In single quotes.
    Single,
    /// In double quotes, with escapes.
    Double,
    /// As a literal block.
    Literal,
}

/// What a string allows.
struct Analysis {
    multiline: bool,
    plain: bool,
    single: bool,
    block: bool,
}

/// The style of a string. `key`: it stands before a colon.
pub fn style(text: &str, key: bool) -> Style {
    let analysis = analyse(text);
    let mut style = if text.contains('\n') {
        Style::Literal
    } else if reads_as_string(text) {
        Style::Plain
    } else {
        Style::Double
    };
    if key && analysis.multiline {
        style = Style::Double;
    }
    if style == Style::Plain && (!analysis.plain || (text.is_empty() && key)) {
        style = Style::Single;
    }
    if style == Style::Single && !analysis.single {
        style = Style::Double;
    }
    if style == Style::Literal && (!analysis.block || key) {
        style = Style::Double;
    }
    style
}

fn analyse(text: &str) -> Analysis {
    let chars: Vec<char> = text.chars().collect();
    if chars.is_empty() {
        return Analysis { multiline: false, plain: true, single: true, block: false };
    }
    let is_break = |c: char| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut indicators = text.starts_with("---") || text.starts_with("...");
    let (mut special, mut breaks) = (false, false);
    let (mut break_space, mut space_break) = (false, false);
    for (at, c) in chars.iter().copied().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let blank_before = before.is_none_or(|c| matches!(c, ' ' | '\t') || is_break(c));
        let blank_after = chars.get(at + 1).is_none_or(|c| matches!(c, ' ' | '\t'));
        indicators |= match c {
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                at == 0
            }
            '#' => blank_before,
            '?' | '-' => at == 0 && blank_after,
            ':' => blank_after,
            _ => false,
        };
        special |= !is_printable(c);
        breaks |= is_break(c);
        break_space |= c == ' ' && before.is_some_and(is_break);
        space_break |= is_break(c) && before == Some(' ');
    }
    let edge = |c: char| c == ' ' || is_break(c);
    let edges = edge(chars[0]) || edge(chars[chars.len() - 1]);
    let trailing_space = chars[chars.len() - 1] == ' ';
    Analysis {
        multiline: breaks,
        plain: !(edges || break_space || space_break || special || breaks || indicators),
        single: !(break_space || space_break || special),
        block: !(trailing_space || space_break || special),
    }
}

/// go-yaml's idea of printable, which has no tab.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

/// The escape of a character in double quotes, if it needs one.
pub fn escape(c: char) -> Option<String> {
    let short = match c {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{a0}' => "\\_",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        c if is_printable(c) => return None,
        c => {
            let code = u32::from(c);
            return Some(match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            });
        }
    };
    Some(short.to_owned())
}

/// A number as Go writes it.
pub fn number(number: &Number) -> String {
    if number.is_f64() {
        let value = number.as_f64().unwrap_or_default();
        if value.fract() == 0.0 && value.abs() < 1e21 {
            return format!("{value:.0}");
        }
        let magnitude = value.abs();
        if !(1e-5..1e21).contains(&magnitude) {
            let text = format!("{value:e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
            return format!("{mantissa}e{sign}{digits:0>2}");
        }
        return format!("{value}");
    }
    number.to_string()
}

/// Words that YAML 1.1 takes for something else than a string.
const WORDS: &[&str] = &[
    "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No",
    "NO", "off", "Off", "OFF", "true", "True", "TRUE", "false", "False", "FALSE", ".nan", ".NaN", ".NAN",
    ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", "<<",
];

fn reads_as_string(text: &str) -> bool {
    thread_local! {
        static NUMBER: Vec<Regex> = [
            r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$",
            r"^[-+]?0[xX][0-9a-fA-F]+$",
            r"^[-+]?0[bB][01]+$",
            r"^[-+]?0[oO][0-7]+$",
        ].iter().map(|text| Regex::new(text).expect("a constant pattern")).collect();
        static OTHER: Vec<Regex> = [
            r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}$",
            r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}[Tt ][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})?$",
            r"^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$",
        ].iter().map(|text| Regex::new(text).expect("a constant pattern")).collect();
    }
    if WORDS.contains(&text) {
        return false;
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return true;
    }
    let without = text.replace('_', "");
    !NUMBER.with(|patterns| patterns.iter().any(|pattern| pattern.is_match(&without)))
        && !OTHER.with(|patterns| patterns.iter().any(|pattern| pattern.is_match(text)))
}
