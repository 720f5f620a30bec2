//! carob's kubectl beside upstream's: the same lines, each client in a cluster of its own, and the same answers.

use std::fs;
use std::path::Path;

use e2e::parity::{self, Line, Masks};
use testkit::clients::Kind;
use testkit::{Answer, Carob, Kubectl, Options};

/// Lines whose answers differ, and why. A line that ends with `*` stands for all that begin so.
const ACCEPTED: &[(&str, &str)] = &[
    ("alpha*", NOT_WRITTEN),
    ("apply edit-last-applied*", NOT_WRITTEN),
    ("auth reconcile*", NOT_WRITTEN),
    ("certificate*", NOT_WRITTEN),
    ("cluster-info dump*", NOT_WRITTEN),
    ("completion*", NOT_WRITTEN),
    ("debug*", NOT_WRITTEN),
    ("kustomize*", NOT_WRITTEN),
    ("plugin*", NOT_WRITTEN),
    ("proxy*", NOT_WRITTEN),
    ("--help", "the list of verbs has those that are there"),
    ("apply --help", "the list of verbs has those that are there"),
    ("auth", "the list of verbs has those that are there"),
    ("auth --help", "the list of verbs has those that are there"),
    ("cluster-info --help", "the list of verbs has those that are there"),
    ("attach --help", "kubectl 1.36 has --detach-keys"),
    ("run --help", "kubectl 1.36 has --detach-keys"),
    ("diff --help", "kubectl 1.36 has --show-secrets"),
    ("describe cronjob k1", "kubectl 1.36 shows the time zone"),
    ("exec web -c nosuch -- ls", "kubectl 1.36 says which containers there are"),
    ("logs web -c nosuch", "kubectl 1.36 says which containers there are"),
    ("get pods web -o go-template='{{.spec.containers.x}}'", "the place in a Go template is not told"),
];

const NOT_WRITTEN: &str = "the verb is not written yet";

/// Lines whose order in the answer is that of a Go map: another one every time.
const UNORDERED: [&str; 3] =
    ["label pod web --list", "annotate pod web --list", "set env deploy/dep --from=cm/one"];

fn accepted(line: &str) -> Option<usize> {
    ACCEPTED.iter().position(|(own, _)| match own.strip_suffix('*') {
        Some(begin) => line.starts_with(begin),
        None => line == *own,
    })
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
fn difference(masks: &Masks, line: &str, stock: &Answer, own: &Answer) -> String {
    let mut wrong = String::new();
    if stock.code != own.code {
        wrong += &format!("  exit code {} instead of {}\n", own.code, stock.code);
    }
    for (name, stock, own) in [("stdout", &stock.stdout, &own.stdout), ("stderr", &stock.stderr, &own.stderr)]
    {
        let masked = |text: &str| {
            let text = masks.apply(text);
            if !UNORDERED.contains(&line) {
                return text;
            }
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        let (stock, own) = (masked(stock), masked(own));
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
    let (mut same, mut excused, mut wrong) = (0, vec![0; ACCEPTED.len()], Vec::new());
    for ((line, stock), own) in lines.iter().zip(&stock).zip(&own) {
        let difference = difference(&masks, &line.text, stock, own);
        match (accepted(&line.text), difference.is_empty()) {
            (_, true) => same += 1,
            (None, false) => wrong.push(format!("## kubectl {}\n{difference}", line.text)),
            (Some(at), false) => excused[at] += 1,
        }
    }
    for ((line, reason), _) in ACCEPTED.iter().zip(&excused).filter(|(_, count)| **count == 0) {
        wrong.push(format!("## kubectl {line}\nno longer differs, though: {reason}\n"));
    }
    let (differ, accepted) = (wrong.len(), excused.iter().sum::<usize>());
    assert!(
        wrong.is_empty() && same > 600,
        "{same} lines are answered alike, {accepted} differ for reasons, {differ} for none:\n{}",
        wrong.join("\n")
    );
}
