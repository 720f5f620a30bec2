//! Chores: derived tables, the structure of the project, licences of dependencies, the run of all tests.

mod bench;
mod cargo;
mod derive_tables;
mod licences;
mod structure;
mod tests_run;

const USAGE: &str = "usage: cargo xtask <chore>
  check                      structure and licences (`make check` adds format and lints)
  structure                  the rules of structure, and what nears them
  licences                   licences and sources of dependencies, as deny.toml allows them
  test [--unit]              all tests, as `make test` runs them; --unit: those that need no root
  bench [--write]            measure a carob; --write puts the table into docs/performance.md
  derive-tables <folder>     make the generated tables of crate `resources` from upstream's data";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["derive-tables", folder] => derive_tables::run(folder.as_ref()),
        ["check"] => {
            structure::run()?;
            licences::run()
        }
        ["structure"] => structure::run(),
        ["licences"] => licences::run(),
        ["bench"] => bench::run(false),
        ["bench", "--write"] => bench::run(true),
        ["test"] => tests_run::run(tests_run::Which::All),
        ["test", "--unit"] => tests_run::run(tests_run::Which::Unit),
        _ => anyhow::bail!("{USAGE}"),
    }
}
