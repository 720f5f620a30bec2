//! Command lines against a real API server in the same process: what is printed, and the exit code.

mod support;

use support::Cluster;

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
    cluster.check("get pod/web -o name", 0, "pod/web\n", "").await;
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

#[tokio::test]
async fn metadata_is_changed_by_label_and_annotate() {
    let cluster = Cluster::new().await;
    cluster.file("pod.yaml", POD);
    cluster.check("create -f FOLDER/pod.yaml", 0, "pod/web created\n", "").await;
    for (line, code, out, err) in [
        ("label pod web a=b", 0, "pod/web labeled\n", ""),
        ("label pod web a=c", 1, "", "error: 'a' already has a value (b), and --overwrite is false\n"),
        ("label pod web a=c --overwrite", 0, "pod/web labeled\n", ""),
        ("label pod web a=c", 0, "pod/web not labeled\n", ""),
        ("label pod web a-", 0, "pod/web unlabeled\n", ""),
        ("annotate pod web a=b --overwrite", 0, "pod/web annotated\n", ""),
        (
            "get pod web --show-labels --no-headers -o jsonpath={.metadata.annotations}",
            1,
            "",
            "error: --show-labels option cannot be used with jsonpath={.metadata.annotations} printer\n",
        ),
        ("get pod web -o jsonpath={.metadata.annotations}", 0, "{\"a\":\"b\"}", ""),
        ("auth can-i create pods", 0, "yes\n", ""),
        ("top pods", 1, "", "error: Metrics API not available\n"),
        ("exec web", 1, "", "error: you must specify at least one command for the container\n"),
        (
            "exec web sh",
            1,
            "",
            "error: exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead\nSee 'kubectl exec -h' for help and examples\n",
        ),
        ("exec web -c nosuch -- true", 1, "", "error: container nosuch is not valid for pod web out of: c\n"),
        ("logs web -c nosuch", 1, "", "error: container nosuch is not valid for pod web out of: c\n"),
        (
            "port-forward pods/nosuch 8080:80",
            1,
            "",
            "Error from server (NotFound): pods \"nosuch\" not found\n",
        ),
        (
            "port-forward web",
            1,
            "",
            "error: TYPE/NAME and list of ports are required for port-forward\nSee 'kubectl port-forward -h' for help and examples\n",
        ),
        ("wait --for=delete pod/nosuch --timeout=1s", 0, "", ""),
        (
            "wait --for=condition=Ready pod/web --timeout=1ms",
            1,
            "",
            "error: timed out waiting for the condition on pods/web\n",
        ),
        ("wait --for=jsonpath='{.metadata.name}'=web pod/web", 0, "pod/web condition met\n", ""),
    ] {
        cluster.check(line, code, out, err).await;
    }
}
