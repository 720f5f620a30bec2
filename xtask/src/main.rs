//! Chores: derived tables, checks, benchmarks.

mod derive_tables;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["derive-tables", folder] => derive_tables::run(folder.as_ref()),
        _ => anyhow::bail!("usage: cargo xtask derive-tables <folder of upstream data>"),
    }
}
