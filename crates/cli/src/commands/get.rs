//! `get`: objects as tables that the server makes, or in any format of `-o`.

use client::WatchEvent;
use client::options::query;
use futures::StreamExt;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::{boxed, raw};
use crate::api::{Api, JSON, TABLE};
use crate::builder::{self, Choice, Target};
use crate::command::{Command, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::jsonpath::Template;
use crate::manifest::Files;
use crate::mapping::Mapper;
use crate::printers::table::{self, Options, TablePrinter};
use crate::printers::{self, Format, Printer};

/// The command.
pub const COMMAND: Command = Command {
    name: "get",
    usage: "get [(-o|--output=)json|yaml|kyaml|name|go-template|go-template-file|template|templatefile|jsonpath|jsonpath-as-json|jsonpath-file|custom-columns|custom-columns-file|wide] (TYPE[.VERSION][.GROUP] [NAME | -l label] | TYPE[.VERSION][.GROUP]/NAME ...) [flags]",
    short: "Display one or many resources",
    long: "Display one or many resources.\n\nWithout a name all objects of the types are shown, narrowed by -l and --field-selector; -A looks in every namespace. \"api-resources\" lists the types.",
    flags: &[
        shared::FILES,
        shared::OUTPUT,
        shared::SELECTOR,
        shared::FIELD_SELECTOR,
        shared::ALL_NAMESPACES,
        shared::CHUNK,
        &[
            Flag::switch("ignore-not-found", "Exit with 0 if an object does not exist"),
            Flag::new("label-columns", Kind::Texts, "", "Labels to show as columns; may be repeated")
                .short('L'),
            Flag::switch("no-headers", "Print no header line"),
            Flag::switch(
                "output-watch-events",
                "Print watch events instead of objects, with --watch or --watch-only",
            ),
            Flag::new("raw", Kind::Text, "", "Path to request as it is"),
            Flag::new("server-print", Kind::Bool, "true", "Let the server make the tables"),
            Flag::switch("show-kind", "Show the type in front of names"),
            Flag::switch("show-labels", "Show all labels in the last column"),
            Flag::new("sort-by", Kind::Text, "", "JSONPath of the field to sort by (.metadata.name)"),
            Flag::new("subresource", Kind::Text, "", "Get this subresource instead: status, scale, resize"),
            Flag::switch("watch", "After the list, show changes as they come").short('w'),
            Flag::switch("watch-only", "Show changes without the list first"),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

struct Wish {
    format: Format,
    choice: Choice,
    options: Options,
    sort_by: Option<Template>,
    accept: &'static str,
}

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let path = values.text("raw");
    if !path.is_empty() {
        raw::check(path)?;
        if values.on("watch") || values.on("watch-only") || !values.text("selector").is_empty() {
            return Err(message(
                "--raw may not be specified with other flags that filter the server request or alter the output",
            ));
        }
        if !invocation.arguments().is_empty() {
            return Err(message("arguments may not be passed when --raw is specified"));
        }
        return raw::get(invocation, path).await;
    }
    let files = Files::of(values)?;
    if invocation.arguments().is_empty() && files.is_empty() {
        let program = &invocation.context.program;
        invocation.context.err(&format!(
            "You must specify the type of resource to get. Use \"{program} api-resources\" for a complete list of supported resources.\n\n"
        ));
        return Err(invocation.usage(&format!(
            "Required resource not specified.\nUse \"{program} explain <resource>\" for a detailed description of that resource (e.g. {program} explain pods)."
        )));
    }
    if values.on("output-watch-events") && !values.on("watch") && !values.on("watch-only") {
        return Err(message("--output-watch-events option can only be used with --watch or --watch-only"));
    }
    let wish = wish(invocation)?;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let mut failures = Vec::new();
    let mut targets = Vec::new();
    if files.is_empty() {
        targets = builder::from_arguments(&mapper, &wish.choice, invocation.arguments())?;
    } else {
        if !invocation.arguments().is_empty() {
            return Err(message(
                "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
            ));
        }
        for target in builder::from_files(invocation, &mapper, &wish.choice, &files)? {
            match target {
                Ok(target) => targets.push(target),
                Err(failure) => failures.push(failure),
            }
        }
    }
    if values.on("watch") || values.on("watch-only") {
        return watch(invocation, &api, &wish, &targets).await;
    }
    let answers = fetch(invocation, &api, &wish, targets, &mut failures).await?;
    match &wish.format {
        Format::Printer(printer) => print_objects(invocation, printer, answers, &wish, &failures)?,
        Format::Human { .. } => print_tables(invocation, &mapper, answers, &wish, &failures),
    }
    builder::gather(failures)
}

fn wish(invocation: &Invocation<'_>) -> Result<Wish, Failure> {
    let values = &invocation.values;
    let format = printers::format(values, true)?;
    let mut choice = Choice::of(invocation)?;
    choice.all = true;
    let (human, wide) = match format {
        Format::Human { wide } => (true, wide),
        Format::Printer(_) => (false, false),
    };
    if values.on("show-labels") && !human {
        let output = values.text("output");
        return Err(message(format!("--show-labels option cannot be used with {output} printer")));
    }
    let sort = values.text("sort-by");
    let sort_by = if sort.is_empty() {
        None
    } else {
        choice.chunk = 0;
        Some(Template::relaxed(sort).map_err(message)?)
    };
    let options = Options {
        wide,
        no_headers: values.on("no-headers"),
        with_namespace: choice.all_namespaces,
        kind: None,
        label_columns: values.texts("label-columns"),
        show_labels: values.on("show-labels"),
    };
    let accept = if human && values.on("server-print") { TABLE } else { JSON };
    Ok(Wish { format, choice, options, sort_by, accept })
}

async fn fetch(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    wish: &Wish,
    targets: Vec<Target>,
    failures: &mut Vec<Failure>,
) -> Result<Vec<(Target, Value)>, Failure> {
    let subresource = invocation.values.text("subresource");
    let mut answers = Vec::new();
    for target in targets {
        let answer = if subresource.is_empty() {
            builder::fetch(api, &wish.choice, &target, wish.accept, wish.sort_by.is_some()).await
        } else {
            let path = format!("{}/{subresource}", target.path());
            api.call(http::Method::GET, &path, wish.accept, None).await
        };
        match answer {
            Ok(answer) => answers.push((target, answer)),
            Err(failure) if failure.is_not_found() && invocation.values.on("ignore-not-found") => {}
            Err(failure @ Failure::Connection { .. }) => return Err(failure),
            Err(failure) => failures.push(failure),
        }
    }
    Ok(answers)
}

fn print_objects(
    invocation: &Invocation<'_>,
    printer: &Printer,
    answers: Vec<(Target, Value)>,
    wish: &Wish,
    failures: &[Failure],
) -> Result<(), Failure> {
    let single =
        matches!(answers.as_slice(), [(_, answer)] if !answer["items"].is_array()) && failures.is_empty();
    let mut objects: Vec<Value> = answers.iter().flat_map(|(_, answer)| builder::items(answer)).collect();
    if invocation.values.on("ignore-not-found") && objects.is_empty() && answers.is_empty() {
        return Ok(());
    }
    if let Some(path) = &wish.sort_by {
        table::sort_by(&mut objects, path, |object| object);
    }
    if objects.is_empty() && !failures.is_empty() {
        return Ok(());
    }
    let objects: Vec<Value> =
        objects.iter().map(|object| printers::shown(&invocation.values, object)).collect();
    if printer.is_single() {
        for object in &objects {
            invocation.context.out(&printer.print(object)?);
        }
        return Ok(());
    }
    let whole = match objects.as_slice() {
        [one] if single => one.clone(),
        _ => printers::list(objects),
    };
    invocation.context.out(&printer.print(&whole)?);
    Ok(())
}

fn print_tables(
    invocation: &Invocation<'_>,
    _mapper: &Mapper,
    answers: Vec<(Target, Value)>,
    wish: &Wish,
    failures: &[Failure],
) {
    let resources: Vec<String> = answers.iter().map(|(target, _)| target.mapping.resource()).collect();
    let several = resources.windows(2).any(|pair| pair[0] != pair[1]);
    let show_kind = several || invocation.values.on("show-kind") || is_several_types(invocation);
    let mut written = false;
    let mut at = 0;
    while at < answers.len() {
        // Neighbours of one resource are one table.
        let end = at + resources[at..].iter().take_while(|own| **own == resources[at]).count();
        let mapping = &answers[at].0.mapping;
        let mut rows = Vec::new();
        let mut whole = Value::Null;
        for (_, answer) in &answers[at..end] {
            let mut table = as_table(answer, mapping, invocation);
            rows.append(table["rows"].as_array_mut().unwrap_or(&mut Vec::new()));
            if whole.is_null() {
                whole = table;
            }
        }
        if let Some(path) = &wish.sort_by {
            table::sort_by(&mut rows, path, |row| &row["object"]);
        }
        whole["rows"] = Value::Array(rows);
        let options = Options {
            kind: show_kind.then(|| mapping.kind_name()),
            with_namespace: wish.options.with_namespace && mapping.namespaced,
            ..wish.options.clone()
        };
        let text = TablePrinter::default().print(&whole, &options);
        if written && !text.is_empty() && !options.no_headers {
            invocation.context.out("\n");
        }
        invocation.context.out(&text);
        written |= !text.is_empty();
        at = end;
    }
    if !written && failures.is_empty() && !invocation.values.on("ignore-not-found") {
        let namespaced = answers.iter().any(|(target, _)| target.mapping.namespaced);
        let text = if namespaced && !wish.choice.all_namespaces {
            format!("No resources found in {} namespace.\n", wish.choice.namespace)
        } else {
            "No resources found\n".into()
        };
        invocation.context.err(&text);
    }
}

fn is_several_types(invocation: &Invocation<'_>) -> bool {
    invocation.arguments().first().is_some_and(|types| types.contains(',') || types == "all")
}

fn as_table(answer: &Value, mapping: &crate::mapping::Mapping, invocation: &Invocation<'_>) -> Value {
    if answer.kind() == "Table" {
        return answer.clone();
    }
    table::of_objects(mapping, &builder::items(answer), invocation.context.now())
}

/// Shows what a watch brings.
struct Show<'a> {
    invocation: &'a Invocation<'a>,
    wish: &'a Wish,
    target: &'a Target,
    options: Options,
    table: TablePrinter,
    shown: usize,
}

impl Show<'_> {
    fn show(&mut self, event: &str, answer: &Value) -> Result<(), Failure> {
        let with_events = self.invocation.values.on("output-watch-events");
        let Format::Printer(printer) = &self.wish.format else {
            let mut table = as_table(answer, &self.target.mapping, self.invocation);
            if with_events {
                add_event_column(&mut table, event);
            }
            self.invocation.context.out(&self.table.print(&table, &self.options));
            return Ok(());
        };
        for object in builder::items(answer) {
            let mut object = printers::shown(&self.invocation.values, &object);
            if with_events {
                object = json!({"type": event, "object": object});
            }
            let separator = if matches!(printer, Printer::Yaml) && self.shown > 0 { "---\n" } else { "" };
            self.invocation.context.out(&format!("{separator}{}", printer.print(&object)?));
            self.shown += 1;
        }
        Ok(())
    }
}

async fn watch(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    wish: &Wish,
    targets: &[Target],
) -> Result<(), Failure> {
    let [target] = targets else {
        return Err(message("you may only specify a single resource type"));
    };
    let options = Options {
        with_namespace: wish.options.with_namespace && target.mapping.namespaced,
        kind: invocation.values.on("show-kind").then(|| target.mapping.kind_name()),
        ..wish.options.clone()
    };
    let mut show = Show { invocation, wish, target, options, table: TablePrinter::default(), shown: 0 };
    let first = match builder::fetch(api, &wish.choice, target, wish.accept, wish.sort_by.is_some()).await {
        Ok(first) => first,
        Err(failure) if failure.is_not_found() && invocation.values.on("ignore-not-found") => return Ok(()),
        Err(failure) => return Err(failure),
    };
    if !invocation.values.on("watch-only") {
        show.show("ADDED", &first)?;
    }
    let field_selector = match &target.name {
        Some(name) => format!("metadata.name={name}"),
        None => wish.choice.field_selector.clone(),
    };
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let parameters = query(&[
        ("watch", Some("true".into())),
        ("resourceVersion", text(first.text(&["metadata", "resourceVersion"]))),
        ("labelSelector", text(&wish.choice.selector)),
        ("fieldSelector", text(&field_selector)),
    ]);
    let namespace = Some(target.namespace.as_str()).filter(|own| !own.is_empty());
    let path = builder::with_query(&target.mapping.collection(namespace), &parameters);
    let mut events = api.watch(&path, wish.accept).await?;
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(object) => show.show("ADDED", &object)?,
            WatchEvent::Modified(object) => show.show("MODIFIED", &object)?,
            WatchEvent::Deleted(object) => show.show("DELETED", &object)?,
            WatchEvent::Bookmark { .. } => {}
        }
    }
    Ok(())
}

fn add_event_column(table: &mut Value, event: &str) {
    let column = json!({"name": "Event", "type": "string", "format": "", "priority": 0});
    if let Some(columns) = table["columnDefinitions"].as_array_mut() {
        columns.insert(0, column);
    }
    for row in table["rows"].as_array_mut().into_iter().flatten() {
        if let Some(cells) = row["cells"].as_array_mut() {
            cells.insert(0, event.into());
        }
    }
}
