//! Kinds that nothing special is known about: what their conditions and their latest warnings say.

use model::tree::TreeExt;
use serde_json::Value;

use super::nodes::condition_line;
use super::{Diagnosis, Facts};

/// Warnings that are shown at most.
const WARNINGS_MAX: usize = 3;

/// What the object says of itself.
pub fn decide(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let object = facts.object;
    if object.at(&["metadata", "deletionTimestamp"]).is_some() {
        return vec![deleting(facts)];
    }
    let conditions = object.items(&["status", "conditions"]);
    let phase = object.text(&["status", "phase"]);
    let bad: Vec<&Value> = conditions.iter().filter(|own| own.text(&["status"]) != "True").collect();
    let warnings: Vec<String> = facts
        .events
        .iter()
        .rev()
        .filter(|event| event.text(&["type"]) == "Warning")
        .take(WARNINGS_MAX)
        .map(|event| facts.said(event))
        .collect();
    let state = if phase.is_empty() { String::new() } else { format!(" (phase {phase})") };
    if bad.is_empty() && warnings.is_empty() {
        let diagnosis = Diagnosis::right(format!("nothing that it or its events say is wrong{state}"));
        return vec![diagnosis.seen_all(conditions.iter().map(condition_line))];
    }
    let cause = match bad.first() {
        Some(own) => format!("{} is {}{state}", own.text(&["type"]), own.text(&["status"])),
        None => format!("it is warned about{state}"),
    };
    vec![
        Diagnosis::wrong(cause).seen_all(bad.iter().map(|own| condition_line(own))).seen_all(warnings).mend(
            format!("`carob describe {}/{}` shows the rest", object.kind().to_lowercase(), object.name()),
        ),
    ]
}

/// About an object that is being deleted.
fn deleting(facts: &Facts<'_>) -> Diagnosis {
    let object = facts.object;
    let names: Vec<&str> =
        object.items(&["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect();
    let since = object.text(&["metadata", "deletionTimestamp"]);
    let diagnosis =
        Diagnosis::wrong(format!("it is being deleted and waits for its finalizers: {}", names.join(", ")))
            .seen(format!("deletion was asked for at {since}"));
    let diagnosis = diagnosis.seen_all(
        object
            .items(&["status", "conditions"])
            .iter()
            .filter(|own| own.text(&["status"]) == "True")
            .map(condition_line),
    );
    diagnosis.mend("who put a finalizer there takes it away when its work is done").mend(format!(
        "if nobody does: `carob patch {} {} -p '{{\"metadata\":{{\"finalizers\":null}}}}'`",
        object.kind().to_lowercase(),
        object.name()
    ))
}
