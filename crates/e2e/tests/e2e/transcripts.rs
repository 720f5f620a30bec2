//! The sessions of study notes about Pods, typed in and compared with `docs/transcripts/`: manifest, command and what it means
//! on the screen, each with the words of v1.36.

use e2e::transcript::Transcript;
use e2e::{restarts, waiting};
use k8s_openapi::api::core::v1::Pod;
use testkit::clients::Kind;
use testkit::{Carob, Options, wait};

macro_rules! example {
    ($name:literal) => {
        include_str!(concat!("../../../../examples/", $name, ".yaml"))
    };
}

/// A session on an instance, with carob as its `kubectl`.
fn begin(carob: &Carob, page: &'static str, title: &str, introduction: &str) -> Transcript {
    Transcript::begin(page, title, introduction, carob.kubectl_of(Kind::Own))
}

fn is_waiting(container: &'static str, reason: &'static str) -> impl Fn(&Pod) -> bool {
    move |pod| waiting(pod, container).is_some_and(|own| own.0 == reason)
}

#[tokio::test]
async fn commands_make_and_show_pods() {
    let carob = Carob::with_images();
    let client = carob.client();
    let mut session = begin(
        &carob,
        "run-get-describe-delete",
        "Making Pods by command, and looking at them",
        "`run` makes a Pod of one container; `get`, `describe` and `logs` show what became of it.",
    );
    session.ok("kubectl run myweb --image httpd");
    wait::ready(&client, "myweb").await;
    session.says("kubectl get pods", &["myweb   1/1     Running   0"]);
    session.says("kubectl get pods -o wide", &["NOMINATED NODE   READINESS GATES", "node1"]);
    session.says("kubectl get pods myweb -o yaml | head -n 8", &["kind: Pod", "run: myweb"]);
    session.says(
        "kubectl describe pods myweb",
        &["Successfully assigned default/myweb to node1", "kube-api-access-", "QoS Class:"],
    );
    session.ok(
        "kubectl run webserver --image=nginx:1.14 --port=80 --labels=app=nginx-app --env=MYVAR=testvalue",
    );
    wait::ready(&client, "webserver").await;
    session.says("kubectl get pods -l app=nginx-app", &["webserver"]);
    session.says("kubectl exec webserver -- sh -c 'echo $MYVAR'", &["testvalue"]);
    session.says("kubectl get po --all-namespaces", &["default", "webserver"]);
    session.note("A manifest without making anything:");
    session.says("kubectl run redis --image=redis123 --dry-run=client -o yaml", &["image: redis123"]);
    session.ok("kubectl delete pod webserver");
    session.ok("kubectl delete pod --all");
    session.says("kubectl get pods 2>&1", &["No resources found in default namespace."]);
    session.end();
}

#[tokio::test]
async fn an_image_without_a_long_running_program_crashes() {
    let carob = Carob::with_images();
    let client = carob.client();
    let mut session = begin(
        &carob,
        "crash-loop",
        "CrashLoopBackOff: a program that ends at once",
        "`ubuntu:focal` starts a shell. Without a terminal the shell ends at once, and the container is started again and again, \
         with growing pauses.",
    );
    session.ok("kubectl run myubuntu --image ubuntu:focal");
    wait::pod(&client, "myubuntu", "restarted", |pod| restarts(pod) >= 1).await;
    wait::event(&client, "myubuntu", "BackOff").await;
    wait::pod(&client, "myubuntu", "backing off", is_waiting("myubuntu", "CrashLoopBackOff")).await;
    session.says("kubectl get pods", &["myubuntu   0/1     CrashLoopBackOff"]);
    session.says(
        "kubectl describe pod myubuntu | sed -n '/^Events/,$p'",
        &["Back-off restarting failed container myubuntu in pod myubuntu_default("],
    );
    session.ok("kubectl delete pod myubuntu");
    session.end();
}

#[tokio::test]
async fn two_servers_on_one_port() {
    let carob = Carob::with_images();
    let client = carob.client();
    let mut session = begin(
        &carob,
        "port-conflict",
        "Two containers, one port",
        "Containers of a Pod share its network: the second web server cannot bind port 80.",
    );
    session.file("myweb.yaml", example!("port-conflict"));
    session.ok("kubectl create -f myweb.yaml");
    wait::pod(&client, "myweb", "backing off", is_waiting("myweb2", "CrashLoopBackOff")).await;
    session.says("kubectl get pods", &["myweb   1/2     CrashLoopBackOff"]);
    session.says("kubectl get pods -o wide", &["myweb   1/2"]);
    session.says("kubectl logs myweb -c myweb2", &["Address already in use"]);
    session.note("Without `-c` the first container is taken:");
    let answer = session.line("kubectl logs myweb --tail=0");
    assert_eq!(answer.stderr, "Defaulted container \"myweb\" out of: myweb, myweb2\n");
    session.ok("kubectl delete -f myweb.yaml");
    session.end();
}

