//! The isolation of containers beside that of a reference: what the probe printed under both, and whether ours is equal
//! or stricter. Pure.

pub mod accepted;
pub mod variants;

use std::collections::{BTreeMap, BTreeSet};

/// How two results of one row compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same.
    Equal,
    /// Ours allows less.
    Stricter(String),
    /// Ours allows more, or something else.
    Weaker(String),
}

/// A report of the probe: rows by kind and name, `try mount-tmpfs` for instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report(BTreeMap<String, String>);

impl Report {
    /// Reads what the probe printed.
    ///
    /// # Errors
    /// If a line is none of the probe's, or the last one is missing.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut rows = BTreeMap::new();
        for line in lines {
            if line == probe::END {
                return Ok(Self(rows));
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| format!("not a line of the probe: {line:?}"))?;
            rows.insert(name.to_owned(), value.trim().to_owned());
        }
        Err(format!("the probe did not come to its end; {} rows", rows.len()))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A row's value.
    pub fn get(&self, row: &str) -> Option<&str> {
        self.0.get(row).map(String::as_str)
    }

    /// Sets a row's value, or takes it away.
    pub fn set(&mut self, row: &str, value: Option<&str>) {
        match value {
            Some(value) => drop(self.0.insert(row.to_owned(), value.to_owned())),
            None => drop(self.0.remove(row)),
        }
    }
}

/// Compares one row.
pub fn compare(row: &str, ours: &str, reference: &str) -> Verdict {
    if ours == reference {
        return Verdict::Equal;
    }
    let both = format!("{ours:?} instead of {reference:?}");
    let stricter =
        |yes: bool| if yes { Verdict::Stricter(both.clone()) } else { Verdict::Weaker(both.clone()) };
    match row.split(' ').next() {
        // That both refuse is what counts; by which error is a matter of which layer came first.
        Some("try") => match (ours == "allowed", reference == "allowed") {
            (false, false) => Verdict::Equal,
            (allowed, _) => stricter(!allowed),
        },
        Some("set") => sets(ours, reference),
        Some(word @ ("least" | "most")) => match (ours.parse::<i128>(), reference.parse::<i128>()) {
            (Ok(ours), Ok(reference)) => {
                stricter(if word == "least" { ours > reference } else { ours < reference })
            }
            _ => Verdict::Weaker(both),
        },
        _ => Verdict::Weaker(both),
    }
}

fn sets(ours: &str, reference: &str) -> Verdict {
    let members = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    let (ours, reference) = (members(ours), members(reference));
    let more: Vec<&str> = ours.difference(&reference).map(String::as_str).collect();
    let less: Vec<&str> = reference.difference(&ours).map(String::as_str).collect();
    match (more.is_empty(), less.is_empty()) {
        (true, true) => Verdict::Equal,
        (true, false) => Verdict::Stricter(format!("without {}", less.join(" "))),
        (false, _) => Verdict::Weaker(format!("more: {}; less: {}", more.join(" "), less.join(" "))),
    }
}

/// Every row that is weaker than the reference and not accepted, one text each. Rows that only one of both has are
/// differences, too.
pub fn weaker(variant: &str, ours: &Report, reference: &Report) -> Vec<String> {
    weaker_on(variant, ours, reference, true)
}

fn weaker_on(variant: &str, ours: &Report, reference: &Report, same_kernel: bool) -> Vec<String> {
    let names: BTreeSet<&String> = ours.0.keys().chain(reference.0.keys()).collect();
    let mut found = Vec::new();
    for row in names {
        let (Some(own), Some(other)) = (ours.get(row), reference.get(row)) else {
            found.push(format!("{variant}: {row}: only one of both has it"));
            continue;
        };
        let (own, other) = accepted::without(variant, row, own, other, same_kernel);
        if let Verdict::Weaker(how) = compare(row, &own, &other) {
            found.push(format!("{variant}: {row}: {how}"));
        }
    }
    found
}

/// Rows that say more about the kernel and the machine than about the runtime: by the beginning of their names.
const OF_THE_MACHINE: [&str; 3] = ["most limit-", "set writable-below-", "set not-hidden"];
/// Of these containers the capabilities, and all that goes with them, are those of the machine.
const PRIVILEGED: &str = "privileged";

/// As [`weaker`], for a reference that was recorded on another machine, perhaps with another kernel.
pub fn weaker_than_recorded(variant: &str, ours: &Report, reference: &Report) -> Vec<String> {
    if variant.starts_with(PRIVILEGED) {
        return Vec::new();
    }
    let general = |report: &Report| {
        let rows =
            report.0.iter().filter(|(row, _)| !OF_THE_MACHINE.iter().any(|start| row.starts_with(start)));
        Report(rows.map(|(row, value)| (row.clone(), value.clone())).collect())
    };
    weaker_on(variant, &general(ours), &general(reference), false)
}

