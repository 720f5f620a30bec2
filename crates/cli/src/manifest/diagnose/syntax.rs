//! Text that is no YAML: the line that holds the cause, which is often not the line that the reader stumbles over.

use super::{Hint, show};
use crate::manifest::locate::Place;
use crate::manifest::{Origin, go_yaml};

/// What to write instead. `error`: what kubectl says.
pub fn hints(origin: &Origin, error: &str) -> String {
    let text = &origin.text;
    let (line, column) = match go_yaml::find(text) {
        Some(mistake) => (mistake.line, mistake.column),
        None => (told_line(error).unwrap_or(1), 1),
    };
    let lines: Vec<&str> = text.lines().collect();
    if error.contains("json: offset")
        && let Some(hint) = json(text, error)
    {
        return show(origin, vec![hint]);
    }
    // The line before may hold the cause: a dash without a space makes the next line's colon wrong.
    for at in [line, line.saturating_sub(1)] {
        let Some(own) = at.checked_sub(1).and_then(|at| lines.get(at)) else { continue };
        if let Some((column, mend)) = remedy(own) {
            return show(origin, vec![Hint::new(Place { line: at, column }, mend)]);
        }
    }
    show(origin, vec![by_words(&lines, line, column, error)])
}

fn told_line(error: &str) -> Option<usize> {
    let rest = &error[error.find("line ")? + 5..];
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What one line alone shows.
fn remedy(line: &str) -> Option<(usize, String)> {
    let indent = line.len() - line.trim_start().len();
    let column = |byte: usize| line[..byte].chars().count() + 1;
    if let Some(tab) = line[..indent].find('\t') {
        let mend = "YAML is indented with spaces: replace the tab with two spaces per level";
        return Some((column(tab), mend.into()));
    }
    if let Some(at) = line[..indent].find(|c: char| c != ' ') {
        let mend =
            "this looks like a space but is another character: type the indentation again with the space bar";
        return Some((column(at), mend.into()));
    }
    let body = &line[indent..];
    if let Some(after) = body.strip_prefix('-')
        && after.starts_with(|c: char| c.is_ascii_alphabetic())
        && after.contains(':')
    {
        return Some((column(indent) + 1, format!("put a space after the dash: {:?}", format!("- {after}"))));
    }
    if let Some(at) = line.find('：') {
        let own = line.trim().replace('：', ": ");
        return Some((column(at), format!("this is a wide colon: write a plain one and a space, {own:?}")));
    }
    let body = body.trim_start_matches("- ").trim_end();
    let (name, value) = body.split_once(':')?;
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    let glued = is_word(name) && !value.starts_with([' ', '/']) && !value.is_empty() && !body.contains(": ");
    glued.then(|| {
        let at = line.find(':').unwrap_or(indent);
        (column(at), format!("put a space after the colon: {:?}", format!("{name}: {value}")))
    })
}

/// By what the reader says.
fn by_words(lines: &[&str], line: usize, column: usize, error: &str) -> Hint {
    let own = lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
    let at = |column: usize, mend: String| Hint::new(Place { line, column }, mend);
    let value_at = |c: char| own.chars().position(|own| own == c).map_or(column, |at| at + 1);
    let rest: String = own.chars().skip(column.saturating_sub(1)).collect();
    let words = [
        (
            "could not find expected ':'",
            format!("put a colon after {:?}", own.split(" #").next().unwrap_or(own).trim()),
        ),
        (
            "found character that cannot start",
            format!("put this in quotes: {:?}", rest.trim_end_matches(']').trim()),
        ),
        ("block sequence entries", "a list begins on a line of its own, below its key".to_owned()),
    ];
    if let Some((_, mend)) = words.iter().find(|(words, _)| error.contains(words)) {
        return at(column, mend.clone());
    }
    if error.contains("unknown anchor") || error.contains("expected alphabetic or numeric") {
        let text: String = own.chars().skip(value_at('*') - 1).collect();
        let mend = format!(
            "a star begins a reference to an anchor (`&name`) of this file; for text put it in quotes: {:?}",
            text.trim()
        );
        return at(value_at('*'), mend);
    }
    if error.contains("unexpected end of stream")
        && let Some((line, column)) = open_quote(lines)
    {
        return Hint::new(Place { line, column }, "this quote is not closed: put another at the text's end");
    }
    if error.contains("expected ',' or")
        && let Some((line, column, close)) = open_bracket(lines)
    {
        return Hint::new(Place { line, column }, format!("this is not closed: put {close:?} at its end"));
    }
    if error.contains("mapping values are not allowed") && own.matches(": ").count() > 1 {
        let value = own.trim().trim_start_matches("- ");
        return at(column, format!("a text with a colon needs quotes: {:?}", value));
    }
    let key = own.len() - own.trim_start().len() + 1;
    if own.trim_start().starts_with("- ") && error.contains("did not find expected key") {
        let mend = "a list's entry stands here among keys: give the first entry a dash, too, and align both";
        return at(key, mend.into());
    }
    let fitting = fitting_columns(lines, line);
    let depths: Vec<String> = fitting.iter().map(|column| (column - 1).to_string()).collect();
    at(
        key,
        match depths.as_slice() {
            [] => "check indentation, quotes and brackets here and in the line before".into(),
            [one] => format!("indent this line by {one} spaces, as the keys above it; it has {}", key - 1),
            many => format!(
                "indent this line as the keys above it that it belongs to ({} spaces); it has {}",
                many.join(" or "),
                key - 1
            ),
        },
    )
}

/// Columns of the keys above a line that are still open there, the innermost first.
fn fitting_columns(lines: &[&str], line: usize) -> Vec<usize> {
    let mut columns: Vec<usize> = Vec::new();
    for own in lines.iter().take(line.saturating_sub(1)).rev() {
        let body = own.trim_start();
        if body.is_empty() || body.starts_with('#') {
            continue;
        }
        let content = body.trim_start_matches("- ");
        let column = own.len() - content.len() + 1;
        let is_key = content.contains(": ") || content.trim_end().ends_with(':');
        if is_key && columns.last().is_none_or(|last| column < *last) {
            columns.push(column);
        }
    }
    let own = lines.get(line.saturating_sub(1)).map_or(1, |own| own.len() - own.trim_start().len() + 1);
    // The two levels next to where the line stands.
    columns.sort_by_key(|column| column.abs_diff(own));
    columns.truncate(2);
    columns.sort_unstable();
    columns
}

/// The last line that opens a quote and does not close it.
fn open_quote(lines: &[&str]) -> Option<(usize, usize)> {
    let odd = |line: &str, quote: char| line.matches(quote).count() % 2 == 1;
    lines.iter().enumerate().find_map(|(at, line)| {
        let quote = ['"', '\''].into_iter().find(|quote| odd(line, *quote))?;
        let column = line.chars().position(|c| c == quote)? + 1;
        Some((at + 1, column))
    })
}

/// The first bracket that is open at its line's end, and what closes it.
fn open_bracket(lines: &[&str]) -> Option<(usize, usize, char)> {
    for (at, line) in lines.iter().enumerate() {
        let mut open = Vec::new();
        for (column, c) in line.chars().enumerate() {
            match c {
                '[' => open.push((column + 1, ']')),
                '{' => open.push((column + 1, '}')),
                ']' | '}' => drop(open.pop()),
                _ => {}
            }
        }
        if let Some((column, close)) = open.first() {
            return Some((at + 1, *column, *close));
        }
    }
    None
}

/// Go's offset as a place.
fn json(text: &str, error: &str) -> Option<Hint> {
    let offset: usize = error.split("offset ").nth(1)?.split(':').next()?.parse().ok()?;
    let before = text.get(..offset.saturating_sub(1))?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let mend = if error.contains("after object key:value pair") || error.contains("after array element") {
        "put a comma after the value before this"
    } else if error.contains("looking for beginning of object key") {
        "keys stand in double quotes, and no comma comes before a closing brace"
    } else if error.contains("unexpected end") {
        "the text ends before its braces are closed"
    } else {
        "check quotes, commas and braces here"
    };
    Some(Hint::new(Place { line, column }, mend))
}
