//! What a container may not do: a probe inside tries it under carob and under Debian's containerd with runc. carob's
//! answers are equal or stricter, for each kind of container, for its first process and for commands run later.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use e2e::create;
use e2e::isolation::variants::{self, VARIANTS, Variant};
use e2e::isolation::{Report, read_record, stricter, weaker, weaker_than_recorded, write_record};
use testkit::containerd::{Containerd, namespaces_of};
use testkit::{Carob, Options, images, wait};

/// The image of the probe, as both runtimes name it.
pub const IMAGE: &str = "docker.io/library/isolation-probe:1";
/// Set to write the record of the reference anew.
const RECORD: &str = "CAROB_WRITE_ISOLATION_REFERENCE";

/// Reports by the name of the variant, with ` exec` for a command run later.
pub type Reports = BTreeMap<String, Report>;

fn record_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/isolation-reference.txt")
}

/// The record of the reference.
///
/// # Panics
/// If it is damaged.
pub fn record() -> Reports {
    let path = record_file();
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    read_record(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The probe's image as an archive in this directory.
///
/// # Panics
/// If it cannot be made.
pub fn archive(folder: &Path) -> PathBuf {
    let file = folder.join("isolation-probe.tar");
    let program = Path::new(env!("CARGO_BIN_EXE_isolation-probe"));
    images::of_program(program, IMAGE, &["pause"], &file).expect("an image of the probe");
    file
}

/// Reads what the probe printed.
///
/// # Panics
/// If that is no report.
pub fn report(name: &str, text: &str) -> Report {
    Report::parse(text.lines()).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"))
}

/// Name of the report of a command run later.
fn again(variant: &Variant) -> String {
    format!("{} exec", variant.name)
}

/// What the probe says under carob.
async fn ours(carob: &Carob) -> Reports {
    let client = carob.client();
    let namespaces = namespaces_of("self").expect("namespaces");
    for variant in &VARIANTS {
        create(&client, &variant.pod(IMAGE, &variants::stay(&namespaces))).await;
    }
    let kubectl = carob.kubectl();
    let mut reports = Reports::new();
    for variant in &VARIANTS {
        wait::ready(&client, variant.name).await;
        let mut logs = kubectl.start(&format!("logs -f {}", variant.name));
        logs.line_with(probe::END);
        reports.insert(variant.name.to_owned(), report(variant.name, &logs.said()));
        let mut arguments = vec!["exec".to_owned(), variant.name.to_owned(), "--".to_owned()];
        arguments.extend(variants::again(&namespaces));
        let name = again(variant);
        reports.insert(name.clone(), report(&name, &kubectl.succeed(&arguments)));
    }
    reports
}

/// What it says under the reference.
async fn reference(archive: &Path) -> anyhow::Result<Reports> {
    let containerd = Containerd::start(archive, IMAGE).await?;
    let namespaces = containerd.namespaces()?;
    let command = variants::stay(&namespaces);
    let settings: Vec<_> = VARIANTS.iter().map(|variant| variant.reference(&command)).collect();
    let started = futures::future::try_join_all(settings.iter().map(|own| containerd.run(own))).await?;
    let mut reports = Reports::new();
    for (variant, container) in VARIANTS.iter().zip(&started) {
        let lines = containerd.output_until(container, probe::END).await?;
        reports.insert(variant.name.to_owned(), report(variant.name, &lines.join("\n")));
        let output = containerd.exec(container, &variants::again(&namespaces)).await?;
        let name = again(variant);
        reports.insert(name.clone(), report(&name, &output));
    }
    Ok(reports)
}

/// What there is of a report in the reference: every one of ours has one.
fn of<'a>(reference: &'a Reports, name: &str) -> &'a Report {
    reference.get(name).unwrap_or_else(|| panic!("the reference has no container {name}"))
}

#[tokio::test]
async fn containers_are_isolated_as_upstream_or_stricter() {
    testkit::require_root();
    let folder = tempfile::tempdir().expect("a directory");
    let archive = archive(folder.path());
    let carob = Carob::start(Options::default());
    let import = carob.verb("image", &["import", &archive.display().to_string()]);
    assert_eq!(import.code, 0, "{}", import.stderr);
    let ours = ours(&carob).await;
    drop(carob);
    let live = reference(&archive).await.unwrap_or_else(|error| panic!("the reference: {error:#}"));
    if testkit::is_set(RECORD) {
        fs::write(record_file(), write_record(&live)).expect("the record is written");
    }
    let recorded = record();
    let mut found = Vec::new();
    for (name, report) in &ours {
        for line in stricter(name, report, of(&live, name)) {
            eprintln!("stricter: {line}");
        }
        found.extend(weaker(name, report, of(&live, name)));
        found.extend(weaker_than_recorded(name, report, of(&recorded, name)));
    }
    assert!(found.is_empty(), "weaker than the reference:\n{}", found.join("\n"));
}
