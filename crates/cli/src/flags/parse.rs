//! The parser, with pflag's errors.

use super::{Flag, Groups, Kind, Values};

/// Go's `strconv.ParseBool`.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A command's own flag hides a global one of the same name.
fn find(groups: &[&'static [Flag]], long: &str) -> Option<&'static Flag> {
    groups.iter().rev().flat_map(|group| group.iter()).find(|flag| flag.long == long)
}

fn find_short(groups: &[&'static [Flag]], short: char) -> Option<&'static Flag> {
    groups.iter().rev().flat_map(|group| group.iter()).find(|flag| flag.short == Some(short))
}

/// Reads a command line. The error is pflag's text.
pub fn parse(groups: &[Groups], arguments: &[String]) -> Result<Values, String> {
    let groups: Vec<&'static [Flag]> = groups.iter().flat_map(|groups| groups.iter().copied()).collect();
    let mut values = Values { groups, ..Values::default() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            values.before_dash = Some(values.arguments.len());
            values.arguments.extend(rest.cloned());
            break;
        }
        if let Some(long) = argument.strip_prefix("--") {
            parse_long(&mut values, argument, long, &mut rest)?;
        } else if let Some(shorts) = argument.strip_prefix('-').filter(|shorts| !shorts.is_empty()) {
            parse_short(&mut values, shorts, &mut rest)?;
        } else {
            values.arguments.push(argument.clone());
        }
    }
    Ok(values)
}

type Rest<'a> = std::slice::Iter<'a, String>;

fn parse_long(values: &mut Values, argument: &str, long: &str, rest: &mut Rest<'_>) -> Result<(), String> {
    if long.starts_with(['-', '=']) {
        return Err(format!("bad flag syntax: {argument}"));
    }
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (long, None),
    };
    let Some(flag) = find(&values.groups, name) else {
        if name == "help" {
            values.help = true;
            return Ok(());
        }
        return Err(format!("unknown flag: --{name}"));
    };
    let value = match (value, flag.bare) {
        (Some(value), _) => value,
        (None, Some(bare)) => bare.to_owned(),
        (None, None) => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
    };
    set(values, flag, value)
}

fn parse_short(values: &mut Values, shorts: &str, rest: &mut Rest<'_>) -> Result<(), String> {
    let mut left = shorts;
    while let Some(short) = left.chars().next() {
        let after = &left[short.len_utf8()..];
        let Some(flag) = find_short(&values.groups, short) else {
            if short == 'h' {
                values.help = true;
                return Ok(());
            }
            return Err(format!("unknown shorthand flag: {short:?} in -{left}"));
        };
        let value = if after.len() > 1 && after.starts_with('=') {
            left = "";
            after[1..].to_owned()
        } else if let Some(bare) = flag.bare {
            left = after;
            bare.to_owned()
        } else if !after.is_empty() {
            left = "";
            after.to_owned()
        } else {
            let missing = || format!("flag needs an argument: {short:?} in -{left}");
            let value = rest.next().cloned().ok_or_else(missing)?;
            left = "";
            value
        };
        set(values, flag, value)?;
    }
    Ok(())
}

fn set(values: &mut Values, flag: &'static Flag, value: String) -> Result<(), String> {
    let quoted = resources::schema::strict::quote(&value);
    let wrong = |why: String| format!("invalid argument {quoted} for \"{}\" flag: {why}", flag.display());
    match flag.kind {
        Kind::Bool if boolean(&value).is_none() => {
            return Err(wrong(format!("strconv.ParseBool: parsing {quoted}: invalid syntax")));
        }
        Kind::Integer if value.parse::<i64>().is_err() => {
            let digits = value.trim_start_matches(['-', '+']);
            let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let why = if number { "value out of range" } else { "invalid syntax" };
            return Err(wrong(format!("strconv.ParseInt: parsing {quoted}: {why}")));
        }
        Kind::Duration => {
            let text = value.strip_prefix('-').unwrap_or(&value);
            stdx::duration::parse_go(text).map_err(|_| wrong(duration_error(&value)))?;
        }
        _ => {}
    }
    values.set.push((flag.long, value));
    Ok(())
}

fn duration_error(value: &str) -> String {
    stdx::duration::parse_go(value).err().unwrap_or_default()
}

/// The arguments without flags, each with its place: what a parent command looks at to find its subcommand.
pub fn positions(groups: &[Groups], arguments: &[String]) -> Vec<usize> {
    let groups: Vec<&'static [Flag]> = groups.iter().flat_map(|groups| groups.iter().copied()).collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < arguments.len() {
        let argument = arguments[at].as_str();
        if argument == "--" {
            break;
        }
        let takes_next = if let Some(long) = argument.strip_prefix("--") {
            !long.contains('=') && find(&groups, long).is_some_and(|flag| flag.bare.is_none())
        } else if let Some(shorts) = argument.strip_prefix('-').filter(|shorts| !shorts.is_empty()) {
            shorts.chars().count() == 1
                && shorts
                    .chars()
                    .next()
                    .and_then(|short| find_short(&groups, short))
                    .is_some_and(|flag| flag.bare.is_none())
        } else {
            found.push(at);
            false
        };
        at += if takes_next { 2 } else { 1 };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: Groups = &[&[
        Flag::new("output", Kind::Text, "", "x").short('o'),
        Flag::switch("watch", "x").short('w'),
        Flag::switch("stdin", "x").short('i'),
        Flag::new("dry-run", Kind::Text, "none", "x").bare("unchanged"),
        Flag::new("tail", Kind::Integer, "-1", "x"),
        Flag::new("label-columns", Kind::Texts, "", "x").short('L'),
        Flag::new("timeout", Kind::Duration, "30s", "x"),
    ]];

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flags_are_read_as_pflag_does() {
        for line in [
            "-o yaml a b",
            "-oyaml a b",
            "-o=yaml a b",
            "a -o yaml b",
            "--output yaml a b",
            "a b --output=yaml",
        ] {
            let values = parse(&[FLAGS], &words(line)).unwrap();
            assert_eq!(values.text("output"), "yaml", "{line}");
            assert_eq!(values.arguments, ["a", "b"], "{line}");
        }
        let values = parse(&[FLAGS], &words("-wi x --dry-run -L a,b -L c -- -o y")).unwrap();
        assert!(values.on("watch") && values.on("stdin"));
        assert_eq!(values.text("dry-run"), "unchanged");
        assert_eq!(values.texts("label-columns"), ["a", "b", "c"]);
        assert_eq!((values.arguments.as_slice(), values.before_dash), (words("x -o y").as_slice(), Some(1)));
        assert!(!parse(&[FLAGS], &words("--watch=false")).unwrap().on("watch"));
        assert_eq!(positions(&[FLAGS], &words("-o yaml get -w --tail=1 pods")), [2, 5]);
    }

    #[test]
    fn errors_are_pflags() {
        for (line, want) in [
            ("--bogus", "unknown flag: --bogus"),
            ("-x", "unknown shorthand flag: 'x' in -x"),
            ("-wx", "unknown shorthand flag: 'x' in -x"),
            ("--output", "flag needs an argument: --output"),
            ("-o", "flag needs an argument: 'o' in -o"),
            ("--=x", "bad flag syntax: --=x"),
            (
                "--watch=x",
                "invalid argument \"x\" for \"-w, --watch\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
            (
                "--tail=x",
                "invalid argument \"x\" for \"--tail\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                "--timeout=5",
                "invalid argument \"5\" for \"--timeout\" flag: time: missing unit in duration \"5\"",
            ),
        ] {
            assert_eq!(parse(&[FLAGS], &words(line)).unwrap_err(), want);
        }
    }
}