#[tokio::test]
async fn a_wrong_image_is_mended_in_place() {
    let carob = Carob::with_images();
    let client = carob.client();
    let mut session = begin(
        &carob,
        "wrong-image",
        "ImagePullBackOff, mended by an edit",
        "No registry has `redis123`. The image of a Pod may be changed: its container is made, and the Pod stays the same.",
    );
    session.file("redis.yaml", example!("redis"));
    session.ok("kubectl create -f redis.yaml");
    let before = wait::pod(&client, "redis", "stuck", is_waiting("redis", "ImagePullBackOff")).await;
    session.says("kubectl get pods", &["redis   0/1     ImagePullBackOff   0"]);
    session.says(
        "kubectl describe pod redis | sed -n '/^Events/,$p'",
        &["Pulling image \"redis123\"", "Failed to pull image \"redis123\"", "Error: ErrImagePull"],
    );
    session.ok("EDITOR=\"sed -i s/redis123/redis/\" kubectl edit pod redis");
    let after = wait::ready(&client, "redis").await;
    assert_eq!(before.metadata.uid, after.metadata.uid, "the Pod is not made anew");
    session.says("kubectl get pods", &["redis   1/1     Running   0"]);
    session.ok("kubectl delete -f redis.yaml");
    session.end();
}

#[tokio::test]
async fn liveness_restarts_and_readiness_does_not() {
    let carob = Carob::with_images();
    let client = carob.client();
    let mut session = begin(
        &carob,
        "probes",
        "Probes: liveness restarts, readiness takes out of service",
        "The exam's Pod loses the file its probe looks for after 30 s. The other one is never ready, and is left alone.",
    );
    session.file("liveness-exam.yaml", example!("liveness-exam"));
    session.file("echo-rp.yaml", example!("readiness-probe-that-fails"));
    session.ok("kubectl create -f liveness-exam.yaml");
    session.ok("kubectl apply -f echo-rp.yaml");
    wait::event(&client, "echo-rp", "Unhealthy").await;
    wait::pod(&client, "liveness-exam", "restarted", |pod| restarts(pod) >= 1).await;
    wait::ready(&client, "liveness-exam").await;
    session.says(
        "kubectl get pods",
        &["liveness-exam   1/1     Running   1 (", "echo-rp         0/1     Running   0"],
    );
    session.says(
        "kubectl describe pod liveness-exam | sed -n '/^Events/,$p'",
        &[
            "Liveness probe failed: ls: /tmp/healthy: No such file or directory",
            "failed liveness probe, will be restarted",
        ],
    );
    session.says(
        "kubectl describe pod echo-rp | sed -n '/^Events/,$p'",
        &["Readiness probe failed: Get \"http://"],
    );
    session.ok("kubectl delete pod --all --grace-period=1");
    session.end();
}

