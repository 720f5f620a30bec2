//! `carob why` against a server without nodes: how it is called, what it prints, and that kubectl has no such command.

mod support;

use support::Cluster;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: c\n    image: nginx\n";

const PENDING: &str = "pod/web\n  Pending: no scheduler has looked at it yet\n  what helps:\n    if this lasts: `carob status` shows whether the scheduler runs\n";

#[tokio::test]
async fn objects_are_named_as_elsewhere() {
    let cluster = Cluster::new().await;
    cluster.file("pod.yaml", POD);
    cluster.check("apply -f FOLDER/pod.yaml", 0, "pod/web created\n", "").await;
    for line in ["why pod/web", "why pods web", "why web", "why pods"] {
        let ran = cluster.run_as("carob", line, "").await;
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, PENDING, ""), "{line}");
    }
    let ran = cluster.run_as("carob", "why pod/web -o json", "").await;
    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(told["object"], "pod/web");
    assert_eq!(told["diagnoses"][0]["healthy"], false);
    assert_eq!(told["diagnoses"][0]["cause"], "Pending: no scheduler has looked at it yet");
    cluster.check("create namespace fresh", 0, "namespace/fresh created\n", "").await;
    let ran = cluster.run_as("carob", "why namespace/fresh", "").await;
    let well = "namespace/fresh\n  nothing that it or its events say is wrong (phase Active)\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, well), "{}", ran.err);
    let ran = cluster.run_as("carob", "why nosuch", "").await;
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (1, "Error from server (NotFound): pods \"nosuch\" not found\n")
    );
    assert_eq!(cluster.run_as("carob", "why", "").await.code, 1);
}

#[tokio::test]
async fn kubectl_does_not_have_it() {
    let cluster = Cluster::new().await;
    cluster.check("why pod/web", 1, "", "error: unknown command \"why\" for \"kubectl\"\n").await;
    let help = cluster.run_as("kubectl", "--help", "").await;
    assert!(!help.out.contains("  why "), "{}", help.out);
    let help = cluster.run_as("carob", "--help", "").await;
    assert!(help.out.contains("  why "), "{}", help.out);
}