/// Every row that is stricter than the reference, one text each: for whoever reads the test's output.
pub fn stricter(variant: &str, ours: &Report, reference: &Report) -> Vec<String> {
    let rows = ours.0.iter().filter_map(|(row, own)| Some((row, own, reference.get(row)?)));
    rows.filter_map(|(row, own, other)| match compare(row, own, other) {
        Verdict::Stricter(how) => Some(format!("{variant}: {row}: {how}")),
        _ => None,
    })
    .collect()
}

/// The report that the others in a record are written as differences from.
const FIRST: &str = "default";
/// What stands for a row that a report does not have.
const NO_ROW: &str = "(none)";

/// A record of reports by variant: a line `# variant` before each; first the rows of `default`, for the others those that
/// differ.
///
/// # Errors
/// If a report in it is damaged, or the first is missing.
pub fn read_record(text: &str) -> Result<BTreeMap<String, Report>, String> {
    let mut reports = BTreeMap::<String, Report>::new();
    for part in text.split("# ").skip(1) {
        let (name, rest) = part.split_once('\n').ok_or("a variant without a report")?;
        let own = Report::parse(rest.lines()).map_err(|error| format!("{name}: {error}"))?;
        let mut report = match reports.get(FIRST) {
            Some(first) => first.clone(),
            None if name == FIRST => Report::default(),
            None => return Err(format!("{name} comes before {FIRST}")),
        };
        own.0
            .iter()
            .for_each(|(row, value)| report.set(row, Some(value.as_str()).filter(|own| *own != NO_ROW)));
        reports.insert(name.to_owned(), report);
    }
    Ok(reports)
}

/// As [`read_record`] reads it.
pub fn write_record(reports: &BTreeMap<String, Report>) -> String {
    let empty = Report::default();
    let first = reports.get(FIRST).unwrap_or(&empty);
    let mut text = String::new();
    let others =
        reports.iter().filter(|(name, _)| *name != FIRST).map(|(name, own)| (name.as_str(), own, first));
    for (name, report, base) in std::iter::once((FIRST, first, &empty)).chain(others) {
        text.push_str(&format!("# {name}\n"));
        let rows: BTreeSet<&String> = report.0.keys().chain(base.0.keys()).collect();
        for row in rows.into_iter().filter(|row| report.get(row) != base.get(row)) {
            text.push_str(format!("{row}: {}", report.get(row).unwrap_or(NO_ROW)).trim_end());
            text.push('\n');
        }
        text.push_str(&format!("{}\n", probe::END));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_compare_by_their_kind() {
        let rows = [
            ("try x", "refused EPERM", "refused ENOSYS", '='),
            ("try x", "refused EPERM", "allowed", '<'),
            ("try x", "killed by signal 31", "allowed", '<'),
            ("try x", "allowed", "refused EPERM", '>'),
            ("set x", "a b", "b a", '='),
            ("set x", "a", "a b", '<'),
            ("set x", "", "a", '<'),
            ("set x", "a c", "a b", '>'),
            ("least x", "2", "0", '<'),
            ("least x", "0", "2", '>'),
            ("least x", "-998", "0", '>'),
            ("most x", "10", "18446744073709551615", '<'),
            ("most x", "11", "10", '>'),
            ("most x", "", "10", '>'),
            ("same x", "a", "b", '>'),
            ("other x", "a", "b", '>'),
        ];
        for (row, ours, reference, expected) in rows {
            let sign = match compare(row, ours, reference) {
                Verdict::Equal => '=',
                Verdict::Stricter(_) => '<',
                Verdict::Weaker(_) => '>',
            };
            assert_eq!(sign, expected, "{row}: {ours:?} {reference:?}");
        }
    }

    #[test]
    fn a_row_that_is_missing_is_a_difference() {
        let read = |text: &str| Report::parse(text.lines()).expect("a report");
        let ours = read("try a: allowed\nleast b: 2\nend of the probe");
        let reference = read("try a: refused EPERM\ntry c: allowed\nleast b: 1\nend of the probe");
        let found = weaker("v", &ours, &reference);
        assert_eq!(
            found,
            ["v: try a: \"allowed\" instead of \"refused EPERM\"", "v: try c: only one of both has it"]
        );
        assert_eq!(stricter("v", &ours, &reference), ["v: least b: \"2\" instead of \"1\""]);
    }

    #[test]
    fn records_are_read_as_they_are_written() {
        let text = "# default\nset x: p\ntry y: allowed\nend of the probe\n\
                    # b\nset x:\ntry y: (none)\ntry z: refused EPERM\nend of the probe\n\
                    # c\nend of the probe\n";
        let record = read_record(text).expect("a record");
        assert_eq!(record["b"].get("set x"), Some(""));
        assert_eq!(record["b"].get("try y"), None);
        assert_eq!(record["c"], record["default"]);
        assert_eq!(write_record(&record), text);
        for damaged in ["# default\ntry x: allowed\n", "# default\nnonsense\n", "# b\nend of the probe\n"] {
            assert!(read_record(damaged).is_err(), "{damaged:?}");
        }
    }
}
