//! Makes a machine ready for the tests that need root: installs missing programs, fetches clients, makes the images.

fn main() -> anyhow::Result<()> {
    testkit::setup::check_room()?;
    let installed = testkit::setup::install()?;
    if !installed.is_empty() {
        eprintln!("installed {}", installed.join(", "));
    }
    testkit::images::storage()?;
    Ok(())
}
