//! Archives that try to leave their layer, to exhaust the machine, or to crash the unpacker. None needs root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use images::archive::stream::TarStream;
use images::archive::unpack::{UnpackOptions, Unpacked, WhiteoutForm, unpack};
use proptest::prelude::*;
use tar::EntryType;

fn options() -> UnpackOptions {
    UnpackOptions { form: WhiteoutForm::Plain, privileged: false, entries_max: 1000, bytes_max: 1 << 20 }
}

/// Appends an entry exactly as given: the usual writers refuse such paths.
fn push(archive: &mut Vec<u8>, kind: EntryType, path: &str, link: &str, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    let fields = header.as_ustar_mut().unwrap();
    for (field, text) in [(&mut fields.name, path), (&mut fields.linkname, link)] {
        let length = text.len().min(100);
        field[..length].copy_from_slice(&text.as_bytes()[..length]);
    }
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

fn pax(archive: &mut Vec<u8>, record: &str) {
    let length = record.len() + 4;
    push(archive, EntryType::XHeader, "pax", "", format!("{length} {record}\n").as_bytes());
}

/// Unpacks within a folder that has things beside it which must not change.
fn unpack_guarded(archive: &[u8], look: impl FnOnce(Result<Unpacked, String>, &Path)) {
    let scratch = tempfile::tempdir().unwrap();
    let outside = scratch.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    let root = scratch.path().join("root");
    fs::create_dir(&root).unwrap();
    let result = unpack(&mut TarStream::new(archive), &root, &options()).map_err(|error| error.to_string());
    look(result, &root);
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
    assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    assert_eq!(
        fs::metadata(outside.join("file"))
            .map(|found| std::os::unix::fs::MetadataExt::nlink(&found))
            .unwrap(),
        1
    );
}

type Step<'a> = (EntryType, &'a str, &'a str, &'a [u8]);
const FILE: EntryType = EntryType::Regular;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;
const FOLDER: EntryType = EntryType::Directory;

