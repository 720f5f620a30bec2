//! Makes the committed tables of crate `resources` from upstream's published facts: the OpenAPI document (structure,
//! list types, merge keys), the discovery document (groups, versions, verbs, names), the protobuf field numbers, and
//! `go_facts.txt` (pointer-ness, `omitempty`, order and Go type names, which no published document tells: they decide
//! what upstream writes back and how its decoding errors read).

mod definitions;
mod descriptions;
mod protobuf;
mod resources;

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// Reads the folder and writes `crates/resources/src/generated/`.
pub fn run(folder: &Path) -> anyhow::Result<()> {
    let read = |name: &str| -> anyhow::Result<Value> {
        let path = folder.join(name);
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
    };
    let swagger = read("swagger-v1.36.json")?;
    let discovery = read("discovery-v1.36.json")?;
    let protobuf = read("protobuf-v1.36.json")?;
    let target = Path::new("crates/resources/src/generated");
    std::fs::create_dir_all(target)?;
    std::fs::write(target.join("definitions.rs"), definitions::render(&swagger, &protobuf)?)?;
    let facts = definitions::facts();
    let fields =
        facts.iter().map(|(name, (_, fields))| (*name, fields.iter().map(|fact| fact.name).collect()));
    std::fs::write(target.join("descriptions.bin"), descriptions::render(fields)?)?;
    std::fs::write(target.join("rows.rs"), resources::render(&swagger, &discovery)?)?;
    std::fs::write(target.join("mod.rs"), MODULE)?;
    Ok(())
}

const MODULE: &str = "//! Tables derived from upstream's published facts by `cargo xtask derive-tables`; not edited by hand.\n\n\
    #[rustfmt::skip]\npub mod definitions;\n#[rustfmt::skip]\npub mod rows;\n";

/// A list of strings as a Rust slice.
pub fn strings<'a>(list: impl IntoIterator<Item = &'a str>) -> String {
    let list: Vec<String> = list.into_iter().map(|text| format!("{text:?}")).collect();
    format!("&[{}]", list.join(","))
}

/// The strings of a JSON array.
pub fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
