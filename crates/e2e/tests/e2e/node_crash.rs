//! The daemon and Pods' processes are killed again and again while Pods of every shape run, begin and end. What is
//! true afterwards is written down first: which containers must be untouched, which restarted, which exit codes and
//! lines must be there. `CAROB_CRASH_SECONDS` makes it longer, `CAROB_CRASH_SEED` repeats a run.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use e2e::{chaos, container, create, ended, restarts, try_create, with};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use rustix::process::Signal;
use serde_json::{Value, json};
use stdx::entropy::Entropy;
use testkit::{Carob, Options, wait};
use tokio::time::Instant;

/// How long it goes on where nothing else is said.
const SECONDS: u64 = 45;
/// A Pod that lost this many processes is replaced, lest its back-off be what is waited for.
const LOSSES_MAX: i32 = 1;
/// Within this time after a start of the daemon all Pods are as they should be.
const SETTLES: Duration = Duration::from_secs(30);

/// Counts for ever; notes each of its starts in the directory that all Pods share.
const COUNT: &str = "echo start >> /notes/$P.$C; n=0; while true; do echo tick $n; n=$((n+1)); usleep 50000; \
                     test -z \"$MARK\" || test -e $MARK || exit 99; done";

/// A container with this script.
fn own(name: &str, script: &str) -> Value {
    json!({
        "name": name, "image": "busybox:1.28", "command": ["sh", "-c", script],
        "env": [{ "name": "C", "value": name }, { "name": "P", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
        "volumeMounts": [{ "name": "notes", "mountPath": "/notes" }],
    })
}

/// Pods that run until they are told otherwise: name, spec.
fn shapes() -> Vec<(&'static str, Value)> {
    let count = |name: &str| own(name, COUNT);
    let init = |name: &str| own(name, "echo start >> /notes/$P.$C; echo done");
    let exec = |text: &str| json!({ "exec": { "command": ["sh", "-c", text] }, "periodSeconds": 1 });
    let probed = with(
        count("main"),
        json!({ "livenessProbe": exec("exit 0"), "readinessProbe": exec("exit 0"), "startupProbe": exec("exit 0") }),
    );
    let mounted = with(
        count("main"),
        json!({
            "volumeMounts": [
                { "name": "notes", "mountPath": "/notes" }, { "name": "disk", "mountPath": "/disk" },
                { "name": "memory", "mountPath": "/memory" }, { "name": "conf", "mountPath": "/conf" },
            ],
            "command": ["sh", "-c", format!("touch /disk/mark /memory/mark; export MARK=/disk/mark; {COUNT}")],
        }),
    );
    let volumes = json!([
        { "name": "disk", "emptyDir": {} }, { "name": "memory", "emptyDir": { "medium": "Memory" } },
        { "name": "conf", "projected": { "sources": [
            { "configMap": { "name": "conf" } }, { "serviceAccountToken": { "path": "token" } },
        ] } },
    ]);
    let sidecar = with(count("side"), json!({ "restartPolicy": "Always" }));
    vec![
        ("plain", json!({ "containers": [count("main")] })),
        ("pair", json!({ "containers": [count("main"), count("other")] })),
        ("init", json!({ "initContainers": [init("one"), init("two")], "containers": [count("main")] })),
        ("sidecar", json!({ "initContainers": [sidecar, init("two")], "containers": [count("main")] })),
        ("failure", json!({ "restartPolicy": "OnFailure", "containers": [count("main")] })),
        ("never", json!({ "restartPolicy": "Never", "containers": [count("main"), count("other")] })),
        ("probed", json!({ "containers": [probed] })),
        ("mounted", json!({ "containers": [mounted], "volumes": volumes })),
        ("host", json!({ "hostNetwork": true, "containers": [count("main")] })),
        ("shared", json!({ "shareProcessNamespace": true, "containers": [count("main"), count("other")] })),
        (
            "limited",
            json!({ "containers": [with(count("main"), json!({ "resources": { "limits": { "memory": "32Mi", "cpu": "500m" } } }))] }),
        ),
    ]
}

/// What must be true of a Pod.
struct Kept {
    name: String,
    /// The Pod as it was seen well last.
    seen: Pod,
    spec: Value,
}

struct World {
    carob: Carob,
    notes: PathBuf,
    random: Entropy,
    kept: Vec<Kept>,
    numbers: u64,
}

impl World {
    async fn new(random: Entropy) -> Self {
        let carob = Carob::start_with_images(Options::default());
        let notes = carob.path("notes");
        fs::create_dir(&notes).expect("a directory");
        create(&carob.client(), &e2e::texts("ConfigMap", "conf", &[("a", "one")])).await;
        let mut world = Self { carob, notes, random, kept: Vec::new(), numbers: 0 };
        for (shape, spec) in shapes() {
            world.begin(shape, spec).await;
        }
        world.begin_static().await;
        world
    }

    fn pod(&self, name: &str, spec: Value) -> Value {
        let mut spec = with(json!({ "terminationGracePeriodSeconds": 0 }), spec);
        let notes = json!({ "name": "notes", "hostPath": { "path": self.notes } });
        match spec["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(notes),
            None => spec["volumes"] = json!([notes]),
        }
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec })
    }

    fn next_name(&mut self, shape: &str) -> String {
        self.numbers += 1;
        format!("{shape}-{}", self.numbers)
    }

    /// A Pod of this shape, running.
    async fn begin(&mut self, shape: &str, spec: Value) {
        let name = self.next_name(shape);
        let client = self.carob.client();
        create(&client, &self.pod(&name, spec.clone())).await;
        let seen = wait::ready(&client, &name).await;
        self.kept.push(Kept { name, seen, spec });
    }

    async fn begin_static(&mut self) {
        let name = self.next_name("static");
        let spec = json!({ "containers": [own("main", COUNT)] });
        let file = self.carob.path(&format!("etc/kubernetes/manifests/{name}.yaml"));
        fs::write(file, self.pod(&name, spec.clone()).to_string()).expect("written");
        let name = format!("{name}-node1");
        let seen = wait::ready(&self.carob.client(), &name).await;
        self.kept.push(Kept { name, seen, spec });
    }

    /// Ends a Pod and begins one of the same shape.
    async fn replace(&mut self, index: usize) {
        let Kept { name, spec, .. } = self.kept.remove(index);
        let shape = name.split('-').next().unwrap_or_default().to_owned();
        if shape == "static" {
            let file = name.trim_end_matches("-node1");
            fs::remove_file(self.carob.path(&format!("etc/kubernetes/manifests/{file}.yaml")))
                .expect("removed");
            wait::gone::<Pod>(&self.carob.client(), Some("default"), &name).await;
            return self.begin_static().await;
        }
        self.carob.kubectl().ok(&format!("delete pod {name}"));
        self.begin(&shape, spec).await;
    }

    /// Starts of a container that it noted itself.
    fn starts(&self, pod: &str, name: &str) -> i32 {
        let text = fs::read_to_string(self.notes.join(format!("{pod}.{name}"))).unwrap_or_default();
        i32::try_from(text.lines().count()).unwrap_or(i32::MAX)
    }

    /// Kills the daemon, lets `meanwhile` happen, and starts it again.
    async fn without_daemon(&self, meanwhile: impl FnOnce(&Self)) {
        self.carob.end_daemon(Signal::KILL);
        chaos::pause(&self.random, 300).await;
        meanwhile(self);
        chaos::pause(&self.random, 1_000).await;
        let answer = self.carob.up(&[]);
        assert_eq!(answer.code, 0, "{}\n{}", answer.stderr, self.carob.log_tail());
    }

    /// All Pods that nobody killed are as they were: the same containers, ready without a moment's pause.
    async fn check_untouched(&mut self) {
        let client = self.carob.client();
        let begin = Instant::now();
        for own in &self.kept {
            let pod = wait::ready(&client, &own.name).await;
            assert_eq!(identities(&pod), identities(&own.seen), "{}: the same containers run on", own.name);
            assert_eq!(ready_since(&pod), ready_since(&own.seen), "{}: it was ready all the time", own.name);
            assert_eq!(pod.metadata.uid, own.seen.metadata.uid, "{}: the same Pod", own.name);
            self.check_logs(&pod).await;
        }
        assert!(begin.elapsed() < SETTLES, "it took {:?} until all was right", begin.elapsed());
    }

    /// No line is missing, none is there twice, no instance is that nobody counted.
    async fn check_logs(&self, pod: &Pod) {
        let (status, spec) = (pod.status.clone().unwrap_or_default(), pod.spec.clone().unwrap_or_default());
        let sidecars = spec.init_containers.into_iter().flatten().filter(|own| own.restart_policy.is_some());
        let counting = spec.containers.into_iter().chain(sidecars).map(|own| own.name);
        let all = [status.container_statuses, status.init_container_statuses];
        let pod_name = pod.metadata.name.clone().unwrap_or_default();
        let note = pod_name.clone();
        for name in counting {
            let own = all.iter().flatten().flatten().find(|own| own.name == name).expect("a status");
            // It is running before its script has come to note that.
            let begin = Instant::now();
            while self.starts(&note, &name) <= own.restart_count && begin.elapsed() < SETTLES {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(self.starts(&note, &name), own.restart_count + 1, "{pod_name}/{name}: starts");
            for (instance, text) in chaos::logs(&self.carob, pod, &name) {
                for (number, line) in text.lines().enumerate() {
                    assert_eq!(line, format!("tick {number}"), "{pod_name}/{name} instance {instance}");
                }
            }
        }
    }

    /// Kills one Pod's process; with the daemon dead if `crash`.
    async fn kill_one(&mut self, crash: bool) {
        let index = self.random.below(self.kept.len() as u64) as usize;
        let uid = chaos::node_uid(&self.kept[index].seen);
        let name = self.kept[index].name.clone();
        eprintln!("the process of {name} is killed{}", if crash { " while the daemon is dead" } else { "" });
        let kill =
            |world: &Self| assert!(chaos::kill_pod_process(&world.carob, &uid), "{name} has a process");
        match crash {
            true => self.without_daemon(kill).await,
            false => kill(self),
        }
        let own = self.kept.remove(index);
        let back = self.check_killed(&own).await;
        self.check_untouched().await;
        let losses = restarts(&back);
        self.kept.push(Kept { seen: back, ..own });
        if losses >= LOSSES_MAX || own_policy(&self.kept[self.kept.len() - 1].seen) == "Never" {
            self.replace(self.kept.len() - 1).await;
        }
    }

    /// A Pod whose process was killed: its containers ended with 137, and it runs in a new sandbox, or it failed.
    async fn check_killed(&self, own: &Kept) -> Pod {
        let client = self.carob.client();
        let before = restarts(&own.seen);
        let never = own_policy(&own.seen) == "Never";
        let back = match never {
            true => wait::phase(&client, &own.name, "Failed").await,
            false => {
                let again =
                    |pod: &Pod| restarts(pod) == before + 1 && wait::condition(pod, "Ready") == "True";
                wait::pod(&client, &own.name, "running again", again).await
            }
        };
        let mains = back.spec.clone().unwrap_or_default().containers;
        for main in &mains {
            assert_eq!(
                ended(&back, &main.name).map(|(code, _)| code),
                Some(137),
                "{}/{}",
                own.name,
                main.name
            );
            let status = container(&back, &main.name).expect("a status");
            assert_eq!(status.restart_count, before + i32::from(!never), "{}/{}", own.name, main.name);
        }
        self.check_logs(&back).await;
        for init in back.spec.clone().unwrap_or_default().init_containers.into_iter().flatten() {
            let starts = self.starts(&own.name, &init.name);
            assert_eq!(starts, before + 2, "{}/{}: each sandbox begins anew", own.name, init.name);
        }
        back
    }

    /// The daemon is killed while Pods begin, end, and are deleted.
    async fn crash(&mut self) {
        let codes: Vec<u64> = (0..3).map(|_| self.random.below(120)).collect();
        let mut ending = Vec::new();
        for code in &codes {
            let name = self.next_name("ending");
            let text = format!(
                "echo start >> /notes/$P.$C; until test -e /notes/go-$P; do usleep 20000; done; \
                 n=0; while test $n -lt 200; do echo tick $n; n=$((n+1)); done; exit {code}"
            );
            let spec = json!({ "restartPolicy": "Never", "containers": [own("main", &text)] });
            create(&self.carob.client(), &self.pod(&name, spec)).await;
            wait::ready(&self.carob.client(), &name).await;
            ending.push((name, *code));
        }
        let deleted = self.next_name("deleted");
        let spec = json!({ "containers": [own("main", COUNT)] });
        create(&self.carob.client(), &self.pod(&deleted, spec)).await;
        wait::ready(&self.carob.client(), &deleted).await;

        let beginning = self.begin_many();
        let _ = self.carob.kubectl().run(&["delete", "pod", &deleted, "--wait=false"]);
        let go = |world: &Self, name: &str| {
            fs::write(world.notes.join(format!("go-{name}")), "").expect("written")
        };
        go(self, &ending[0].0);
        chaos::pause(&self.random, 400).await;
        self.without_daemon(|world| go(world, &ending[1].0)).await;
        go(self, &ending[2].0);

        let client = self.carob.client();
        wait::gone::<Pod>(&client, Some("default"), &deleted).await;
        let names = beginning.await.expect("the posts ended");
        ending.extend(names.into_iter().map(|name| (name, 7)));
        for (name, code) in ending {
            self.check_ended(&name, code).await;
        }
        self.check_untouched().await;
    }

    /// Posts Pods that end at once with 7, while the daemon may die. Those that the server took.
    fn begin_many(&mut self) -> tokio::task::JoinHandle<Vec<String>> {
        let script = "echo start >> /notes/$P.$C; echo tick 0; exit 7";
        let spec = json!({ "restartPolicy": "Never", "containers": [own("main", script)] });
        let names: Vec<String> = (0..6).map(|_| self.next_name("beginning")).collect();
        let pods: Vec<Value> = names.iter().map(|name| self.pod(name, spec.clone())).collect();
        let client = self.carob.client();
        tokio::spawn(async move {
            let posts = pods.iter().map(|pod| try_create(&client, pod));
            let answers = futures::future::join_all(posts).await;
            names
                .into_iter()
                .zip(answers)
                .filter(|(_, answer)| answer.is_ok())
                .map(|(name, _)| name)
                .collect()
        })
    }

    /// A Pod that ran once: its exit code and every line are there, and it did not run twice.
    async fn check_ended(&self, name: &str, code: u64) {
        let client = self.carob.client();
        let pod = wait::phase(&client, name, if code == 0 { "Succeeded" } else { "Failed" }).await;
        assert_eq!(ended(&pod, "main").map(|own| own.0), i32::try_from(code).ok(), "{name}");
        assert_eq!(self.starts(name, "main"), 1, "{name} ran once");
        let lines = if name.starts_with("ending") { 200 } else { 1 };
        let logs = chaos::logs(&self.carob, &pod, "main");
        assert_eq!(logs.len(), 1, "{name} has one log");
        let expected: String = (0..lines).map(|number| format!("tick {number}\n")).collect();
        assert_eq!(logs[0].1, expected, "{name}: every line");
        self.carob.kubectl().ok(&format!("delete pod {name} --wait=false"));
        wait::gone::<Pod>(&client, Some("default"), name).await;
    }
}

fn own_policy(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(|own| own.restart_policy.clone()).unwrap_or_default()
}

/// Ids and restarts of all containers.
fn identities(pod: &Pod) -> Vec<(String, Option<String>, i32)> {
    let status = pod.status.clone().unwrap_or_default();
    let all = [status.container_statuses, status.init_container_statuses];
    let own = all.into_iter().flatten().flatten();
    own.map(|own| (own.name, own.container_id, own.restart_count)).collect()
}

fn ready_since(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|own| own.type_ == "Ready")?;
    ready.last_transition_time.as_ref().map(|time| time.0.to_string())
}

#[tokio::test]
async fn nothing_is_lost_when_processes_of_the_node_are_killed() {
    let random = chaos::seeded("CAROB_CRASH_SEED");
    let time = Duration::from_secs(chaos::number("CAROB_CRASH_SECONDS", SECONDS));
    let mut world = World::new(random.clone()).await;
    let (begin, mut rounds) = (Instant::now(), 0);
    while rounds < 3 || begin.elapsed() < time {
        // Each of the three comes to pass, however short the run is.
        match if rounds < 3 { rounds } else { random.below(3) } {
            0 => world.crash().await,
            1 => world.kill_one(false).await,
            _ => world.kill_one(true).await,
        }
        rounds += 1;
        eprintln!("round {rounds} after {:?}", begin.elapsed());
    }
    let client = world.carob.client();
    assert!(client.get::<ConfigMap>(Some("default"), "conf").await.is_ok(), "what was acknowledged is there");
}