#[test]
fn refused() {
    let cases: [(&[Step<'_>], &str); 12] = [
        (&[(FILE, "../outside/file", "", b"x")], "leaves the layer"),
        (&[(FILE, "a/../../outside/file", "", b"x")], "leaves the layer"),
        (&[(FILE, "..", "", b"x")], "leaves the layer"),
        (&[(HARD, "a", "../outside/file", b"")], "leaves the layer"),
        (&[(LINK, "a", "b", b""), (LINK, "b", "a", b""), (FILE, "a/x", "", b"x")], "symbolic link"),
        (&[(FILE, "a", "", b"x"), (FILE, "a/b", "", b"x")], "Not a directory"),
        (&[(FILE, ".wh...", "", b"")], "whiteout of no name"),
        (&[(FILE, ".wh.", "", b"")], "whiteout of no name"),
        (&[(FILE, ".wh.a/b", "", b"")], "within a whiteout"),
        (&[(LINK, "./", "/", b"")], "not a directory"),
        (&[(EntryType::GNUSparse, "a", "", b"")], "sparse"),
        (&[(EntryType::new(b'Z'), "a", "", b"")], "unsupported entry type"),
    ];
    for (steps, expected) in cases {
        let mut archive = Vec::new();
        for (kind, path, link, content) in steps {
            push(&mut archive, *kind, path, link, content);
        }
        unpack_guarded(&archive, |result, _| {
            let error = result.expect_err(expected);
            assert!(error.contains(expected), "{expected}: {error}");
        });
    }
}

#[test]
fn confined() {
    let cases: [(&[Step<'_>], &str, Option<&str>); 8] = [
        (&[(FILE, "/abs/file", "", b"in")], "abs/file", Some("in")),
        (&[(LINK, "l", "/outside", b""), (FILE, "l/file", "", b"in")], "outside/file", Some("in")),
        (&[(LINK, "l", "../../outside", b""), (FILE, "l/file", "", b"in")], "outside/file", Some("in")),
        (&[(LINK, "l", "../outside/file", b""), (FILE, "l", "", b"in")], "l", Some("in")),
        (&[(FILE, "a", "", b"1"), (FOLDER, "a", "", b""), (FILE, "a", "", b"2")], "a", Some("2")),
        (&[(LINK, "l", "../outside", b""), (HARD, "h", "l/file", b"")], "h", None),
        (&[(FOLDER, "d", "", b""), (LINK, "d", "../outside", b"")], "none", None),
        (
            &[(FOLDER, "d/e", "", b""), (LINK, "d", "../outside", b""), (FOLDER, "d/e", "", b"")],
            "outside/e/x",
            None,
        ),
    ];
    for (steps, path, expected) in cases {
        let mut archive = Vec::new();
        for (kind, path, link, content) in steps {
            push(&mut archive, *kind, path, link, content);
        }
        unpack_guarded(&archive, |result, root| {
            result.unwrap();
            assert_eq!(fs::read_to_string(root.join(path)).ok().as_deref(), expected, "{path}");
        });
    }
}

#[test]
fn bounded() {
    let mut many = Vec::new();
    (0..1001).for_each(|number| push(&mut many, FILE, &number.to_string(), "", b""));
    let mut large = Vec::new();
    push(&mut large, FILE, "large", "", &vec![0; (1 << 20) + 1]);
    let mut extensions = Vec::new();
    (0..20).for_each(|_| pax(&mut extensions, "comment=x"));
    let mut cut = Vec::new();
    push(&mut cut, FILE, "cut", "", &[7; 4096]);
    cut.truncate(2000);
    let mut nul = Vec::new();
    pax(&mut nul, "path=a\0b");
    push(&mut nul, FILE, "x", "", b"");
    let mut sized = Vec::new();
    pax(&mut sized, "size=9000000000");
    push(&mut sized, FILE, "x", "", b"");
    let mut sum = Vec::new();
    push(&mut sum, FILE, "x", "", b"");
    sum[0] = b'y';
    // Each link doubles the depth that a path can reach.
    let mut deep = Vec::new();
    let folder = "d/".repeat(40);
    push(&mut deep, FOLDER, &folder, "", b"");
    for number in 0..8 {
        let from = if number == 0 { folder.clone() } else { format!("l{}/{}", number - 1, "d/".repeat(40)) };
        push(&mut deep, FOLDER, &from, "", b"");
        push(&mut deep, LINK, &format!("l{number}"), &from, b"");
    }
    let cases = [
        (many, "more than the limit of 1000 entries"),
        (large, "larger than the limit"),
        (extensions, "extension headers"),
        (cut, "cut short"),
        (nul, "NUL"),
        (sized, "larger than the limit"),
        (sum, "checksum"),
        (deep, "directories deep"),
    ];
    for (archive, expected) in cases {
        unpack_guarded(&archive, |result, _| {
            let error = result.expect_err(expected);
            assert!(error.contains(expected), "{expected}: {error}");
        });
    }
}

fn step() -> impl Strategy<Value = (u8, String, String, Vec<u8>)> {
    let name = prop_oneof![
        Just(".."),
        Just("."),
        Just(""),
        Just("a"),
        Just("b"),
        Just("c"),
        Just("outside"),
        Just("file"),
        Just(".wh.a"),
        Just(".wh..wh..opq"),
        Just(".wh.b"),
        Just("root"),
    ];
    let path = prop::collection::vec(name, 0..5).prop_map(|names| names.join("/"));
    let kind = prop_oneof![Just(b'0'), Just(b'1'), Just(b'2'), Just(b'5'), Just(b'6'), Just(b'3')];
    (kind, path.clone(), path, prop::collection::vec(any::<u8>(), 0..40))
}

proptest! {
    // As many cases as the environment says: `make fuzz` asks for many.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_entries_leaves_the_layer(steps in prop::collection::vec(step(), 1..25)) {
        let mut archive = Vec::new();
        for (kind, path, link, content) in &steps {
            let content: &[u8] = if *kind == b'0' { content } else { b"" };
            push(&mut archive, EntryType::new(*kind), path, link, content);
        }
        unpack_guarded(&archive, |_, _| {});
    }

    #[test]
    fn no_bytes_crash_the_unpacker(
        steps in prop::collection::vec(step(), 1..6),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        fix in any::<bool>(),
        length in any::<prop::sample::Index>(),
    ) {
        let mut archive = Vec::new();
        for (kind, path, link, content) in &steps {
            push(&mut archive, EntryType::new(*kind), path, link, content);
        }
        for (place, byte) in &changes {
            let place = place.index(archive.len());
            archive[place] = *byte;
            if fix {
                // Past the checksum, into the fields.
                let start = place / 512 * 512;
                let mut header = tar::Header::new_old();
                header.as_mut_bytes().copy_from_slice(&archive[start..start + 512]);
                header.set_cksum();
                archive[start..start + 512].copy_from_slice(header.as_bytes());
            }
        }
        archive.truncate(length.index(archive.len()) + 1);
        unpack_guarded(&archive, |_, _| {});
    }

    #[test]
    fn no_text_crashes_the_reference_parser(text in "[a-zA-Z0-9:/@._\\[\\] \u{e9}-]{0,60}") {
        if let Ok(reference) = images::reference::Reference::parse(&text) {
            let shown = reference.to_string();
            prop_assert_eq!(images::reference::Reference::parse(&shown), Ok(reference));
        }
    }
}
