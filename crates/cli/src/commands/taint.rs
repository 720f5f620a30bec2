//! `taint`: taints of nodes set and removed.

use model::tree::TreeExt;
use serde_json::{Value, json};

use super::boxed;
use super::create;
use crate::api::JSON;
use crate::builder::{self, Choice, with_query};
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, shared};
use crate::printers;

/// The command.
pub const COMMAND: Command = Command {
    name: "taint",
    usage: "taint NODE NAME KEY_1=VAL_1:TAINT_EFFECT_1 ... KEY_N=VAL_N:TAINT_EFFECT_N",
    short: "Update the taints on one or more nodes",
    long: "Update the taints on one or more nodes.\n\nA taint is a key, a value and an effect: key=value:effect. The effect is NoSchedule, PreferNoSchedule or NoExecute; key:effect- and key- remove taints.",
    flags: &[
        shared::OUTPUT,
        shared::DRY_RUN,
        shared::VALIDATE,
        shared::SELECTOR,
        &shared::manager("kubectl-taint"),
        &[
            Flag::switch("all", "All nodes of the cluster"),
            Flag::switch("overwrite", "Change taints that are there already"),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Taint {
    key: String,
    value: String,
    effect: String,
}

impl Taint {
    /// Reads `key=value:effect`, `key:effect`, `key`.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |problems: &[String]| {
            let why = if problems.is_empty() { String::new() } else { format!(", {}", problems.join("; ")) };
            format!("invalid taint spec: {text}{why}")
        };
        let mut taint = Self::default();
        match text.split(':').collect::<Vec<_>>().as_slice() {
            [key] => taint.key = (*key).to_owned(),
            [pair, effect] => {
                if !matches!(*effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
                    return Err(format!("invalid taint effect: {effect}, unsupported taint effect"));
                }
                taint.effect = (*effect).to_owned();
                match pair.split('=').collect::<Vec<_>>().as_slice() {
                    [key] => taint.key = (*key).to_owned(),
                    [key, value] => {
                        let problems = model::names::label_value(value);
                        if !problems.is_empty() {
                            return Err(wrong(&problems));
                        }
                        (taint.key, taint.value) = ((*key).to_owned(), (*value).to_owned());
                    }
                    _ => return Err(wrong(&[])),
                }
            }
            _ => return Err(wrong(&[])),
        }
        let problems = model::names::qualified_name(&taint.key);
        if problems.is_empty() { Ok(taint) } else { Err(wrong(&problems)) }
    }

    fn of(value: &Value) -> Self {
        let text = |field: &str| value.text(&[field]).to_owned();
        Self { key: text("key"), value: text("value"), effect: text("effect") }
    }

    fn is_same_place(&self, other: &Self) -> bool {
        self.key == other.key && self.effect == other.effect
    }

    /// `key=value:effect`, as far as there is something.
    fn display(&self) -> String {
        match (self.effect.as_str(), self.value.as_str()) {
            ("", "") => self.key.clone(),
            ("", value) => format!("{}={value}:", self.key),
            (effect, "") => format!("{}:{effect}", self.key),
            (effect, value) => format!("{}={value}:{effect}", self.key),
        }
    }
}

/// What the arguments say.
#[derive(Debug, Default)]
struct Changes {
    add: Vec<Taint>,
    remove: Vec<Taint>,
}

impl Changes {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut changes = Self::default();
        for word in words {
            if let Some(text) = word.strip_suffix('-') {
                let taint = Taint::parse(text)?;
                changes.remove.push(Taint { value: String::new(), ..taint });
                continue;
            }
            let taint = Taint::parse(word)?;
            if taint.effect.is_empty() {
                return Err(format!("invalid taint spec: {word}"));
            }
            if changes.add.iter().any(|own| own.is_same_place(&taint)) {
                return Err(format!(
                    "duplicated taints with the same key and effect: {{{} {} {} <nil>}}",
                    taint.key, taint.value, taint.effect
                ));
            }
            changes.add.push(taint);
        }
        Ok(changes)
    }

    fn conflicts(&self) -> Vec<String> {
        let both = |own: &Taint, gone: &&Taint| {
            own.key == gone.key && (gone.effect.is_empty() || own.effect == gone.effect)
        };
        let gone = self.add.iter().flat_map(|own| self.remove.iter().filter(move |gone| both(own, gone)));
        gone.map(|gone| format!("{}={}", gone.key, gone.effect)).collect()
    }

    /// The taints after the change, and what is said of it.
    fn apply(
        &self,
        node: &str,
        old: &[Taint],
        overwrite: bool,
    ) -> Result<(Vec<Taint>, &'static str), Failure> {
        if !overwrite {
            let known: Vec<&str> = self
                .add
                .iter()
                .filter(|own| old.iter().any(|other| other.is_same_place(own)))
                .map(|own| own.key.as_str())
                .collect();
            if !known.is_empty() {
                return Err(message(format!(
                    "node {node} already has {} taint(s) with same effect(s) and --overwrite is false",
                    known.join(",")
                )));
            }
        }
        let mut after = self.add.clone();
        let kept = old.iter().filter(|own| !self.add.iter().any(|other| other.is_same_place(own)));
        after.extend(kept.cloned());
        let added = old.len() != after.len();
        let (mut deleted, mut failures) = (false, Vec::new());
        for gone in &self.remove {
            let before = after.len();
            after.retain(|own| own.key != gone.key || !(gone.effect.is_empty() || own.effect == gone.effect));
            deleted = after.len() != before;
            if !deleted {
                failures.push(message(format!("taint {:?} not found", gone.display())));
            }
        }
        builder::gather(failures)?;
        let what = match (added, deleted) {
            (true, true) => "modified",
            _ if overwrite => "modified",
            (true, false) => "tainted",
            _ => "untainted",
        };
        Ok((after, what))
    }
}

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let is_taint = |word: &String| word.contains(['=', ':']) || word.ends_with('-');
    let arguments = invocation.arguments();
    let at = arguments.iter().position(&is_taint).unwrap_or(arguments.len());
    let (resources, words) = arguments.split_at(at);
    if let Some(stray) = words.iter().find(|word| !is_taint(word)) {
        return Err(message(format!("all resources must be specified before taint changes: {stray}")));
    }
    let Some((kind, names)) = resources.split_first() else {
        return Err(message("one or more resources must be specified as <resource> <name>"));
    };
    if words.is_empty() {
        return Err(message("at least one taint update is required"));
    }
    let changes = Changes::parse(words).map_err(|words| invocation.usage(&words))?;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    if mapper.find(kind)?.kind != "Node" {
        let kind = kind.to_lowercase();
        return Err(message(format!("invalid resource type {kind}, only node types are supported")));
    }
    let conflicts = changes.conflicts();
    if !conflicts.is_empty() {
        return Err(message(format!(
            "can not both modify and remove the following taint(s) in the same command: {}",
            conflicts.join(", ")
        )));
    }
    let selects = !values.text("selector").is_empty();
    if values.on("all") && selects {
        return Err(message("setting 'all' parameter with a non empty selector is prohibited"));
    }
    if !values.on("all") && !selects && names.is_empty() {
        return Err(message("at least one resource name must be specified since 'all' parameter is not set"));
    }
    let names = if values.on("all") || selects { &[] } else { names };
    change(invocation, &api, &mapper, &changes, names).await
}

