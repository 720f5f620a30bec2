//! `api-resources` and `api-versions`: what the server serves.

use std::collections::BTreeSet;

use model::tree::TreeExt;

use super::boxed;
use crate::command::{Command, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind};
use crate::mapping::Mapping;
use crate::text::tabs::Remembered;

/// `api-resources`.
pub const RESOURCES: Command = Command {
    name: "api-resources",
    usage: "api-resources [flags]",
    short: "Print the supported API resources on the server",
    flags: &[&[
        Flag::new("api-group", Kind::Text, "", "Only resources of this group"),
        Flag::switch("cached", "Accepted for compatibility"),
        Flag::new("categories", Kind::Texts, "", "Only resources of these categories"),
        Flag::new(
            "namespaced",
            Kind::Bool,
            "true",
            "true: only those in namespaces; false: only those without",
        ),
        Flag::switch("no-headers", "Print no header line"),
        Flag::new("output", Kind::Text, "", "wide or name").short('o'),
        Flag::new("sort-by", Kind::Text, "", "name or kind"),
        Flag::switch("show-managed-fields", "Accepted for compatibility"),
        Flag::new("verbs", Kind::Texts, "", "Only resources with all these verbs"),
    ]],
    run: boxed!(resources),
    ..Command::EMPTY
};

/// `api-versions`.
pub const VERSIONS: Command = Command {
    name: "api-versions",
    usage: "api-versions",
    short: "Print the supported API versions on the server, in the form of \"group/version\"",
    run: boxed!(versions),
    ..Command::EMPTY
};

async fn resources(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    if !invocation.arguments().is_empty() {
        return Err(
            invocation.usage(&format!("unexpected arguments: [{}]", invocation.arguments().join(" ")))
        );
    }
    let output = values.text("output");
    if !matches!(output, "" | "wide" | "name") {
        return Err(message(format!(
            "unable to match a printer suitable for the output format {output:?}, allowed formats are: json,kyaml,name,wide,yaml"
        )));
    }
    let sort = values.text("sort-by");
    if !matches!(sort, "" | "name" | "kind") {
        return Err(message("--sort-by accepts only name or kind"));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let verbs = values.texts("verbs");
    let categories = values.texts("categories");
    let mut rows: Vec<&Mapping> = mapper
        .all
        .iter()
        .map(AsRef::as_ref)
        .filter(|mapping| mapping.preferred && !mapping.verbs.is_empty())
        .filter(|mapping| !values.given("api-group") || mapping.group == values.text("api-group"))
        .filter(|mapping| !values.given("namespaced") || mapping.namespaced == values.on("namespaced"))
        .filter(|mapping| verbs.iter().all(|verb| mapping.can(verb)))
        .filter(|mapping| categories.iter().all(|category| mapping.categories.contains(category)))
        .collect();
    rows.sort_by(|a, b| match sort {
        "name" => a.plural.cmp(&b.plural),
        "kind" => a.kind.cmp(&b.kind),
        _ => a.group.cmp(&b.group).then(a.plural.cmp(&b.plural)),
    });
    if output == "name" {
        rows.iter().for_each(|row| invocation.context.out(&format!("{}\n", row.resource())));
        return Ok(());
    }
    let wide = output == "wide";
    let mut lines: Vec<Vec<String>> = Vec::new();
    if !values.on("no-headers") {
        let mut names = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
        names.extend(wide.then_some(["VERBS", "CATEGORIES"]).into_iter().flatten());
        lines.push(names.into_iter().map(str::to_owned).collect());
    }
    for row in rows {
        let mut cells = vec![
            row.plural.clone(),
            row.short_names.join(","),
            row.api_version(),
            row.namespaced.to_string(),
            row.kind.clone(),
        ];
        if wide {
            let mut verbs = row.verbs.clone();
            verbs.sort();
            cells.extend([verbs.join(","), row.categories.join(",")]);
        }
        lines.push(cells);
    }
    invocation.context.out(&Remembered::default().align(&lines));
    Ok(())
}

async fn versions(invocation: &Invocation<'_>) -> Result<(), Failure> {
    if !invocation.arguments().is_empty() {
        return Err(
            invocation.usage(&format!("unexpected arguments: [{}]", invocation.arguments().join(" ")))
        );
    }
    let api = invocation.api()?;
    let (core, groups) = futures::try_join!(api.get("/api"), api.get("/apis"))?;
    let mut all: BTreeSet<String> =
        core.items(&["versions"]).iter().filter_map(|version| version.as_str().map(str::to_owned)).collect();
    for group in groups.items(&["groups"]) {
        all.extend(
            group.items(&["versions"]).iter().map(|version| version.text(&["groupVersion"]).to_owned()),
        );
    }
    all.iter().for_each(|version| invocation.context.out(&format!("{version}\n")));
    Ok(())
}
