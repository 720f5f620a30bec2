//! How long each step from sandbox to running container takes. Prints medians; fails only on absurd ones.

mod support;

use std::time::Duration;

use cri::runtime::RuntimeService;
use support::{Bench, container_config};
use tokio::time::Instant;

const ROUNDS: usize = 30;
const LIMIT: Duration = Duration::from_millis(500);

async fn measure(prepared: usize) {
    let bench = Bench::with_prepared(prepared).await;
    let mut stages: [Vec<Duration>; 5] = Default::default();
    for _ in 0..ROUNDS {
        let config = bench.sandbox_config();
        let mut at = Instant::now();
        let mut lap = |stages: &mut [Vec<Duration>; 5], stage: usize| {
            stages[stage].push(at.elapsed());
            at = Instant::now();
        };
        let sandbox = bench.runtime.run_pod_sandbox(&config, "").await.unwrap();
        lap(&mut stages, 0);
        let container = container_config("exec sleep 1000");
        let id = bench.runtime.create_container(&sandbox, &container, &config).await.unwrap();
        lap(&mut stages, 1);
        bench.runtime.start_container(&id).await.unwrap();
        lap(&mut stages, 2);
        bench.runtime.exec_sync(&id, &["true".to_owned()], 0).await.unwrap();
        lap(&mut stages, 3);
        bench.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
        lap(&mut stages, 4);
    }
    for (name, stage) in ["run_pod_sandbox", "create", "start", "exec true", "remove"].iter().zip(&mut stages)
    {
        stage.sort();
        eprintln!(
            "prepared {prepared}, {name}: {:?} median, {:?} worst",
            stage[ROUNDS / 2],
            stage[ROUNDS - 1]
        );
        assert!(stage[ROUNDS / 2] < LIMIT, "{name} takes {:?}", stage[ROUNDS / 2]);
    }
    bench.finish().await;
}

/// Memory that each Pod's process has for itself; the program's own pages are shared by all of them.
const SHIM_DIRTY_KIB_MAX: u64 = 512;

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn a_pod_process_is_small() {
    let bench = Bench::new().await;
    let running = bench.run("exec sleep 1000", |_| {}).await;
    bench.runtime.exec_sync(&running.id, &["true".to_owned()], 0).await.unwrap();
    let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let shim = bench.processes().into_iter().find(|pid| name(pid).trim() == "carob-pod").unwrap();
    let rollup = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
    let kib = |key: &str| -> u64 {
        let line = rollup.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let dirty = kib("Private_Dirty");
    eprintln!("pod process: {dirty} KiB of its own, {} KiB of the program", kib("Pss_File"));
    assert!(dirty <= SHIM_DIRTY_KIB_MAX, "{rollup}");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: run by make test"]
async fn stages() {
    measure(0).await;
    measure(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root: run by make test"]
async fn many_pods_at_once() {
    const PODS: usize = 50;
    let bench = Bench::with_prepared(4).await;
    let before = Instant::now();
    let starts = (0..PODS).map(|number| {
        bench.run("exec sleep 1000", move |config| {
            config.envs = vec![("NUMBER".to_owned(), number.to_string())];
        })
    });
    let running = futures::future::join_all(starts).await;
    eprintln!("{PODS} pods at once: {:?}", before.elapsed());
    for pod in &running {
        let status = bench.runtime.container_status(&pod.id).await.unwrap();
        assert_eq!(status.state, cri::runtime::ContainerState::Running);
    }
    let before = Instant::now();
    let removals = running.iter().map(|pod| bench.runtime.remove_pod_sandbox(&pod.sandbox));
    for removed in futures::future::join_all(removals).await {
        removed.unwrap();
    }
    eprintln!("removed: {:?}", before.elapsed());
    bench.finish().await;
}