const HUNGRY: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: hungry\nspec:\n  restartPolicy: Never\n  containers:\n  - \
    name: hungry\n    image: busybox\n    command: [sh, -c, \"x=a; while true; do x=$x$x; done\"]\n    resources:\n      \
    limits:\n        memory: 32Mi\n";

#[tokio::test]
async fn resources_bound_and_place() {
    let carob = Carob::with_images();
    let client = carob.client();
    let mut session = begin(
        &carob,
        "resources",
        "Requests and limits",
        "Over its memory limit a container is ended. A request that no node can hold keeps the Pod Pending.",
    );
    session.file("hungry.yaml", HUNGRY);
    session.file("too-large.yaml", example!("resources-too-large"));
    session.ok("kubectl apply -f hungry.yaml -f too-large.yaml");
    wait::phase(&client, "hungry", "Failed").await;
    wait::event(&client, "too-large", "FailedScheduling").await;
    session.says(
        "kubectl get pods",
        &["hungry      0/1     OOMKilled   0", "too-large   0/1     Pending     0"],
    );
    session.says(
        "kubectl describe pod hungry | grep -A 3 State:",
        &["Reason:       OOMKilled", "Exit Code:    137"],
    );
    session.says(
        "kubectl describe pod too-large | sed -n '/^Events/,$p'",
        &["0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."],
    );
    session.ok("kubectl delete pod --all");
    session.end();
}

#[tokio::test]
async fn a_finalizer_holds_and_is_patched_away() {
    let carob = Carob::with_images();
    let client = carob.client();
    let mut session = begin(
        &carob,
        "finalizer",
        "A deletion that does not end",
        "A finalizer holds an object until somebody takes it away.",
    );
    session.file("held.yaml", include_str!("../../../../examples/by-hand/finalizer.yaml"));
    session.ok("kubectl apply -f held.yaml");
    let name = session.ok("kubectl get -f held.yaml -o jsonpath='{.metadata.name}'");
    wait::ready(&client, &name).await;
    session.ok(&format!("kubectl delete pod {name} --wait=false"));
    wait::pod(&client, &name, "ended", e2e::every_container_ended).await;
    session.says(&format!("kubectl get pod {name} -o jsonpath='{{.metadata.finalizers}}'"), &["["]);
    session.ok(&format!("kubectl patch pod {name} -p '{{\"metadata\":{{\"finalizers\":null}}}}'"));
    wait::gone::<Pod>(&client, Some("default"), &name).await;
    session.refused(&format!("kubectl get pod {name}"), "(NotFound)");
    session.end();
}

#[tokio::test]
async fn a_port_is_forwarded_on_both_loopbacks() {
    let carob = Carob::with_images();
    let client = carob.client();
    let mut session = begin(
        &carob,
        "port-forward",
        "A port of a Pod on one's own machine",
        "For trying things out: it lasts as long as the command runs.",
    );
    session.file("myweb.yaml", example!("myweb"));
    session.ok("kubectl create -f myweb.yaml");
    wait::ready(&client, "myweb").await;
    // Any free port, because tests run beside each other; the page shows the one of the notes.
    let mut forward = carob.kubectl_of(Kind::Own).start("port-forward pods/myweb :80");
    let first = forward.line_with("Forwarding from 127.0.0.1:");
    let second = forward.line_with("Forwarding from [::1]:");
    let port = first.split([':', ' ']).nth(3).expect("a port").to_owned();
    session.show(
        "kubectl port-forward pods/myweb 8080:80",
        &format!("{first}\n{second}").replace(&port, "8080"),
    );
    session.note("In another terminal:");
    for host in ["127.0.0.1", "[::1]"] {
        let curl = std::process::Command::new("curl").args(["-s", &format!("http://{host}:{port}")]).output();
        let said = String::from_utf8(curl.expect("curl").stdout).expect("text");
        assert_eq!(said, "<html><body><h1>It works!</h1></body></html>\n", "{host}");
        session.show(&format!("curl {host}:8080"), &said);
    }
    drop(forward);
    session.ok("kubectl delete -f myweb.yaml");
    session.end();
}

#[tokio::test]
async fn several_containers_do_one_job() {
    let carob = Carob::with_images();
    let client = carob.client();
    let mut session = begin(
        &carob,
        "patterns",
        "Sidecar, adapter, ambassador",
        "Three ways for a second container to help the first, by a shared volume or by the shared network.",
    );
    session.file("sidecar.yaml", example!("sidecar"));
    session.file("sidecar-native.yaml", example!("sidecar-native"));
    session.file("adapter.yaml", example!("adapter"));
    session.file("ambassador.yaml", example!("ambassador"));
    session.file("multipod.yaml", example!("multipod"));
    session.ok("kubectl apply -f sidecar.yaml -f sidecar-native.yaml -f adapter.yaml -f ambassador.yaml -f multipod.yaml");
    for name in ["sidecar", "adapter", "ambassador", "multipod"] {
        wait::ready(&client, name).await;
    }
    wait::phase(&client, "sidecar-native", "Succeeded").await;
    session.says(
        "kubectl get pods",
        &["ambassador       3/3     Running     0", "sidecar-native   0/2     Completed   0"],
    );
    let follow = |line: &str, text: &str| carob.kubectl_of(Kind::Own).start(line).line_with(text);
    follow("logs -f sidecar -c log-shipper", "UTC");
    session.says("kubectl logs sidecar -c log-shipper | head -n 1", &["UTC"]);
    session.says("kubectl logs sidecar-native -c log-shipper", &["line 1\nline 2\nline 3\nline 4\nline 5\n"]);
    follow("logs -f adapter -c adapter", "app_requests_total");
    session
        .says("kubectl logs adapter -c adapter | sed 's/[0-9]*$/N/' | head -n 1", &["app_requests_total N"]);
    follow("logs -f ambassador -c app", "+PONG");
    session.says("kubectl logs ambassador -c app | grep -m 1 PONG", &["+PONG"]);
    session.note("One container of several:");
    session.says("kubectl exec multipod -c nginx-container -- /bin/bash -c 'echo $HOSTNAME'", &["multipod"]);
    session.says(
        "kubectl exec multipod -c centos-container -- wget -qO- localhost | grep title",
        &["Welcome to nginx!"],
    );
    session.ok("kubectl delete pod --all --grace-period=1");
    session.end();
}

#[tokio::test]
async fn init_containers_go_first() {
    let carob = Carob::with_images();
    let client = carob.client();
    let mut session = begin(
        &carob,
        "init-containers",
        "Init containers",
        "They run one after the other, each to its success, before the others start. These wait for names of Services.",
    );
    session.file("myapp-pod.yaml", example!("init-containers"));
    session.ok("kubectl apply -f myapp-pod.yaml");
    let running = |pod: &Pod| {
        let statuses = pod.status.iter().flat_map(|own| own.init_container_statuses.iter().flatten());
        let mut states = statuses.into_iter().filter_map(|own| own.state.as_ref());
        states.any(|own| own.running.is_some())
    };
    wait::pod(&client, "myapp-pod", "initialising", running).await;
    session.says("kubectl get pods", &["myapp-pod   0/1     Init:0/2   0"]);
    carob
        .kubectl_of(Kind::Own)
        .start("logs -f myapp-pod -c init-myservice")
        .line_with("waiting for myservice");
    session.says("kubectl logs myapp-pod -c init-myservice | grep -m 1 waiting", &["waiting for myservice"]);
    session.ok("kubectl delete -f myapp-pod.yaml --grace-period=1");
    session.end();
}

#[tokio::test]
async fn a_static_pod_comes_and_goes_with_its_file() {
    let carob = Carob::start_with_images(Options::default());
    let client = carob.client();
    let mut session = begin(
        &carob,
        "static-pod",
        "Static Pods",
        "The node runs what lies in its folder of manifests. The API server only mirrors it.",
    );
    // The session works below the prefix, which stands for `/`.
    session.says("cat var/lib/kubelet/config.yaml | grep staticPodPath", &["staticPodPath:"]);
    session.file("static-web.yaml", example!("static-pod"));
    session.ok("mv static-web.yaml etc/kubernetes/manifests/");
    wait::ready(&client, "static-web-node1").await;
    session.says("kubectl get pods", &["static-web-node1   1/1     Running   0"]);
    session.note("Deleting the mirror does not end the Pod; taking the file away does:");
    session.ok("rm etc/kubernetes/manifests/static-web.yaml");
    wait::gone::<Pod>(&client, Some("default"), "static-web-node1").await;
    session.ok("kubectl get pods");
    session.end();
}

#[tokio::test]
async fn a_private_image_wants_a_secret() {
    let registry = testkit::Registry::start_with_password();
    let carob = Carob::start(Options { registries: Some(registry.itself()), ..Options::default() });
    let client = carob.client();
    let mut session = begin(
        &carob,
        "private-registry",
        "An image behind a password",
        "Without a name and a password the registry refuses; `imagePullSecrets` names the Secret that has them.",
    );
    let manifest = example!("image-pull-secret").replace("my-app:1.0", "REGISTRY/library/my-app:1.0");
    session.file("private.yaml", &manifest);
    let place = |line: &str| line.replace("REGISTRY", &registry.address);
    let mut real = carob.kubectl_of(Kind::Own);
    real = real.inside(carob.prefix());
    std::fs::write(real.folder().join("private.yaml"), place(&manifest)).expect("written");
    session.ok("kubectl apply -f private.yaml");
    wait::pod(&client, "private-image-pod", "stuck", is_waiting("app-container", "ImagePullBackOff")).await;
    session.says("kubectl get pods", &["private-image-pod   0/1     ImagePullBackOff   0"]);
    let make = "kubectl create secret docker-registry my-registry-secret --docker-server=REGISTRY \
                --docker-username=reader --docker-password=secret";
    let answer = testkit::command::run(&mut real.shell(&place(make))).expect("a shell");
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    session.show(make, &answer.stdout);
    wait::ready(&client, "private-image-pod").await;
    session.says("kubectl get pods", &["private-image-pod   1/1     Running   0"]);
    session.ok("kubectl delete -f private.yaml --grace-period=1");
    session.end();
}
