//! carob's kubectl beside upstream's: the same lines, each client in a cluster of its own, and the same answers.

use std::fs;
use std::path::Path;

use e2e::parity::{self, Line, Masks};
use testkit::clients::Kind;
use testkit::{Answer, Carob, Kubectl, Options};

/// A line whose answers differ, and should: what begins like this, and why.
struct Accepted {
    line: &'static str,
    reason: &'static str,
}

const fn accept(line: &'static str, reason: &'static str) -> Accepted {
    Accepted { line, reason }
}

/// What upstream's kubectl cannot do here for want of something in the server. Told by the words it says then.
const SERVER_LACKS: [(&str, &str); 2] = [
    ("the body of the request was in an unknown format", "bodies in protobuf are not read yet"),
    (
        "the server was unable to respond with a content type that the client supports",
        "OpenAPI v2 is not served in protobuf yet",
    ),
];

const ACCEPTED: &[Accepted] = &[];

fn accepted(line: &str) -> Option<&'static Accepted> {
    ACCEPTED.iter().find(|own| own.line == line)
}

/// Copies the files into the client's folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("the files").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("copied");
        }
    }
}

/// Runs all lines with one client in a cluster of its own.
fn answers(kind: Kind, name: &str, lines: &[Line]) -> Vec<Answer> {
    let carob = Carob::start(Options::default());
    let folder = carob.path(name);
    copy(&parity::folder().join("parity"), &folder);
    // Lines of `config` write to it.
    let kubeconfig = folder.join("kubeconfig");
    fs::copy(carob.kubeconfig(), &kubeconfig).expect("copied");
    let kubectl = Kubectl::new(kind, &kubeconfig, &folder);
    lines
        .iter()
        .map(|line| {
            let input = line.input.iter().map(|file| fs::read_to_string(folder.join(file)).expect("a file"));
            let mut command = kubectl.command(&line.arguments);
            command.env("KUBE_EDITOR", "true");
            let input: String = input.collect();
            testkit::command::run_with_input(&mut command, input.as_bytes()).expect("kubectl starts")
        })
        .collect()
}

/// What differs between two answers; nothing if they agree.
fn difference(masks: &Masks, stock: &Answer, own: &Answer) -> String {
    let mut wrong = String::new();
    if stock.code != own.code {
        wrong += &format!("  exit code {} instead of {}\n", own.code, stock.code);
    }
    for (name, stock, own) in [("stdout", &stock.stdout, &own.stdout), ("stderr", &stock.stderr, &own.stderr)]
    {
        let (stock, own) = (masks.apply(stock), masks.apply(own));
        if stock != own {
            wrong += &format!("  {name}: {own:?}\n  instead: {stock:?}\n");
        }
    }
    wrong
}

#[test]
fn both_kubectls_answer_alike() {
    let lines = parity::lines();
    let (stock, own) = std::thread::scope(|scope| {
        let stock = scope.spawn(|| answers(Kind::Stock, "stock", &lines));
        let own = scope.spawn(|| answers(Kind::Own, "own", &lines));
        (stock.join().expect("upstream's"), own.join().expect("carob's"))
    });
    let masks = Masks::default();
    let (mut same, mut lacking, mut wrong) = (0, 0, Vec::new());
    for ((line, stock), own) in lines.iter().zip(&stock).zip(&own) {
        let difference = difference(&masks, stock, own);
        let lacks = SERVER_LACKS.iter().any(|(words, _)| stock.stderr.contains(words));
        match (accepted(&line.text), difference.is_empty()) {
            (None, true) => same += 1,
            (None, false) if lacks => lacking += 1,
            (None, false) => wrong.push(format!("## kubectl {}\n{difference}", line.text)),
            (Some(_), false) => {}
            (Some(own), true) => {
                wrong.push(format!("## kubectl {}\nno longer differs, though: {}\n", line.text, own.reason));
            }
        }
    }
    let count = wrong.len();
    assert!(
        wrong.is_empty() && same > 400,
        "{same} lines are answered alike, {lacking} meet what the server lacks ({}), {count} differ:\n{}",
        SERVER_LACKS.map(|(_, reason)| reason).join("; "),
        wrong.join("\n")
    );
}
