//! Pods' network: to each other, to the node, to the world, and from there to them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use e2e::{address, create, once, script, sleeper, texts, with, with_container};
use serde_json::json;
use testkit::command::{run, succeed};
use testkit::{Carob, wait};

/// A page by HTTP/1.0.
fn fetch(host: &str, port: u16) -> String {
    let mut stream =
        TcpStream::connect((host, port)).unwrap_or_else(|error| panic!("{host}:{port}: {error}"));
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

/// A Pod that serves the word `served` on this port.
fn server(name: &str, port: u16) -> serde_json::Value {
    let pod = script(name, &format!("mkdir /w; echo served > /w/index.html; httpd -f -p {port} -h /w"));
    let probe = json!({ "tcpSocket": { "port": port }, "periodSeconds": 1 });
    with_container(pod, json!({ "readinessProbe": probe, "ports": [{ "containerPort": port }] }))
}

#[tokio::test]
async fn pods_reach_pods_and_node_and_the_node_reaches_pods() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &server("web", 80)).await;
    let web = wait::ready(&client, "web").await;
    assert!(fetch(&address(&web), 80).contains("served"), "the node reaches the Pod");
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let peer = stream.peer_addr().map(|own| own.ip().to_string()).unwrap_or_default();
            let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{peer}");
        }
    });
    let node = testkit::carob::node_address();
    let rows = [
        ("to-pod", format!("wget -qO- http://{} | grep served", address(&web))),
        ("to-node", format!("test $(wget -qO- http://{node}:{port}) = $(hostname -i | cut -d' ' -f1)")),
        (
            "to-self",
            "httpd -p 80 -h /etc && wget -qO- http://$(hostname -i | cut -d' ' -f1)/passwd | grep root"
                .into(),
        ),
    ];
    for (name, text) in &rows {
        create(&client, &once(name, text)).await;
    }
    for (name, _) in &rows {
        wait::phase(&client, name, "Succeeded").await;
    }
}

/// A machine outside: a network namespace that knows the way to the node only, not to Pods.
struct Outside {
    name: String,
}

impl Outside {
    const ADDRESS: &str = "198.18.77.2";

    fn new(id: &str) -> Self {
        let own = Self { name: format!("out-{id}") };
        let name = &own.name;
        let link = format!("o{id}");
        for line in [
            format!("netns add {name}"),
            format!("link add {link} type veth peer name eth0 netns {name}"),
            format!("addr add 198.18.77.1/30 dev {link}"),
            format!("link set {link} up"),
            format!("-n {name} addr add {}/30 dev eth0", Self::ADDRESS),
            format!("-n {name} link set eth0 up"),
            format!("-n {name} link set lo up"),
        ] {
            succeed(Command::new("ip").args(line.split(' '))).expect("ip");
        }
        own
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // The link goes with the namespace.
        let _ = run(Command::new("ip").args(["netns", "del", &self.name]));
    }
}

#[tokio::test]
async fn pods_reach_the_world_with_the_nodes_address() {
    let carob = Carob::with_images();
    let client = carob.client();
    let outside = Outside::new(carob.id());
    let mut serve = Command::new("ip");
    serve.args(["netns", "exec", &outside.name, "python3", "-u", "-m", "http.server", "8000"]);
    let mut serving = testkit::Running::start(serve.current_dir("/usr/share/misc")).expect("ip starts");
    serving.line_with("Serving HTTP");
    create(&client, &once("out", &format!("wget -qO- http://{}:8000/ | grep -i html", Outside::ADDRESS)))
        .await;
    wait::phase(&client, "out", "Succeeded").await;
    let line = serving.line_with("GET / ");
    assert!(line.starts_with("198.18.77.1 "), "the node's address is seen: {line}");
}

#[tokio::test]
async fn host_network_and_host_ports() {
    let carob = Carob::with_images();
    let client = carob.client();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|own| own.local_addr()).expect("a port").port();
    let ports = json!({ "ports": [{ "containerPort": 80, "hostPort": port }] });
    create(&client, &with_container(server("mapped", 80), ports.clone())).await;
    let host = json!({ "spec": { "hostNetwork": true } });
    create(&client, &with(once("host", "test -d /sys/class/net/lo && ip link > /dev/termination-log"), host))
        .await;
    wait::ready(&client, "mapped").await;
    let node = testkit::carob::node_address();
    for place in ["127.0.0.1", node.as_str()] {
        assert!(fetch(place, port).contains("served"), "{place}");
    }
    let pod = wait::phase(&client, "host", "Succeeded").await;
    let status = pod.status.as_ref().expect("a status");
    assert_eq!(status.pod_ip, status.host_ip);
    let state = e2e::container(&pod, "main").and_then(|own| own.state.clone()).and_then(|own| own.terminated);
    let links = state.and_then(|own| own.message).unwrap_or_default();
    assert!(links.contains(&format!("cb-{}", carob.id())), "the node's links are seen: {links}");
    create(&client, &with(with_container(sleeper("second"), ports.clone()), json!({}))).await;
    let text = wait::event(&client, "second", "FailedScheduling").await;
    assert!(text.contains("1 node(s) didn't have free ports for the requested pod ports"), "{text}");
}

#[tokio::test]
async fn a_client_in_a_pod_is_let_in_by_rbac() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &texts("ConfigMap", "seen", &[("a", "b")])).await;
    // Upstream's kubectl, with nothing but what each Pod is given: addresses, token, CA.
    let command = carob.kubectl().command::<&str>(&[]);
    let program = command.get_program().to_owned();
    let volume = json!({ "spec": { "volumes": [{ "name": "k", "hostPath": { "path": program.to_string_lossy(), "type": "File" } }] } });
    let mount = json!({ "volumeMounts": [{ "name": "k", "mountPath": "/kubectl", "readOnly": true }] });
    create(&client, &with_container(with(sleeper("inside"), volume), mount)).await;
    wait::ready(&client, "inside").await;
    let ask = || {
        carob.kubectl().run(&["exec", "inside", "--", "/kubectl", "get", "configmap", "seen", "-o", "name"])
    };
    let answer = ask();
    assert_eq!(answer.code, 1);
    let denied = "Error from server (Forbidden): configmaps \"seen\" is forbidden: User \"system:serviceaccount:default:default\" cannot get resource \"configmaps\" in API group \"\" in the namespace \"default\"";
    assert!(answer.stderr.starts_with(denied), "{}{}", answer.stdout, answer.stderr);
    let group = "rbac.authorization.k8s.io";
    create(
        &client,
        &json!({ "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": { "name": "reader" },
        "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"] }] }),
    )
    .await;
    create(
        &client,
        &json!({ "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": { "name": "reader" },
        "roleRef": { "apiGroup": group, "kind": "Role", "name": "reader" },
        "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": "default" }] }),
    )
    .await;
    let answer = ask();
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "configmap/seen\n"), "{}", answer.stderr);
    // The Service's address stands in the environment; the name too leads to the API server where there is DNS.
    let service = carob.kubectl().ok("get service kubernetes -o jsonpath={.spec.clusterIP}");
    let seen =
        carob.kubectl().succeed(&["exec", "inside", "--", "sh", "-c", "echo $KUBERNETES_SERVICE_HOST"]);
    assert_eq!(seen.trim(), service);
}