/// Changes the taints of the named nodes, or of those that the flags choose.
async fn change(
    invocation: &Invocation<'_>,
    api: &crate::api::Api<'_>,
    mapper: &crate::mapping::Mapper,
    changes: &Changes,
    names: &[String],
) -> Result<(), Failure> {
    let values = &invocation.values;
    let dry_run = invocation.dry_run()?;
    let validation = create::validation(invocation)?;
    let choice = Choice::of(invocation)?;
    let mut wanted = vec!["nodes".to_owned()];
    wanted.extend(names.iter().cloned());
    let format = printers::outcome_format(values)?;
    let mut failures = Vec::new();
    for target in builder::from_arguments(mapper, &choice, &wanted)? {
        let nodes = match builder::fetch(api, &choice, &target, JSON, false).await {
            Ok(answer) => builder::items(&answer),
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        for mut node in nodes {
            let old: Vec<Taint> = node.items(&["spec", "taints"]).iter().map(Taint::of).collect();
            let (after, what) = match changes.apply(node.name(), &old, values.on("overwrite")) {
                Ok(after) => after,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            let taints = merged(&node, &after);
            if dry_run == DryRun::Client {
                node["spec"]["taints"] = taints;
            } else {
                // The whole list is put in place: a merge by key could not take two effects of one key apart.
                let patch = json!({"spec": {"taints": taints}, "metadata": {"resourceVersion": node.resource_version()}});
                let parameters = create::write_query(invocation, dry_run, validation, "kubectl-taint");
                let path = with_query(&target.mapping.path("", node.name()), &parameters);
                let bytes = patch.to_string().into_bytes();
                node = api.patch(&path, "application/merge-patch+json", bytes).await?;
            }
            printers::outcome(invocation, &format, &node, what)?;
        }
    }
    builder::gather(failures)
}

/// The taints as the node holds them: those that stay keep their times.
fn merged(node: &Value, taints: &[Taint]) -> Value {
    let old = node.items(&["spec", "taints"]);
    let list = taints.iter().map(|taint| {
        let known = old.iter().find(|own| Taint::of(own) == *taint);
        known.cloned().unwrap_or_else(|| {
            let mut made = json!({"key": taint.key, "effect": taint.effect});
            if !taint.value.is_empty() {
                made["value"] = taint.value.as_str().into();
            }
            made
        })
    });
    Value::Array(list.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn taints_come_and_go() {
        let old = [Taint::parse("a=b:NoSchedule").unwrap(), Taint::parse("c:NoExecute").unwrap()];
        for (line, overwrite, want, what) in [
            ("x=y:NoSchedule", false, "x=y:NoSchedule a=b:NoSchedule c:NoExecute", "tainted"),
            ("a-", false, "c:NoExecute", "untainted"),
            ("x:NoSchedule c:NoExecute-", false, "x:NoSchedule a=b:NoSchedule", "modified"),
            ("a=z:NoSchedule", true, "a=z:NoSchedule c:NoExecute", "modified"),
        ] {
            let (after, said) = Changes::parse(&words(line)).unwrap().apply("n", &old, overwrite).unwrap();
            let after: Vec<String> = after.iter().map(Taint::display).collect();
            assert_eq!((after.join(" ").as_str(), said), (want, what), "{line}");
        }
        for (line, want) in [
            ("a=z:NoSchedule", "node n already has a taint(s) with same effect(s) and --overwrite is false"),
            ("q-", "taint \"q\" not found"),
        ] {
            let failure = Changes::parse(&words(line)).unwrap().apply("n", &old, false).unwrap_err();
            assert_eq!(failure.words(), want);
        }
        for (line, want) in [
            ("a=b:Odd", "invalid taint effect: Odd, unsupported taint effect"),
            ("a=b", "invalid taint spec: a=b, name part must consist of"),
        ] {
            let error = Changes::parse(&words(line)).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
