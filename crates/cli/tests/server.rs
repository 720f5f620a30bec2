//! Command lines against a real API server in the same process: what is printed, and the exit code.

use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use apiserver::{InProcess, Objects, Options, Server};
use cli::context::Context;
use model::UserInfo;
use stdx::clock::Clock;
use stdx::entropy::Entropy;

/// Bytes that were written.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

/// A server and a place for files.
struct Cluster {
    server: Arc<Server>,
    clock: Clock,
    folder: tempfile::TempDir,
}

/// What a command line did.
struct Ran {
    code: u8,
    out: String,
    err: String,
}

impl Cluster {
    async fn new() -> Self {
        let clock = Clock::manual("2026-01-02T03:04:05Z".parse().unwrap());
        let store = Arc::new(store::memory::MemoryStore::new(clock.clone()));
        let objects = Objects::new(store, Arc::new(resources::registry().clone()));
        let options = Options::new(objects, clock.clone(), Entropy::seeded(1));
        let server = Server::open(options).await.unwrap();
        Self { server, clock, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs a line; `FOLDER/` is where the files are, quotes group words.
    async fn run_as(&self, program: &str, line: &str, stdin: &str) -> Ran {
        let (out, err) = (Sink::default(), Sink::default());
        let stdin = Box::new(Cursor::new(stdin.as_bytes().to_vec()));
        let mut context = Context::with_streams(
            program,
            self.clock.clone(),
            Box::new(out.clone()),
            Box::new(err.clone()),
            stdin,
        );
        let admin = UserInfo {
            username: "admin".into(),
            groups: vec!["system:masters".into()],
            ..UserInfo::default()
        };
        context.transport = Some(Arc::new(InProcess::new(self.server.clone(), admin)));
        let folder = format!("{}/", self.folder.path().display());
        let words: Vec<String> =
            words(line).into_iter().map(|word| word.replace("FOLDER/", &folder)).collect();
        let code = cli::run::run(&context, &words).await;
        Ran { code, out: out.take().replace(&folder, "FOLDER/"), err: err.take().replace(&folder, "FOLDER/") }
    }

    /// Runs a line as kubectl and compares everything.
    async fn check(&self, line: &str, code: u8, out: &str, err: &str) {
        let ran = self.run_as("kubectl", line, "").await;
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (code, out, err), "{line}");
    }
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  labels: {app: x}\nspec:\n  containers:\n  - name: c\n    image: nginx\n";

#[tokio::test]
async fn objects_come_change_and_go() {
    let cluster = Cluster::new().await;
    cluster.file("pod.yaml", POD);
    cluster.check("apply -f FOLDER/pod.yaml", 0, "pod/web created\n", "").await;
    cluster.check("apply -f FOLDER/pod.yaml", 0, "pod/web unchanged\n", "").await;
    cluster.file("pod.yaml", &POD.replace("{app: x}", "{app: other, tier: z}"));
    cluster.check("apply -f FOLDER/pod.yaml", 0, "pod/web configured\n", "").await;
    cluster
        .check(
            "get pods -o jsonpath='{.items[*].metadata.labels}'",
            0,
            "{\"app\":\"other\",\"tier\":\"z\"}",
            "",
        )
        .await;
    cluster.file("pod.yaml", POD);
    cluster
        .check("apply -f FOLDER/pod.yaml --dry-run=server", 0, "pod/web configured (server dry run)\n", "")
        .await;
    cluster.check("apply -f FOLDER/pod.yaml --dry-run=client", 0, "pod/web configured (dry run)\n", "").await;
    cluster.check("apply -f FOLDER/pod.yaml", 0, "pod/web configured\n", "").await;
    cluster.check("get pod web -o jsonpath={.metadata.labels.tier}", 0, "", "").await;
    let exists = "Error from server (AlreadyExists): error when creating \"FOLDER/pod.yaml\": pods \"web\" already exists\n";
    cluster.check("create -f FOLDER/pod.yaml", 1, "", exists).await;
    cluster
        .check(
            "patch pod web -p '{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"redis\"}]}}'",
            0,
            "pod/web patched\n",
            "",
        )
        .await;
    cluster
        .check(
            "get pods -o custom-columns=NAME:.metadata.name,IMAGE:.spec.containers[*].image",
            0,
            "NAME   IMAGE\nweb    redis\n",
            "",
        )
        .await;
    cluster.check("get pod/web pod/web -o name", 0, "pod/web\n", "").await;
    cluster.check("delete pod web --now", 0, "pod \"web\" deleted from default namespace\n", "").await;
    cluster.check("get pods", 0, "", "No resources found in default namespace.\n").await;
    cluster.check("get pod web", 1, "", "Error from server (NotFound): pods \"web\" not found\n").await;
    cluster.check("get pod web --ignore-not-found", 0, "", "").await;
}

#[tokio::test]
async fn mistakes_are_told_in_kubectls_words() {
    let cluster = Cluster::new().await;
    cluster.file("kind.yaml", "apiVersion: v1\nkind: Pood\nmetadata: {name: x}\n");
    cluster.file("tab.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: webserver\n");
    cluster.file("field.yaml", &POD.replace("image: nginx", "imag: nginx"));
    for (line, err) in [
        ("get nosuch", "error: the server doesn't have a resource type \"nosuch\"\n"),
        ("apply -f FOLDER/nosuch.yaml", "error: the path \"FOLDER/nosuch.yaml\" does not exist\n"),
        (
            "apply -f FOLDER/kind.yaml",
            "error: resource mapping not found for name: \"x\" namespace: \"\" from \"FOLDER/kind.yaml\": no matches for kind \"Pood\" in version \"v1\"\nensure CRDs are installed first\n",
        ),
        (
            "apply -f FOLDER/tab.yaml",
            "error: error parsing FOLDER/tab.yaml: error converting YAML to JSON: yaml: line 4: found character that cannot start any token\n",
        ),
        ("create", "error: must specify one of -f and -k\n"),
        ("delete pod", "error: resource(s) were provided, but no name was specified\n"),
        ("run x", "error: required flag(s) \"image\" not set\n"),
        (
            "run --image=nginx",
            "error: NAME is required for run\nSee 'kubectl run -h' for help and examples\n",
        ),
        ("bogus", "error: unknown command \"bogus\" for \"kubectl\"\n\nDid you mean this?\n\tlogs\n"),
        ("get pods --bogus", "error: unknown flag: --bogus\nSee 'kubectl get --help' for usage.\n"),
        (
            "get pods -o bogus",
            "error: unable to match a printer suitable for the output format \"bogus\", allowed formats are: custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,kyaml,name,template,templatefile,wide,yaml\n",
        ),
        (
            "logs nosuch",
            "error: error from server (NotFound): pods \"nosuch\" not found in namespace \"default\"\n",
        ),
        (
            "wait --for=condition=Ready pod/nosuch --timeout=1s",
            "Error from server (NotFound): pods \"nosuch\" not found\n",
        ),
    ] {
        cluster.check(line, 1, "", err).await;
    }
    let ran = cluster.run_as("kubectl", "apply -f FOLDER/field.yaml", "").await;
    let want = "Error from server (BadRequest): error when creating \"FOLDER/field.yaml\": Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.containers[0].imag\"\n";
    assert_eq!((ran.code, ran.err.as_str()), (1, want));
    let ran = cluster.run_as("carob", "apply -f FOLDER/field.yaml", "").await;
    assert!(ran.err.starts_with(want), "{}", ran.err);
    assert!(
        ran.err.contains("FOLDER/field.yaml:9:5") && ran.err.contains("did you mean \"image\"?"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn dry_runs_print_what_kubectl_prints() {
    let cluster = Cluster::new().await;
    let want = "apiVersion: v1\nkind: Pod\nmetadata:\n  labels:\n    run: x\n  name: x\nspec:\n  containers:\n  - image: nginx\n    name: x\n    resources: {}\n  dnsPolicy: ClusterFirst\n  restartPolicy: Always\nstatus: {}\n";
    cluster.check("run x --image=nginx --dry-run=client -o yaml", 0, want, "").await;
    let ran = cluster.run_as("kubectl", "run x --image=nginx --dry-run -o yaml", "").await;
    assert_eq!((ran.code, ran.out.as_str()), (0, want));
    assert!(ran.err.starts_with("W0102 03:04:05.000000 "), "{}", ran.err);
    assert!(
        ran.err.ends_with(
            " helpers.go:719] --dry-run is deprecated and can be replaced with --dry-run=client.\n"
        )
    );
    let want = "{\n    \"kind\": \"Pod\",\n    \"apiVersion\": \"v1\",\n    \"metadata\": {\n        \"name\": \"x\",\n        \"labels\": {\n            \"run\": \"x\"\n        }\n    },\n    \"spec\": {\n        \"containers\": [\n            {\n                \"name\": \"x\",\n                \"image\": \"nginx\",\n                \"resources\": {}\n            }\n        ],\n        \"restartPolicy\": \"Always\",\n        \"dnsPolicy\": \"ClusterFirst\",\n        \"hostNetwork\": true\n    },\n    \"status\": {}\n}\n";
    cluster
        .check(
            "run x --image=nginx --overrides='{\"spec\":{\"hostNetwork\":true}}' --dry-run=client -o json",
            0,
            want,
            "",
        )
        .await;
    cluster.check("create namespace n", 0, "namespace/n created\n", "").await;
    cluster.check("create configmap m --from-literal=a=b -n n", 0, "configmap/m created\n", "").await;
    let exists = "error: failed to create configmap: configmaps \"m\" already exists\n";
    cluster.check("create configmap m --from-literal=a=b -n n", 1, "", exists).await;
    cluster.check("get cm m -n n -o go-template='{{.data.a}}'", 0, "b", "").await;
}

#[tokio::test]
async fn manifests_come_from_standard_input_too() {
    let cluster = Cluster::new().await;
    let two = format!("{POD}---\n{}", POD.replace("name: web", "name: api"));
    let ran = cluster.run_as("kubectl", "apply -f -", &two).await;
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "pod/web created\npod/api created\n", ""));
    cluster
        .check("get pods --no-headers -o name --sort-by=.metadata.name", 0, "pod/api\npod/web\n", "")
        .await;
    cluster.check("delete pods --all --grace-period=0 --force", 0, "pod \"api\" force deleted from default namespace\npod \"web\" force deleted from default namespace\n", "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.\n").await;
}
